package bpf

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture/device"
	"capd/pcap"
)

// TestBPFHeld: both buffers may be held at the same time, and released in any order by any
// goroutine. Meanwhile Next waits, and frames wait in the kernel's buffers.
func TestBPFHeld(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		sent := 0
		for round := range 4 {
			var held [buffers]*device.Batch
			for i := range held {
				k.receive(device.In, numbered(sent+i*10, 10)...)
				b, err := h.Next(time.Second)
				if err != nil || b == nil {
					t.Fatal(b, err)
				}
				held[i] = b
			}
			k.receive(device.In, numbered(sent+20, 10)...)
			if b, err := h.Next(time.Second); b != nil || err != nil {
				t.Fatalf("%v, %v while all is held", b, err)
			}
			next := make(chan *device.Batch)
			go func() {
				b, _ := h.Next(time.Minute)
				next <- b
			}()
			synctest.Wait()
			for i := range held {
				b := held[(i+round)%buffers]
				wantFrames(t, contents(b), numbered(sent+(i+round)%buffers*10, 10))
				b.Release()
				b.Release()
			}
			b := <-next
			if b == nil {
				t.Fatal("Next does not see the Release")
			}
			wantFrames(t, contents(b), numbered(sent+20, 10))
			b.Release()
			sent += 30
		}
		wantStats(t, h, sent, 0)
	})
}

// TestBPFCloseHeld: after Close, held buffers stay valid, no more frames are accepted, and the last
// Release frees the device.
func TestBPFCloseHeld(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		var held []*device.Batch
		for i := range buffers {
			k.receive(device.In, numbered(i*10, 10)...)
			b, err := h.Next(time.Second)
			if err != nil || b == nil {
				t.Fatal(b, err)
			}
			held = append(held, b)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := d.Attach(); !errors.Is(err, device.ErrClosed) {
			t.Errorf("attach: %v", err)
		}
		for i, b := range held {
			wantFrames(t, contents(b), numbered(i*10, 10))
		}
		var all sync.WaitGroup
		for _, b := range held {
			all.Go(b.Release)
		}
		all.Wait()
		time.Sleep(time.Second)
		if k.isOpen() {
			t.Error("still open after the last Release")
		}
		wantStats(t, h, 20, 0)
	})
}

// contents returns copies of the frames of a batch.
func contents(b *device.Batch) (all [][]byte) {
	var pkts [3]pcap.Packet
	for n := b.Read(pkts[:]); n > 0; n = b.Read(pkts[:]) {
		for _, p := range pkts[:n] {
			all = append(all, p.Data)
		}
	}
	return all
}
