package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture/device"
	"capd/pcap"
)

// bubble runs the test for each system, with an open device and a handle, in a synctest bubble. It
// closes what the test leaves open, and every goroutine must end.
func bubble(t *testing.T, test func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle), change ...func(*device.Config)) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		synctest.Test(t, func(t *testing.T) {
			k := newKernel(t, k.abi)
			d := mustOpen(t, k, change...)
			h := mustAttach(t, d)
			test(t, k, d, h)
			d.Close()
			time.Sleep(time.Second)
			if k.isOpen() {
				t.Error("device still open after Close")
			}
		})
	})
}

func mustAttach(t *testing.T, d *opened) *device.Handle {
	t.Helper()
	h, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// readFrames reads batches until it has n packets or Next returns an error.
func readFrames(t *testing.T, h *device.Handle, n int) ([][]byte, error) {
	t.Helper()
	var all [][]byte
	for n < 0 || len(all) < n {
		b, err := h.Next(time.Minute)
		if err != nil {
			return all, err
		}
		if b == nil {
			t.Fatalf("no batch within a minute, after %d packets of %d", len(all), n)
		}
		var pkts [16]pcap.Packet
		for k := b.Read(pkts[:]); k > 0; k = b.Read(pkts[:]) {
			for _, p := range pkts[:k] {
				all = append(all, bytes.Clone(p.Data))
			}
		}
		if err := b.Err(); err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
	return all, nil
}

// numbered returns n frames that contain consecutive numbers.
func numbered(from, n int) [][]byte {
	var all [][]byte
	for i := range n {
		all = append(all, fmt.Appendf(nil, "frame %d %s", from+i, bytes.Repeat([]byte{'x'}, (from+i)%50)))
	}
	return all
}

func wantFrames(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d is %q, want %q", i, got[i], want[i])
		}
	}
}

// wantStats checks the counters of a drained handle, which must add up.
func wantStats(t *testing.T, h *device.Handle, read, dropped int) {
	t.Helper()
	s, err := h.Stats()
	if err != nil || s.Received != uint64(read+dropped) || s.Dropped != uint64(dropped) || s.Corrupt != 0 {
		t.Errorf("stats %+v, %v; want %d read, %d dropped", s, err, read, dropped)
	}
}

func TestBPFReads(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		if h.LinkType() != pcap.LinkTypeEthernet || h.Mode() != device.ModeBPF {
			t.Errorf("link type %v, mode %v", h.LinkType(), h.Mode())
		}
		var all [][]byte
		for i := range 5 {
			frames := numbered(i*100, 100)
			k.receive(device.In, frames...)
			got, err := readFrames(t, h, 100)
			if err != nil {
				t.Fatal(err)
			}
			wantFrames(t, got, frames)
			all = append(all, got...)
		}
		wantStats(t, h, len(all), 0)
	})
}

func TestBPFTimes(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		time.Sleep(123_456_789 * time.Nanosecond)
		now := time.Now()
		k.receive(device.In, []byte("frame"))
		b, err := h.Next(time.Second)
		if err != nil || b == nil {
			t.Fatal(b, err)
		}
		defer b.Release()
		var p [2]pcap.Packet
		if n := b.Read(p[:]); n != 1 {
			t.Fatalf("%d packets", n)
		}
		want := now
		if k.os != "freebsd" {
			want = now.Truncate(time.Microsecond)
		}
		if !p[0].Time().Equal(want) {
			t.Errorf("time %v, want %v", p[0].Time(), want)
		}
	})
}

// TestBPFNextTimeout: Next keeps its timeout, whatever the kernel's timeout is.
func TestBPFNextTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		for _, timeout := range []time.Duration{0, time.Millisecond, 30 * time.Millisecond, 3 * time.Second} {
			start := time.Now()
			b, err := h.Next(timeout)
			if b != nil || err != nil || time.Since(start) != timeout {
				t.Errorf("%v after %v, want none after %v", err, time.Since(start), timeout)
			}
		}
		k.receive(device.In, []byte("frame"))
		start := time.Now()
		b, err := h.Next(-1)
		if b == nil || err != nil || time.Since(start) > 100*time.Millisecond {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		b.Release()
	})
}

// TestBPFOverflow: the kernel's buffers fill up while both read buffers are held. The kernel drops
// frames, and counts them.
func TestBPFOverflow(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		k.receive(device.In, numbered(0, 1)...)
		b, err := h.Next(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		for range 100 {
			k.receive(device.In, make([]byte, 5000), make([]byte, 5000))
			sent += 2
			time.Sleep(10 * time.Millisecond)
		}
		b.Release()
		if err := h.Stop(); err != nil {
			t.Fatal(err)
		}
		got, err := readFrames(t, h, -1)
		if err != device.ErrClosed || len(got) == 0 || len(got) >= sent {
			t.Errorf("%d packets of %d, then %v", len(got), sent, err)
		}
		// The first packet was dropped before the first read, so it is not counted.
		wantStats(t, h, len(got), sent-len(got))
	})
}

