package device

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"capd/pcap"
)

// A Device is an interface opened for capture. The kernel collects its frames
// from then on, read or not. Its methods may be called from any goroutine.
type Device struct {
	info    Info
	backend Backend

	mu       sync.Mutex // guards what follows
	attached *Handle    // not closed, or a batch of it is held
	closed   bool
}

// New returns the device of a backend.
func New(b Backend, i Info) *Device { return &Device{backend: b, info: i} }

// Open checks the Config, replaces its zero values, and opens a device by it.
// Its errors name the interface.
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

// OpenGroup checks the Config, replaces its zero values, and opens n devices
// that share the frames of an interface.
func OpenGroup(c Config, n int, s Spread, open func(Config) (*Device, error),
	group func(Config, int, Spread) ([]*Device, error)) ([]*Device, error) {
	if n == 1 {
		d, err := Open(c, open)
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

// Attach starts reading with the oldest frames that no handle before has
// taken. It needs no privilege. There is one handle at a time: while it is
// not closed, or a batch of it is held, Attach returns ErrAttached.
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

// Admit lets frames into a device that was opened Gated.
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

// Index returns the index of the interface, by which the device goes on when it
// is renamed; 0 for Any.
func (d *Device) Index() int { return d.info.Index }

// Warnings returns what the system refused when the device was opened and
// capture goes on without, a sentence each, such as promiscuous mode.
func (d *Device) Warnings() []string { return d.info.Warnings }

// Skew returns the most by which the times differ that the kernel gives one
// frame in two devices of an interface: 0 where it stamps a frame once for all.
// Else the device that was opened last has the earlier time.
func (d *Device) Skew() time.Duration { return d.info.Skew }

// RingSize returns the bytes of the ring, or of a BPF device's two buffers. It
// may be less than asked for where memory was short or the system has a limit;
// 0 without a ring.
func (d *Device) RingSize() int { return d.info.RingSize }

// Close ends the capture, and closes the handle if there is one: see
// Handle.Close. Batches that are held keep the memory, but no frame enters it.
func (d *Device) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	h := d.attached
	d.mu.Unlock()
	if h == nil {
		return d.backend.Close()
	}
	err := h.Close() // its end closes the backend
	if h.inUse() {
		_ = d.backend.Stop() // What comes until then is not for us.
	}
	return err
}

// detach is the handle's end.
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

// A Handle reads the frames of a Device. One goroutine calls Next and Layout;
// the other methods may be called from any.
type Handle struct {
	dev    *Device
	reader Reader

	mu     sync.Mutex // guards what follows
	users  int        // a Next under way, and the batches held: the memory must stay
	closed bool
}

// Next returns the next batch, or nil and no error when there is none within
// the timeout; a negative timeout means to wait as long as it takes. Batches
// that Next returned before stay valid until their Release.
//
// The kernel fills the blocks of a ring one after the other, and so a block
// that is held stops it when it comes round to that, though others are free: it
// drops what comes until the Release (Stats.Dropped, Stats.Freezes). Sockets
// without a ring and BPF devices have a few buffers instead. While every block
// or buffer is held Next waits for a Release.
//
// It returns ErrDown once when the interface goes down, which takes up to a
// second with a BPF device. After Stop, or when the interface was removed, it
// returns what the kernel has left, and then ErrClosed or ErrGone.
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

// Mode says how the frames come from the kernel.
func (h *Handle) Mode() Mode { return h.dev.info.Mode }

// Layout says how the kernel hands over frames. Unlike Mode it is for the
// goroutine that calls Next.
func (h *Handle) Layout() Layout { return h.reader.Layout() }

// Stop ends the device's reception. When it returns no further frame enters;
// Next returns those that did and ErrClosed after the last of them. Batches that
// are held do not delay that, unless they leave no buffer to read the rest into.
// From a BPF device of FreeBSD, NetBSD or OpenBSD a few more may come that
// arrived while the rest was read.
func (h *Handle) Stop() error {
	if err := h.dev.backend.Stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// Close detaches from the device, which goes on filling unless it was stopped,
// and makes a Next under way return ErrClosed. Batches that are held stay valid
// until their Release, which is still due. Closing again does nothing.
func (h *Handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	if h.users > 0 {
		h.reader.Interrupt() // The last user gives everything back.
		return nil
	}
	return h.tearDown()
}

// inUse says whether a Next is under way, or a batch is held.
func (h *Handle) inUse() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.users > 0
}

// enter keeps the handle's memory until leave.
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

// tearDown gives everything back. The caller holds mu.
func (h *Handle) tearDown() error {
	return errors.Join(h.reader.Close(), h.dev.detach())
}
