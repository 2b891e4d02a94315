package writer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"capd/pcap"

	"golang.org/x/sys/unix"
)

// BenchmarkDigested measures what digests cost, for packets that are copied and for lent blocks of them, beside the same without
// digests, and beside the floor: the SHA-256 of as many bytes. One operation is one packet. recorder-ns is the processor time
// of the recorder alone, cpu-ns that of the process. Each file gets a digest, for which the recorder waits here.
func BenchmarkDigested(b *testing.B) {
	for _, size := range []int{64, 512, 1514} {
		b.Run(fmt.Sprintf("%d/floor", size), func(b *testing.B) { benchmarkHash(b, size) })
		b.Run(fmt.Sprintf("%d/plain", size), func(b *testing.B) { benchmarkDigested(b, size, 0, false) })
		b.Run(fmt.Sprintf("%d/digested", size), func(b *testing.B) { benchmarkDigested(b, size, 0, true) })
	}
	b.Run("1514/lent", func(b *testing.B) { benchmarkDigested(b, 1514, 1<<20, false) })
	b.Run("1514/lent and digested", func(b *testing.B) { benchmarkDigested(b, 1514, 1<<20, true) })
}

// benchmarkHash hashes what a packet of that size takes in a file, which is in no cache.
func benchmarkHash(b *testing.B, size int) {
	data := make([]byte, 64<<20)
	for i := range data {
		data[i] = byte(i)
	}
	h, begun, n := sha256.New(), processorTime(), 0
	for ; n < b.N*(size+32); n += hashedAtOnce {
		h.Write(data[n%len(data):][:hashedAtOnce])
	}
	b.ReportMetric(float64(processorTime()-begun)*float64(size+32)/float64(n), "cpu-ns/op")
}

// benchmarkDigested records packets of that size: copies, or blocks of a ring.
func benchmarkDigested(b *testing.B, size, block int, digests bool) {
	before, bounds := heldFor, mayHold
	heldFor, mayHold = time.Hour, func(int) [memories]int { return [memories]int{1000, 1000, 1000} }
	defer func() { heldFor, mayHold = before, bounds }()
	opt := Options{
		Directory: b.TempDir(), RotateSize: 256 << 20, PoolSize: 64 << 20, Grace: time.Hour,
		Header:   pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
		Finished: func(f File) { os.Remove(f.Path) },
	}
	if d := NewDigester(); digests {
		opt.Digest = func() *Digester { return d }
	}
	w, err := New(opt)
	if err != nil {
		b.Fatal(err)
	}
	ring, err := unix.Mmap(-1, 0, 64<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // no frame is in the processor's cache
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = unix.Munmap(ring) }()
	for i := range ring {
		ring[i] = byte(i)
	}
	feed := &benchFeed{w: w, ring: ring, size: size, free: make(chan []byte, 64)}
	for at := 0; block > 0 && at < len(ring); at += block {
		feed.free <- ring[at : at+block]
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun, recorder := processorTime(), threadTime()
	b.SetBytes(int64(size))
	b.ResetTimer()
	packets := 0
	for packets < b.N {
		packets += feed.some(b, block)
	}
	recorder = threadTime() - recorder
	if err := w.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	s := w.Stats()
	if digests != (s.Digests == s.Files) {
		b.Errorf("%+v", s)
	}
	b.ReportMetric(float64(recorder)/float64(packets), "recorder-ns/op")
	b.ReportMetric(float64(processorTime()-begun)/float64(packets), "cpu-ns/op")
}

// A benchFeed has packets in a ring.
type benchFeed struct {
	w      *Writer
	ring   []byte
	size   int
	off    int
	number uint64
	free   chan []byte // blocks
	pkts   []pcap.Packet
}

// some records some packets, and returns how many.
func (f *benchFeed) some(b *testing.B, block int) int {
	now := uint32(time.Now().Unix())
	f.pkts = f.pkts[:0]
	if block == 0 || f.w.file == nil {
		for range 64 {
			if f.off += f.size + 96; f.off > len(f.ring)-f.size {
				f.off = 0
			}
			f.pkts = append(f.pkts, pcap.Packet{Data: f.ring[f.off:][:f.size:f.size], Length: uint32(f.size), Sec: now})
		}
		f.w.Write(f.pkts)
		f.w.Commit(f.number, 64, 0)
		return len(f.pkts)
	}
	memory := <-f.free
	for at := 60; at+f.size+200 < len(memory); at += (f.size + 96 + 3) &^ 3 {
		f.pkts = append(f.pkts, pcap.Packet{Data: memory[at:][:f.size:f.size], Length: uint32(f.size), Sec: now})
	}
	f.number++
	if !f.w.Lend(Block{Number: f.number, Frames: uint64(len(f.pkts)), Memory: memory, More: f.number%4 != 0, Release: func() { f.free <- memory }}, f.pkts) {
		f.w.Write(f.pkts)
		f.w.Commit(f.number, uint64(len(f.pkts)), 0)
		f.free <- memory
	}
	return len(f.pkts)
}
