package bpf

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"capd/capture/device"
)

// A pump is the state of the reading goroutine.
type pump struct {
	*source
	ending    error // what Next returns after the remaining frames; nil while frames arrive
	left      int   // reads that may still return remaining frames
	down      bool
	stateRead time.Time // when the state of the interface was last read
	early     int       // consecutive timeouts that came too early
	progress
}

// progress tells which frames may be left in the kernel.
type progress struct {
	since time.Time // earlier frames were read
	last  time.Time // when the last read ended
	woken bool      // it ended before its timeout and before a buffer was full: by the removal of the interface
}

const (
	lookEvery = time.Second // how often an idle interface's state is read
	maxEarly  = 8

	// asleep is how long a read takes if it certainly waited for frames.
	asleep = 10 * time.Millisecond

	// mostFrame is more than the length of any frame.
	mostFrame = 66 << 10
)

// run reads until nothing is left, and then closes full.
func (d *source) run() {
	d.mu.Lock()
	r := pump{source: d, progress: progress{since: d.open, last: d.open}} // Admit may change it
	d.mu.Unlock()
	d.end = r.read()
	d.mu.Lock()
	_ = d.sample()
	// Drops after the last read of a stopped device happened after its end, a device whose interface is
	// gone may have no counters any more, and the drops of one that was left to another process are counted there.
	d.over = d.stopped.Load() || d.leaves.Load() || errors.Is(d.end, device.ErrGone)
	d.mu.Unlock()
	_ = d.drop() // before Next returns the end: who closes the device then has closed the descriptor, too
	close(d.full)
}

// read reads until the device is closed, or until it is stopped or gone and drained.
func (r *pump) read() error {
	r.look()
	for {
		var b *buffer
		select {
		case b = <-r.free:
		case <-r.quit:
			return device.ErrClosed
		}
		n, err := r.fill(b.whole)
		if err != nil {
			return err
		}
		r.count()
		b.records = records{layout: r.record, snaplen: r.snaplen, mem: b.whole[:n], count: &r.taken}
		r.put(filled{buffer: b})
	}
}

// put queues a value for Next. It blocks if Next is not called.
func (r *pump) put(f filled) {
	select {
	case r.full <- f:
	case <-r.quit:
	}
}

// fill repeats reads that time out until one returns frames.
func (r *pump) fill(buf []byte) (int, error) {
	for !r.quitting() {
		if r.leaves.Load() {
			return 0, device.ErrClosed // what the kernel has is for the next process
		}
		if r.ending == nil && r.stopped.Load() {
			r.finish(device.ErrClosed)
		}
		if r.ending != nil && r.left == 0 {
			return 0, r.ending
		}
		began := time.Now()
		n, err := r.sys.read(r.fd, buf)
		took := time.Since(began)
		if err == nil {
			r.note(n, took)
		}
		switch {
		case n > 0 && err == nil:
			r.left--
			r.down, r.early = false, 0
			return n, nil
		case err == syscall.EINTR:
		case gone(err) && r.discards:
			return 0, r.removed(took)
		case (err == nil || err == syscall.EAGAIN || gone(err)) && r.ending != nil:
			return 0, r.ending
		case gone(err):
			r.finish(device.ErrGone)
		case err == nil || err == syscall.EAGAIN:
			r.idle(took)
		default:
			return 0, fmt.Errorf("read: %w", err)
		}
	}
	return 0, device.ErrClosed
}

// note follows what a read returned. A buffer that it returned was begun after the read before had ended.
func (r *pump) note(n int, took time.Duration) {
	now := time.Now()
	r.since = r.last
	if n == 0 {
		r.since = now
	}
	r.last = now
	r.woken = n > 0 && n+min(r.snaplen, mostFrame) <= r.length && took < r.wait-asleep && r.ending == nil
}

// removed returns the error for an interface that is gone, where the system discards frames with it: all
// but those that it gives to a read that waits for them.
func (r *pump) removed(took time.Duration) error {
	switch {
	case took < asleep && !r.woken:
		return &device.UnreadError{Since: r.since}
	case r.ending != nil:
		return r.ending
	}
	return device.ErrGone
}

// gone reports whether a call failed because the interface was removed: ENXIO on macOS and FreeBSD,
// EIO on OpenBSD.
func gone(err error) bool {
	return errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EIO)
}

func (r *pump) quitting() bool {
	select {
	case <-r.quit:
		return true
	default:
		return false
	}
}

// finish starts the end of the capture. Further reads return at most the kernel's two buffers: the full one
// and the one being filled. In immediate mode they don't wait for the latter, except on OpenBSD, where
// the mode applies to later frames only, and the read returns at its timeout. O_NONBLOCK would
// have the same effect, but FreeBSD forbids it after BIOCLOCK, and the filter and the interface can't
// be changed then either.
func (r *pump) finish(why error) {
	r.ending, r.left = why, kernelBuffers
	// If this fails, the timeout has the same effect, only later.
	_ = r.set(biocImmediate, 1)
}

// idle checks the interface while no frames arrive.
func (r *pump) idle(took time.Duration) {
	r.count()
	// On NetBSD, reads keep timing out after the interface is gone.
	if _, err := r.get(biocGetDLT); err == syscall.EINVAL || gone(err) {
		r.finish(device.ErrGone)
		return
	}
	if time.Since(r.stateRead) >= lookEvery {
		r.look()
	}
	if took >= r.wait/2 {
		r.early = 0
		return
	}
	// Some OpenBSD kernels end one read too early after a busy time. If one did so permanently, it
	// must not use a whole processor.
	if r.early++; r.early > maxEarly {
		select {
		case <-time.After(r.wait):
		case <-r.quit:
		}
	}
}

// look reports that the interface went down, which does not wake a read.
func (r *pump) look() {
	r.stateRead = time.Now()
	state, err := r.sys.link(r.name)
	if err != nil || state.index != r.index {
		return // Whether it is gone is for the BPF device to say.
	}
	if !state.up && !r.down {
		r.put(filled{event: device.ErrDown})
	}
	r.down = !state.up
}

// count reads the kernel's counters often enough that 32 bits can't wrap twice between two reads.
func (r *pump) count() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.sample() // Stats reports errors
}

// Stats reports errors