func TestBPFInterrupted(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		synctest.Wait()
		k.change(func(n *fakeNode) { n.interrupts = 50 })
		time.Sleep(time.Second)
		k.receive(device.In, numbered(0, 3)...)
		got, err := readFrames(t, h, 3)
		if err != nil {
			t.Fatal(err)
		}
		wantFrames(t, got, numbered(0, 3))
		k.change(func(n *fakeNode) {
			if n.interrupts != 0 {
				t.Errorf("%d interrupts left", n.interrupts)
			}
		})
	})
}

func TestBPFStop(t *testing.T) {
	for _, frames := range [][][]byte{nil, numbered(0, 5), residue()} {
		bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
			synctest.Wait()
			k.receive(device.In, frames...)
			if err := h.Stop(); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			got, err := readFrames(t, h, -1)
			if err != device.ErrClosed || time.Since(start) > time.Second {
				t.Fatalf("%v after %v", err, time.Since(start))
			}
			wantFrames(t, got, frames)
			wantStats(t, h, len(frames), 0)
			h.Close()
			if b, err := mustAttach(t, d).Next(0); b != nil || err != device.ErrClosed {
				t.Errorf("next handle: %v", err)
			}
		})
	}
}

// TestBPFStopUnderLoad: Stop ends even if frames keep arriving.
func TestBPFStopUnderLoad(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		stop := make(chan struct{})
		done := make(chan int)
		go func() {
			sent := 0
			for {
				select {
				case <-stop:
					done <- sent
					return
				case <-time.After(time.Millisecond):
					k.receive(device.In, make([]byte, 200))
					sent++
				}
			}
		}()
		if _, err := readFrames(t, h, 1000); err != nil {
			t.Fatal(err)
		}
		h.Stop()
		start := time.Now()
		if _, err := readFrames(t, h, -1); err != device.ErrClosed || time.Since(start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		close(stop)
		<-done
	})
}

// TestBPFCloseAndAttach: Close ends a waiting Next at once. The next handle gets the frames that
// the handle did not read.
func TestBPFCloseAndAttach(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		ended := make(chan error)
		go func() {
			_, err := h.Next(-1)
			ended <- err
		}()
		synctest.Wait()
		start := time.Now()
		h.Close()
		if err := <-ended; err != device.ErrClosed || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := h.Next(0); err != device.ErrClosed {
			t.Errorf("after Close: %v", err)
		}
		k.receive(device.In, numbered(0, 5)...)
		h2 := mustAttach(t, d)
		if _, err := d.Attach(); !errors.Is(err, device.ErrAttached) {
			t.Errorf("second handle: %v", err)
		}
		b, err := h2.Next(time.Second)
		if err != nil || b == nil {
			t.Fatal(b, err)
		}
		h2.Close()
		if _, err := d.Attach(); !errors.Is(err, device.ErrAttached) {
			t.Errorf("while a batch is held: %v", err)
		}
		var p [9]pcap.Packet
		if n := b.Read(p[:]); n != 5 || string(p[4].Data) != string(numbered(4, 1)[0]) {
			t.Errorf("batch held beyond Close has %d packets", n)
		}
		k.receive(device.In, numbered(5, 2)...)
		b.Release()
		b.Release()
		h3 := mustAttach(t, d)
		got, err := readFrames(t, h3, 2)
		if err != nil {
			t.Fatal(err)
		}
		wantFrames(t, got, numbered(5, 2))
		wantStats(t, h3, 7, 0)
	})
}

// TestBPFDeviceClose: Device.Close during a read makes Next return at once. The descriptor is
// closed after the read.
func TestBPFDeviceClose(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		ended := make(chan error)
		go func() {
			_, err := h.Next(-1)
			ended <- err
		}()
		synctest.Wait()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != device.ErrClosed {
			t.Error(err)
		}
		if !k.isOpen() {
			t.Error("closed during a read")
		}
		k.change(func(n *fakeNode) { n.drops += 3 })
		time.Sleep(longestWait)
		if k.isOpen() {
			t.Error("still open after the read")
		}
		if s, err := h.Stats(); err != nil || s.Dropped != 3 {
			t.Errorf("stats after Close: %+v, %v", s, err)
		}
		if err := h.Stop(); !errors.Is(err, device.ErrClosed) {
			t.Errorf("stop after Close: %v", err)
		}
		if _, err := d.Attach(); !errors.Is(err, device.ErrClosed) || d.Close() != nil {
			t.Errorf("attach after Close: %v", err)
		}
	})
}

// TestBPFCloseUnread: Close ends everything even if events and frames were queued and Next was
// never called.
func TestBPFCloseUnread(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		for i := range 10 {
			k.setUp("en0", i%2 == 1)
			time.Sleep(3 * time.Second)
		}
		k.receive(device.In, residue()...)
		time.Sleep(time.Second)
	})
}

