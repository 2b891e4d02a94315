package writer

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"capd/pcap"
)

// BenchmarkWrite is the recorder's side: encode, chunk hand-over, and the wait
// for the disk where it is the slower of the two. One operation is a packet.
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{64, 512, 1514} {
		for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
			b.Run(fmt.Sprintf("%d/%v", size, format), func(b *testing.B) {
				w, err := New(Options{
					Directory: b.TempDir(), RotateSize: 256 << 20, PoolSize: 64 << 20,
					Header:   pcap.Header{Format: format, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
					Finished: func(f File) { os.Remove(f.Path) },
				})
				if err != nil {
					b.Fatal(err)
				}
				// Frames lie in a ring of 128 MiB: none is in the processor's cache.
				ring := make([]byte, 128<<20)
				pkts := make([]pcap.Packet, 64)
				now := time.Now()
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for n, off := 0, 0; n < b.N; n += len(pkts) {
					for i := range pkts {
						if off += size + 96; off > len(ring)-size {
							off = 0
						}
						pkts[i] = pcap.Packet{Data: ring[off : off+size], Length: uint32(size), Sec: uint32(now.Unix()), Nsec: uint32(n)}
					}
					w.Write(pkts)
				}
				b.StopTimer()
				if err := w.Close(context.Background()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// BenchmarkRotate is a file of 1 MiB, from its creation to its final name.
func BenchmarkRotate(b *testing.B) {
	w, err := New(Options{
		Directory: b.TempDir(), RotateSize: 1 << 20, ChunkSize: 4 << 20, PoolSize: 64 << 20,
		Header:   pcap.Header{LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
		Finished: func(f File) { os.Remove(f.Path) },
	})
	if err != nil {
		b.Fatal(err)
	}
	pkts := make([]pcap.Packet, 64)
	for i := range pkts {
		pkts[i] = pcap.Packet{Data: make([]byte, 1514), Length: 1514}
	}
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		for range (1<<20)/(1530*64) + 1 {
			w.Write(pkts)
		}
	}
	if err := w.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}
