package writer

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"capd/crypt"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

// BenchmarkSealed measures what a packet costs that is recorded into encrypted files, beside plain ones of packets that are
// copied. One operation is one packet. recorder-ns is the processor time of the recorder alone, cpu-ns that of the process:
// writing and encrypting too.
func BenchmarkSealed(b *testing.B) {
	_, recipients := newKey(b)
	for _, size := range []int{64, 512, 1514} {
		b.Run(fmt.Sprintf("%d/plain", size), func(b *testing.B) { benchmarkSealed(b, size, nil) })
		b.Run(fmt.Sprintf("%d/encrypted", size), func(b *testing.B) { benchmarkSealed(b, size, recipients) })
	}
}

func benchmarkSealed(b *testing.B, size int, recipients *crypt.Recipients) {
	w, err := New(Options{
		Directory: b.TempDir(), RotateSize: 256 << 20, PoolSize: 64 << 20, Recipients: recipients,
		Header:   pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
		Finished: func(f File) { os.Remove(f.Path) },
	})
	if err != nil {
		b.Fatal(err)
	}
	ring := make([]byte, 128<<20) // so that no frame is in the processor's cache
	pkts := make([]pcap.Packet, 64)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := uint32(time.Now().Unix())
	begun, recorder := processorTime(), threadTime()
	b.SetBytes(int64(size))
	b.ResetTimer()
	packets, off := 0, 0
	for ; packets < b.N; packets += len(pkts) {
		for i := range pkts {
			if off += size + 96; off > len(ring)-size {
				off = 0
			}
			pkts[i] = pcap.Packet{Data: ring[off : off+size], Length: uint32(size), Sec: now, Nsec: uint32(packets)}
		}
		w.Write(pkts)
	}
	recorder = threadTime() - recorder
	if err := w.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(recorder)/float64(packets), "recorder-ns/op")
	b.ReportMetric(float64(processorTime()-begun)/float64(packets), "cpu-ns/op")
}

// threadTime is what the thread has used, in nanoseconds.
func threadTime() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return t.Nano()
}