func TestBPFDown(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		h.Close()
		d.Close()
		time.Sleep(time.Second)
		// Down from the start: the first Next reports it, once.
		k.setUp("en0", false)
		d2 := mustOpen(t, k)
		defer d2.Close()
		h2 := mustAttach(t, d2)
		if b, err := h2.Next(time.Minute); b != nil || err != device.ErrDown {
			t.Fatalf("first: %v", err)
		}
		if b, err := h2.Next(time.Minute); b != nil || err != nil {
			t.Fatalf("second: %v", err)
		}
		k.setUp("en0", true)
		time.Sleep(2 * time.Second)
		k.receive(device.In, numbered(0, 3)...)
		got, err := readFrames(t, h2, 3)
		if err != nil {
			t.Fatal(err)
		}
		wantFrames(t, got, numbered(0, 3))
		k.setUp("en0", false)
		start := time.Now()
		if b, err := h2.Next(time.Minute); b != nil || err != device.ErrDown || time.Since(start) > 2*time.Second {
			t.Fatalf("down again: %v after %v", err, time.Since(start))
		}
	})
}

// TestBPFCountersWrap: when the kernel's 32-bit counters wrap, the counters of Stats still
// increase.
func TestBPFCountersWrap(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		add := []uint64{1<<32 - 10, 9, 1, 5, 1<<31 + 3, 1<<32 - 1, 0, 7, 1<<32 - 1}
		var want, last uint64
		for _, n := range add {
			k.change(func(node *fakeNode) { node.drops, node.recv = node.drops+n, node.recv+n })
			want += n
			time.Sleep(time.Second) // at least one idle read samples the counters
			s, err := h.Stats()
			if err != nil || s.Dropped != want || s.Received != want || s.Received < last {
				t.Fatalf("%+v, %v; want %d", s, err, want)
			}
			last = s.Received
		}
	})
}

// TestBPFNoSpin: a kernel whose reads time out immediately does not use a whole processor.
func TestBPFNoSpin(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		k.change(func(*fakeNode) { k.quirk = true })
		time.Sleep(10 * time.Second)
		k.receive(device.In, numbered(0, 3)...)
		got, err := readFrames(t, h, 3)
		if err != nil {
			t.Fatal(err)
		}
		wantFrames(t, got, numbered(0, 3))
		if n := k.reads.Load(); n > 150 {
			t.Errorf("%d reads in 10 s", n)
		}
	})
}

// TestBPFReadError: an unexpected error of a read ends the handle.
func TestBPFReadError(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		synctest.Wait()
		k.change(func(n *fakeNode) {
			n.readErr = syscall.EFAULT
			n.signal()
		})
		for range 2 {
			if b, err := h.Next(time.Minute); b != nil || !errors.Is(err, syscall.EFAULT) {
				t.Errorf("%v", err)
			}
		}
	})
}

// TestBPFCorruptBuffer: a corrupt buffer loses only its own frames.
func TestBPFCorruptBuffer(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		k.receive(device.In, numbered(0, 3)...)
		k.change(func(n *fakeNode) { host.PutUint32(n.store[k.record.caplen():], 1<<30) })
		b, err := h.Next(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var p [4]pcap.Packet
		var corrupt *device.CorruptError
		if n := b.Read(p[:]); n != 0 || !errors.As(b.Err(), &corrupt) || corrupt.Offset != 0 {
			t.Errorf("%d packets, %v", n, b.Err())
		}
		b.Release()
		k.receive(device.In, numbered(3, 2)...)
		got, err := readFrames(t, h, 2)
		if err != nil {
			t.Fatal(err)
		}
		wantFrames(t, got, numbered(3, 2))
		if s, err := h.Stats(); err != nil || s.Corrupt != 1 || s.Received != 3 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// TestBPFConcurrent: Stats, Stop and Close may be called concurrently with Next.
func TestBPFConcurrent(t *testing.T) {
	for round := range 8 {
		bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
			var all sync.WaitGroup
			ended := make(chan struct{})
			all.Go(func() { // the kernel
				for range 300 {
					k.receive(device.In, residue()[0])
					time.Sleep(time.Millisecond)
				}
			})
			all.Go(func() { // the recorder
				defer close(ended)
				var pkts [4]pcap.Packet
				for {
					b, err := h.Next(20 * time.Millisecond)
					if err != nil {
						return
					}
					if b != nil {
						for b.Read(pkts[:]) > 0 {
						}
						b.Release()
					}
				}
			})
			all.Go(func() { // the status
				var last device.Stats
				for {
					select {
					case <-ended:
						return
					case <-time.After(7 * time.Millisecond):
					}
					s, err := h.Stats()
					if err != nil || s.Received < last.Received || s.Dropped < last.Dropped {
						t.Errorf("%+v after %+v, %v", s, last, err)
					}
					last = s
				}
			})
			time.Sleep(time.Duration(50+round*37) * time.Millisecond)
			switch round % 3 {
			case 0:
				h.Close()
			case 1:
				h.Stop()
			case 2:
				k.remove("en0")
			}
			<-ended
			all.Wait()
		})
	}
}
