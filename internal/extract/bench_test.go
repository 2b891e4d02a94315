package extract

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"capd/internal/read"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// BenchmarkCopy measures one packet of a file in memory, of which the filter lets none, a few or all pass.
func BenchmarkCopy(b *testing.B) {
	const packets = 20_000
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		for _, size := range []int{64, 1514} {
			whole := datagrams(format, size, packets)
			for _, expr := range []string{"port 53", "ip", ""} {
				b.Run(fmt.Sprintf("%v/%d/%s", format, size, expr), func(b *testing.B) {
					b.SetBytes(int64(size))
					for i := 0; i < b.N; i += packets {
						c := Copy{Filter: read.NewFilter(expr)}
						c.To(io.Discard)
						if err := run(&c, whole); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// datagrams makes a file of UDP over IPv4, of which one datagram in 50 is of port 53.
func datagrams(format pcap.Format, size, n int) []byte {
	enc := pcap.NewEncoder(pcap.Header{Format: format, LinkType: pcap.LinkTypeEthernet})
	frame := make([]byte, size)
	copy(frame[12:], []byte{8, 0, 0x45})
	frame[23] = 17
	var b bytes.Buffer
	b.Write(enc.Header())
	record := make([]byte, enc.MaxRecord())
	for i := range n {
		frame[37] = byte(i%50 + 53)
		written, _ := enc.Encode(record, []pcap.Packet{{Data: frame, Length: uint32(size), Sec: 1, Nsec: uint32(i)}})
		b.Write(record[:written])
	}
	return b.Bytes()
}

// BenchmarkFind measures one packet of a file on the disk, in the cache of the system.
func BenchmarkFind(b *testing.B) {
	const packets = 100_000
	for _, size := range []int{64, 1514} {
		whole := datagrams(pcap.PCAPNG, size, packets)
		for _, inversions := range []uint64{0, 1} {
			dir := b.TempDir()
			at := time.Unix(1, 0)
			name := store.Name{Interface: "eth0", Start: at, Sequence: 1, Format: pcap.PCAPNG}
			l := ledger.File{Name: name, Begin: at, End: at.Add(time.Second), First: at, Last: at.Add(time.Second), Clean: true}
			l.Packets, l.Size, l.Inversions = packets, uint64(len(whole)), inversions
			line := l.Entry().AppendLine(nil, at)
			if os.WriteFile(filepath.Join(dir, name.String()), whole, 0o600) != nil || os.WriteFile(filepath.Join(dir, ledger.FileName), line, 0o600) != nil {
				b.Fatal("no directory")
			}
			for _, expr := range []string{"port 53", ""} {
				b.Run(fmt.Sprintf("%d/inversions=%d/%s", size, inversions, expr), func(b *testing.B) {
					b.SetBytes(int64(size))
					for i := 0; i < b.N; i += packets {
						q := Question{Directories: []string{dir}, Expression: expr}
						plan, err := q.Plan(b.Context(), nobody{})
						if err != nil {
							b.Fatal(err)
						}
						if a, err := plan.Find(b.Context(), Output{To: io.Discard, Format: pcap.PCAPNG}); err != nil || !a.Complete {
							b.Fatal(err, a.Verdict())
						}
					}
				})
			}
		}
	}
}
