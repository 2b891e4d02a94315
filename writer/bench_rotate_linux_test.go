package writer

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"capd/pcap"
)

// BenchmarkRotation measures what rotation costs: 3.6 Gbit/s of frames of 1514 bytes go either into one
// file or into files of 1 MiB. The frames are always the same ones, so that they cost little and the
// difference is that of the files. One operation is 1 MiB. The files stay until the end, because ext4
// does not reuse a deleted file's inode for minutes and searches past it.
func BenchmarkRotation(b *testing.B) {
	slackTimers(b)
	for name, size := range map[string]int64{"one file": 0, "a file each": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			const frame, batch = 1514, 43
			w, err := New(Options{
				Directory: b.TempDir(), RotateSize: size, PoolSize: 256 << 20, Header: pcap.Header{LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
			})
			if err != nil {
				b.Fatal(err)
			}
			w.warm()
			pkts := make([]pcap.Packet, batch)
			for i := range pkts {
				pkts[i] = pcap.Packet{Data: make([]byte, frame), Length: frame}
			}
			const every = time.Second * frame * batch * 8 / 3.6e9
			batches := 0
			var start time.Time
			var before int64
			b.SetBytes(1 << 20)
			for b.Loop() {
				if batches == 0 {
					start, before = time.Now(), processorTime()
				}
				for range (1 << 20) / (frame * batch) {
					w.Write(pkts)
					batches++
					if ahead := time.Duration(batches)*every - time.Since(start); ahead > 5*time.Millisecond {
						time.Sleep(ahead)
					}
				}
			}
			if err := w.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/MiB")
			if s := w.Stats(); s.Waits > 0 {
				b.Logf("waited %d times for the disk", s.Waits)
			}
		})
	}
}

// warm gives memory to all chunks.
func (w *Writer) warm() {
	p := w.disk.pool
	all := make([]*chunk, p.count)
	for i := range all {
		p.grow()
		<-p.free
		all[i] = p.take()
	}
	for _, c := range all {
		p.put(c)
	}
}

// slackTimers lets the timers of all threads be late by 1 ms, as capd does: Go's monitor thread would
// else cost more than the files.
func slackTimers(b *testing.B) {
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range threads {
		path := filepath.Join("/proc", filepath.Base(t), "timerslack_ns")
		if err := os.WriteFile(path, []byte("1000000"), 0); err != nil {
			b.Log("timers can't be late: ", err)
		}
	}
}
