package device

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"capd/pcap"
)

// A Device is an interface opened for capture. The kernel collects its frames from then on, even if
// they are not read. Its methods may be called from any goroutine.
type Device struct {
	info    Info
	backend Backend

	mu       sync.Mutex // guards the fields below
	attached *Handle    // a handle that is not closed, or whose batches are held
	closed   bool
	given    bool // another process may have a duplicate of the descriptor
}

// New returns a device with that backend.
func New(b Backend, i Info) *Device { return &Device{backend: b, info: i} }

// Open fills in defaults, checks the Config and opens a device. Its errors name the interface.
func Open(c Config, open func(Config) (*Device, error)) (*Device, error) {
	full, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c.Interface, err)
	}
	d, err := open(full)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c.Interface, err)
	}
	return d, nil
}

// OpenGroup fills in defaults, checks the Config and opens n devices that share the frames of an
// interface.
func OpenGroup(c Config, n int, s Spread, open func(Config) (*Device, error),
	group func(Config, int, Spread) ([]*Device, error)) ([]*Device, error) {
	if len(c.Accounts) != 0 && len(c.Accounts) != n || len(c.Accounts) == 0 && c.Account != nil {
		return nil, fmt.Errorf("open group of %d: %d accounts for %d devices", n, len(c.Accounts), n)
	}
	if n == 1 {
		d, err := Open(c.Member(0), open)
		if err != nil {
			return nil, err
		}
		return []*Device{d}, nil
	}
	full, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open group of %d: open %s: %w", n, c.Interface, err)
	}
	all, err := group(full, n, s)
	if err != nil {
		return nil, fmt.Errorf("open group of %d: %w", n, err)
	}
	return all, nil
}

// Attach starts reading with the oldest frames that no earlier handle has read. It needs no
// privilege. There is one handle at a time: while it is not closed, or a batch of it is held,
// Attach returns ErrAttached.
func (d *Device) Attach() (*Handle, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.attach()
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", d.info.Name, err)
	}
	return h, nil
}

func (d *Device) attach() (*Handle, error) {
	switch {
	case d.closed:
		return nil, ErrClosed
	case d.attached != nil:
		return nil, ErrAttached
	}
	r, err := d.backend.Attach()
	if err != nil {
		return nil, err
	}
	d.attached = &Handle{dev: d, reader: r}
	return d.attached, nil
}

// Admit admits frames to a device that was opened Gated.
func (d *Device) Admit() error {
	d.mu.Lock()
	err := ErrClosed
	if !d.closed {
		err = d.backend.Admit()
	}
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("admit frames of %s: %w", d.info.Name, err)
	}
	return nil
}

// Index returns the index of the interface, which stays the same when it is renamed; 0 for Any.
func (d *Device) Index() int { return d.info.Index }

// LinkType returns the link type of all packets of the device.
func (d *Device) LinkType() pcap.LinkType { return d.info.LinkType }

// Warnings returns, one sentence each, what the system refused when the device was opened and
// capture continues without, such as promiscuous mode.
func (d *Device) Warnings() []string { return d.info.Warnings }

// Skew returns the largest difference between the times that one frame has in two devices of an
// interface. It is 0 if the kernel takes one timestamp for all devices. Otherwise the device that
// was opened last has the earlier time.
func (d *Device) Skew() time.Duration { return d.info.Skew }

// RingSize returns the size in bytes of the ring, or of a BPF device's two buffers; 0 without a
// ring. It may be less than requested if memory was short or the system has a limit.
func (d *Device) RingSize() int { return d.info.RingSize }

// Close ends the capture, and closes the handle if there is one: see Handle.Close. Held batches
// stay valid, but no further frame is received, unless for another process: see File.
func (d *Device) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	h, given := d.attached, d.given
	d.mu.Unlock()
	if h == nil {
		return d.backend.Close()
	}
	err := h.Close() // when the handle ends, it closes the backend
	if h.inUse() && !given {
		_ = d.backend.Stop() // frames that arrive until then must not be received
	}
	return err
}

// detach removes the handle.
func (d *Device) detach() error {
	d.mu.Lock()
	d.attached = nil
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return d.backend.Close()
	}
	return nil
}

// A Handle reads the frames of a Device. One goroutine calls Next and Layout; the other methods may
// be called from any goroutine.
type Handle struct {
	dev    *Device
	reader Reader

	mu     sync.Mutex // guards the fields below
	users  int        // running calls of Next, plus held batches: while there are any, the memory must stay
	closed bool
}

