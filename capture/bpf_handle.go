package capture

import (
	"fmt"
	"sync"
	"time"

	"capd/pcap"
)

// A bpfHandle hands out what the device's reader has read. Only its fields
// under mu are shared.
type bpfHandle struct {
	dev   *bpfDevice
	batch Batch
	mem   []byte        // of the batch
	first int           // bytes of the first frame's header; 0 before it
	done  chan struct{} // closed by close

	mu     sync.Mutex
	busy   bool // Next is under way, or its batch is held
	closed bool
}

func (h *bpfHandle) linkType() pcap.LinkType { return h.dev.link }

func (h *bpfHandle) mode() Mode { return ModeBPF }

func (h *bpfHandle) stats() (Stats, error) { return h.dev.statistics() }

// refresh does nothing: no BPF system tells the interface's counter to this.
func (*bpfHandle) refresh() {}

func (h *bpfHandle) next(timeout time.Duration) (*Batch, error) {
	h.batch.Release()
	if !h.enter() {
		return nil, ErrClosed
	}
	mem, err := h.await(timeout)
	if mem == nil {
		_ = h.leave()
		return nil, err
	}
	h.mem = mem
	h.batch.records = records{layout: h.dev.record, snaplen: h.dev.snaplen, mem: mem, count: &h.dev.taken}
	h.batch.held = true
	if h.first == 0 {
		h.first = h.batch.header()
	}
	return &h.batch, nil
}

func (h *bpfHandle) layout() Layout {
	r := h.dev.record
	return Layout{
		Unit: h.dev.length, Header: h.first, Align: r.align,
		Resolution: time.Duration(r.tick), Clock: "system clock, in the kernel",
	}
}

// await returns the next filled buffer, waiting for it until the timeout. What
// it leaves is for the next handle.
func (h *bpfHandle) await(timeout time.Duration) ([]byte, error) {
	select {
	case <-h.done:
		return nil, ErrClosed
	default:
	}
	select {
	case f, ok := <-h.dev.full:
		return h.take(f, ok)
	default:
	}
	if timeout == 0 {
		return nil, nil
	}
	var expired <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-h.done:
		return nil, ErrClosed
	case f, ok := <-h.dev.full:
		return h.take(f, ok)
	case <-expired:
		return nil, nil
	}
}

func (h *bpfHandle) take(f filled, ok bool) ([]byte, error) {
	if !ok {
		return nil, h.dev.end
	}
	return f.mem, f.event
}

// released gives the batch's buffer back to the reader.
func (h *bpfHandle) released() {
	h.dev.free <- h.mem[:cap(h.mem)]
	h.mem = nil
	_ = h.leave()
}

// enter keeps the handle attached until leave.
func (h *bpfHandle) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.busy = true
	return true
}

func (h *bpfHandle) leave() error {
	h.mu.Lock()
	h.busy = false
	closed := h.closed
	h.mu.Unlock()
	if closed {
		return h.detach()
	}
	return nil
}

// stop makes the reader end with what the kernel has. A few frames that come
// while it reads that may follow, since a locked device's filter can't be
// changed; where there is no lock none does.
func (h *bpfHandle) stop() error {
	h.dev.mu.Lock()
	defer h.dev.mu.Unlock()
	if h.dev.fd < 0 || h.dev.closed {
		return fmt.Errorf("stop: %w", ErrClosed)
	}
	h.dev.stopped.Store(true)
	if h.dev.lock == 0 {
		_ = h.dev.changeFilter(nothing()) // else as on the others
	}
	return nil
}

func (h *bpfHandle) close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	close(h.done)
	busy := h.busy
	h.mu.Unlock()
	if busy {
		return nil // Its user detaches: the buffer may be in use just now.
	}
	return h.detach()
}

func (h *bpfHandle) detach() error {
	h.dev.mu.Lock()
	h.dev.attached = nil
	h.dev.mu.Unlock()
	return h.dev.drop()
}
