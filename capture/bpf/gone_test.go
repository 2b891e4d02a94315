package bpf

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"capd/capture/device"
)

// residue returns frames that fill the hold buffer and a part of the store buffer.
func residue() [][]byte {
	var frames [][]byte
	for i := range 20 {
		frames = append(frames, append(fmt.Appendf(nil, "frame %02d", i), make([]byte, 5000)...))
	}
	return frames
}

// TestBPFGone: after the interface was removed, frames that the kernel still has are read. Then
// Next always returns ErrGone, without further system calls.
func TestBPFGone(t *testing.T) {
	for _, frames := range [][][]byte{nil, numbered(0, 5), residue()} {
		bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
			time.Sleep(50 * time.Millisecond) // during a read
			k.receive(device.In, frames...)
			k.remove("en0")
			start := time.Now()
			got, end := readFrames(t, h, -1)
			if !errors.Is(end, device.ErrGone) || time.Since(start) > time.Second {
				t.Fatalf("%v after %v", end, time.Since(start))
			}
			want := frames
			if k.discards && len(frames) == len(residue()) {
				want = frames[:13] // the read had a full buffer, and what came after that is lost
			}
			if unread := errors.As(end, new(*device.UnreadError)); unread != (len(want) < len(frames)) {
				t.Errorf("%d frames of %d, then %v", len(got), len(frames), end)
			}
			wantFrames(t, got, want)
			wantStats(t, h, len(want), 0)
			reads := k.reads.Load()
			for range 3 {
				if b, err := h.Next(time.Hour); b != nil || err != end {
					t.Errorf("after the end: %v", err)
				}
			}
			time.Sleep(time.Minute)
			if k.reads.Load() != reads || reads > 10 {
				t.Errorf("%d reads, then %d", reads, k.reads.Load())
			}
		}, shortFrames)
	}
}

// shortFrames makes every frame much shorter than a buffer, so that a full one can be told from others.
func shortFrames(c *device.Config) { c.Snaplen = 6000 }

// TestBPFGoneUnread: on OpenBSD, what the kernel has when an interface is removed is lost unless a read waits
// for it. Then Next says so, and since when: all earlier frames were read.
func TestBPFGoneUnread(t *testing.T) {
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
		read := time.Now()
		time.Sleep(time.Second) // both buffers are held: nothing reads
		k.receive(device.In, numbered(20, 10)...)
		k.remove("en0")
		for _, b := range held {
			contents(b)
			b.Release()
		}
		got, err := readFrames(t, h, -1)
		var unread *device.UnreadError
		if !errors.Is(err, device.ErrGone) || errors.As(err, &unread) != k.discards {
			t.Fatal(err)
		}
		if k.discards {
			if len(got) != 0 || unread.Since.After(read) || read.Sub(unread.Since) > time.Second {
				t.Errorf("%d frames, unread since %v, the last read was at %v", len(got), unread.Since, read)
			}
			wantStats(t, h, 20, 0)
			return
		}
		wantFrames(t, got, numbered(20, 10))
		wantStats(t, h, 30, 0)
	}, shortFrames)
}

// TestBPFGoneStopped: an interface that is removed while a stopped device is drained may take frames with
// it, too.
func TestBPFGoneStopped(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		time.Sleep(50 * time.Millisecond)
		k.receive(device.In, residue()...)
		if err := h.Stop(); err != nil {
			t.Fatal(err)
		}
		k.remove("en0")
		got, err := readFrames(t, h, -1)
		if k.discards {
			if !errors.As(err, new(*device.UnreadError)) || len(got) >= len(residue()) {
				t.Errorf("%d frames, then %v", len(got), err)
			}
			return
		}
		if err != device.ErrClosed && err != device.ErrGone {
			t.Error(err)
		}
		wantFrames(t, got, residue())
	}, shortFrames)
}

// TestBPFGoneAfterTimeout: a frame that arrives between the last timed-out read and the removal is
// not lost.
func TestBPFGoneAfterTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		time.Sleep(50 * time.Millisecond) // during a read
		k.receive(device.Out, numbered(0, 1)...)
		k.remove("en0")
		got, err := readFrames(t, h, -1)
		if err != device.ErrGone {
			t.Fatal(err)
		}
		wantFrames(t, got, numbered(0, 1))
	}, shortFrames)
}
