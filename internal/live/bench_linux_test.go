package live

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"capd/pcap"
	"capd/writer"
)

// ring is packets of so many flows, each where a ring of 128 MiB has it, so that no cache does.
func ring(flows int) (pkts []pcap.Packet) {
	r := rand.New(rand.NewPCG(1, 2))
	memory := make([]byte, 128<<20)
	sizes := []int{64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1514}
	for at := 0; at < len(memory)-2000; {
		b := memory[at:][:sizes[r.IntN(len(sizes))]]
		copy(b, frame(0x0800, ipv4(6), 20))
		n := r.Uint32N(uint32(flows))
		binary.BigEndian.PutUint32(b[26:], n)
		binary.BigEndian.PutUint32(b[30:], 0x0b000000+n%97)
		pkts = append(pkts, pcap.Packet{Data: b, Length: uint32(len(b)), Sec: uint32(noon.Unix()), Nsec: uint32(len(pkts))})
		at += (len(b) + 96) &^ 15
	}
	return pkts
}

// BenchmarkRecord is the processor time of the recorder's thread for a packet, without rows of flows and with them, and that of
// all threads, those that write to the disk included.
func BenchmarkRecord(b *testing.B) {
	for _, flows := range []int{1, 1000, 10_000, 100_000} {
		pkts := ring(flows)
		for _, with := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d flows/rows=%v", flows, with), func(b *testing.B) {
				memory := NewMemory(1 << 30)
				opt := writer.Options{
					Directory: b.TempDir(), RotateSize: 512 << 20, PoolSize: 64 << 20,
					Header: pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
				}
				files, lost := 0, 0
				opt.Finished = func(f writer.File) {
					_ = os.Remove(f.Path)
					if o, ok := f.Observer.(*File); ok {
						if files++; o.Rows(context.Background()) == nil {
							lost++
						}
						o.Drop()
					}
				}
				lane := NewLane(memory)
				if with {
					opt.Observe = lane.Observe
				}
				w, err := writer.New(opt)
				if err != nil {
					b.Fatal(err)
				}
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				const thread, process = 1, 0 // RUSAGE_THREAD, RUSAGE_SELF
				own, all, n := used(thread), used(process), 0
				for b.Loop() {
					for at := 0; at < len(pkts); at += 64 {
						w.Write(pkts[at:min(at+64, len(pkts))])
						if at%(64<<10) == 0 {
							for lane.busy() { // no ring is so fast for so long
								time.Sleep(2 * time.Millisecond)
							}
						}
					}
					n += len(pkts)
				}
				b.ReportMetric(float64(used(thread)-own)/float64(n), "recorder-ns/packet")
				if err := w.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(used(process)-all)/float64(n), "all-ns/packet")
				b.ReportMetric(float64(lost)/float64(max(files, 1)), "given-up/file")
			})
		}
	}
}

func used(who int) int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(who, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
