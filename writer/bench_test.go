package writer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// BenchmarkWrite measures the recorder's side: encoding, handing chunks to the disk, and waiting
// for the disk when it is the slower of the two. One operation is one packet.
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
				// The ring is 128 MiB, so that no frame is in the processor's cache.
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

// BenchmarkRotate measures a 1 MiB file from its creation to its rename.
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

// manyFiles fills a directory with 100,000 finished files of one interface.
func manyFiles(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	n := store.Name{Interface: "eth0", Start: time.Unix(1<<30, 0), Format: pcap.PCAPNG}
	for n.Sequence = 1; n.Sequence <= 100_000; n.Sequence++ {
		if err := os.WriteFile(filepath.Join(dir, n.String()), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	return dir
}

// BenchmarkReadContents measures the listing at startup of a directory with 100,000 files.
func BenchmarkReadContents(b *testing.B) {
	dir := manyFiles(b)
	for b.Loop() {
		if c, err := store.ReadContents(dir); err != nil || c.Files != 100_000 {
			b.Fatalf("%+v, %v", c, err)
		}
	}
}

// BenchmarkRotateAmong measures a small file from its creation to its rename, in an empty directory
// and in one with 100,000 other files.
func BenchmarkRotateAmong(b *testing.B) {
	for name, dir := range map[string]func(*testing.B) string{"0": func(b *testing.B) string { return b.TempDir() }, "100000": manyFiles} {
		b.Run(name, func(b *testing.B) {
			w, err := New(Options{
				Directory: dir(b), ChunkSize: 1 << 20, PoolSize: 4 << 20, Sequence: 100_000,
				Header: pcap.Header{LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
			})
			if err != nil {
				b.Fatal(err)
			}
			pkts := []pcap.Packet{{Data: make([]byte, 60), Length: 60}}
			for b.Loop() {
				w.Write(pkts)
				w.Rotate(ledger.ReasonSignal)
			}
			if err := w.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
