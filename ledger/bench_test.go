package ledger

import (
	"bytes"
	"testing"
)

// benchmarkParse parses a line again and again.
func benchmarkParse(b *testing.B, e Entry) {
	line := bytes.TrimSpace(e.AppendLine(nil, noon))
	d := newDecoder()
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if err := d.decode(line); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParse has a line of each size that a ledger is mostly made of: one of
// a file, one of a file with a filter, and one of a hook that failed.
func BenchmarkParse(b *testing.B) {
	file := Entry{
		Kind: KindFile, Time: noon, Name: "eth0-20260102T120000Z-000001.pcap", Interface: "eth0", Link: "ETHERNET", Clock: "system",
		Begin: noon, End: minute(1), First: noon.Add(12345), Last: minute(1).Add(-12345),
		Tally: Tally{Packets: 123456, Bytes: 123456789, Size: 125432085, Received: 123456}, Reason: ReasonInterval, Clean: true,
	}
	b.Run("file", func(b *testing.B) { benchmarkParse(b, file) })
	file.Filter = "tcp port 443"
	b.Run("filter", func(b *testing.B) { benchmarkParse(b, file) })
	hook := Entry{Kind: KindHook, Time: noon, Name: file.Name, Interface: "eth0", Exit: -1, Why: "signal: killed"}
	b.Run("hook", func(b *testing.B) { benchmarkParse(b, hook) })
}

func BenchmarkAppendLine(b *testing.B) {
	e := sampleEntry(nil)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendLine(buf[:0], noon)
	}
}