// Next returns the next batch, or nil without an error if there is none within the timeout; a
// negative timeout means no limit. Batches that Next returned before stay valid until their
// Release.
//
// The kernel fills the blocks of a ring in order. It stops at a block that is still held, even if
// others are free, and drops frames until its Release (Stats.Dropped, Stats.Freezes). Sockets
// without a ring and BPF devices have a few buffers instead. While every block or buffer is held,
// Next waits for a Release.
//
// Next returns ErrDown once when the interface goes down, which is noticed within a second by a BPF
// device. After Stop, or after the interface was removed, it returns the remaining frames and then
// ErrClosed or ErrGone.
func (h *Handle) Next(timeout time.Duration) (*Batch, error) {
	if !h.enter() {
		return nil, ErrClosed
	}
	b, err := h.reader.Next(timeout)
	if b == nil {
		h.leave()
		return nil, err
	}
	b.lend(h)
	return b, nil
}

// An againer is a Reader that can lend a block again.
type againer interface{ Again(block uint64) *Batch }

// Again returns one of the blocks of Position.Lent of an adopted device, which the process before had not
// released: it has no packets to read, but Memory. It returns nil if the block is not there. Until Release the kernel does not
// get the block, as if Next had returned it.
func (h *Handle) Again(block uint64) *Batch {
	a, ok := h.reader.(againer)
	if !ok || !h.enter() {
		return nil
	}
	b := a.Again(block)
	if b == nil {
		h.leave()
		return nil
	}
	b.lend(h)
	return b
}

// Stats returns the counters. They work on after Close, but do not move.
// Those of NIC are as of the last Refresh.
func (h *Handle) Stats() (Stats, error) { return h.dev.backend.Stats() }

// Refresh asks the interface for its own counters. On Linux the answer takes the
// kernel's lock of all interfaces, and as much work as dozens of frames: it is
// for a goroutine that may wait, about once a second. After Stop it changes
// nothing: what comes then is not for the capture. Elsewhere than on
// Linux it does nothing.
func (h *Handle) Refresh() { h.dev.backend.Refresh() }

// LinkType returns the link type of all packets of the handle.
func (h *Handle) LinkType() pcap.LinkType { return h.dev.info.LinkType }

// Mode returns how frames are read from the kernel.
func (h *Handle) Mode() Mode { return h.dev.info.Mode }

// Layout returns the layout of frames. It must be called by the goroutine that calls Next.
func (h *Handle) Layout() Layout { return h.reader.Layout() }

// Stop ends the device's reception. After Stop returns, no further frame is received. Next returns
// the frames that were received before, and then ErrClosed. Held batches do not delay that, unless
// no buffer is left to read the rest into. A BPF device of FreeBSD, NetBSD or OpenBSD may deliver a
// few more frames that arrived while the rest was read.
func (h *Handle) Stop() error {
	if err := h.dev.backend.Stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// A suspender is a Backend that copies frames from the kernel.
type suspender interface{ Suspend() error }

// Suspend ends reading, and not reception, for another process to go on: see File. Next returns the
// frames that were taken from the kernel, and then ErrClosed. Nothing else may be done with the
// handle then but to close it. A device with a ring in memory does not need it, and returns
// an error that wraps errors.ErrUnsupported.
func (h *Handle) Suspend() error {
	b, ok := h.dev.backend.(suspender)
	if !ok {
		return fmt.Errorf("suspend: %w", errors.ErrUnsupported)
	}
	return b.Suspend()
}

// Close detaches from the device, which keeps filling unless it was stopped, and makes a running
// Next return ErrClosed. Held batches stay valid, and must still be released. Repeated calls have
// no effect.
func (h *Handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	if h.users > 0 {
		h.reader.Interrupt() // the last user releases the memory
		return nil
	}
	return h.tearDown()
}

// inUse reports whether a Next is running or a batch is held.
func (h *Handle) inUse() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.users > 0
}

// enter keeps the handle's memory valid until leave.
func (h *Handle) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.users++
	return true
}

func (h *Handle) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users--
	if h.closed && h.users == 0 {
		_ = h.tearDown()
	}
}

// tearDown releases everything. The caller holds mu.
func (h *Handle) tearDown() error {
	return errors.Join(h.reader.Close(), h.dev.detach())
}
