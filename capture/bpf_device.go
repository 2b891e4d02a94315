package capture

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A bpfDevice is a BPF device bound to an interface. From the first Attach on
// it has a goroutine that reads it, because a read waits as long as it likes:
// whoever calls Next waits for that goroutine, and not in the kernel.
type bpfDevice struct {
	node
	form
	name   string
	index  int
	length int           // bytes of a read
	wait   time.Duration // that a read takes at most
	warns  []string

	free    chan []byte   // buffers that nobody uses
	full    chan filled   // what was read; closed after the last
	end     error         // set before that: why it was the last
	quit    chan struct{} // closed by close
	stopped atomic.Bool
	taken   atomic.Uint64 // frames read from the batches handed out so far
	corrupt atomic.Uint64

	mu       sync.Mutex // guards what follows
	users    int        // of the descriptor: the open device, its handle and the reader
	reading  bool       // the reader was started
	closed   bool
	attached *bpfHandle
	dropped  uint64
	last     uint64 // the kernel's count of them
}

// A filled is the part of a buffer that the kernel filled, or an event.
type filled struct {
	mem   []byte
	event error
}

// buffers is how many read buffers there are: one to read into while the
// other is written to disk.
const buffers = 2

// longestWait is the most that a read may wait. The end of a Stop takes as long
// twice, and after Close the descriptor stays open as long.
const longestWait = 250 * time.Millisecond

func (d *bpfDevice) openOn(s sys, a abi, c Config) error {
	if c.Gated {
		return fmt.Errorf("a BPF device is locked once it is open: it can't be gated: %w", errors.ErrUnsupported)
	}
	if c.Interface == Any {
		return fmt.Errorf("a BPF device reads one interface: %w", errors.ErrUnsupported)
	}
	state, err := s.link(c.Interface)
	if err != nil {
		return err
	}
	n, err := openNode(s, a)
	if err != nil {
		return err
	}
	d.node, d.name, d.index = n, c.Interface, state.index
	if err := d.configure(c); err != nil {
		_ = s.close(n.fd)
		return err
	}
	d.free, d.full = make(chan []byte, buffers), make(chan filled, buffers+1)
	d.quit = make(chan struct{})
	d.users = 1
	return nil
}

// configure sets up everything that can be before the interface, so that no
// frame enters that should not, then the rest, and locks it.
func (d *bpfDevice) configure(c Config) error {
	if err := d.checkVersion(); err != nil {
		return err
	}
	d.setNanoseconds()
	if err := d.setFilter(cut(c.Snaplen, c.Filter)); err != nil {
		return err
	}
	if err := d.setDirection(c.Direction); err != nil {
		return err
	}
	var err error
	if d.length, err = d.setInterface(c.Interface, min(c.RingSize/kernelBuffers, mostBuffer)); err != nil {
		return err
	}
	link, known, err := d.linkType()
	if err != nil {
		return err
	}
	if !known {
		d.warns = append(d.warns, fmt.Sprintf("the interface's link type DLT %d is not on the list of link types; recorded as it is", link))
	}
	d.form = form{link: link, snaplen: c.Snaplen}
	d.wait = readTimeout(c.BlockTimeout)
	if err := d.setTimeout(d.wait); err != nil {
		return err
	}
	// In immediate mode every frame would be a read of its own.
	if err := d.set(biocImmediate, 0); err != nil {
		return cause("set buffered mode", err)
	}
	if c.Promiscuous {
		// Many Wi-Fi drivers refuse it: what comes without is better than nothing.
		if err := d.sys.ioctl(d.fd, biocPromisc, nil); err != nil {
			d.warns = append(d.warns, fmt.Sprintf("promiscuous mode refused: %v; frames for other hosts are not recorded", err))
		}
	}
	return d.setLock()
}

// readTimeout returns how long a read may wait: as long as a block may stay
// open, in the steps of 10 ms that XNU's clock makes. 0 would be for ever.
func readTimeout(ms int) time.Duration {
	const step = 10 * time.Millisecond
	d := time.Duration(ms) * time.Millisecond
	return min((d+step-1)/step*step, longestWait)
}

func (d *bpfDevice) ungate() error { return errors.ErrUnsupported } // none was gated

func (d *bpfDevice) ringSize() int { return kernelBuffers * d.length }

func (d *bpfDevice) warnings() []string { return d.warns }

func (d *bpfDevice) attach(h *bpfHandle) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return ErrClosed
	case d.attached != nil:
		return ErrAttached
	}
	h.dev, h.done = d, make(chan struct{})
	h.batch = Batch{corrupt: &d.corrupt, release: h.released}
	d.attached = h
	d.users++
	if !d.reading {
		d.reading = true
		d.users++
		for range buffers {
			d.free <- make([]byte, d.length)
		}
		go d.run()
	}
	return nil
}

// drop counts one user less of the descriptor. The last one closes it: never
// while a read is under way, which on NetBSD would block both.
func (d *bpfDevice) drop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users--
	if d.users > 0 {
		return nil
	}
	_ = d.sample() // the last counters, if the device still tells them
	fd := d.fd
	d.fd = -1
	return d.sys.close(fd)
}

func (d *bpfDevice) close() error {
	d.mu.Lock()
	h := d.attached
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	if h != nil {
		_ = h.close()
	}
	close(d.quit)
	return d.drop()
}

// sample adds what the kernel dropped since the last time to the total, which
// so survives that most count with 32 bits. The caller holds mu.
func (d *bpfDevice) sample() error {
	if d.fd < 0 {
		return nil
	}
	_, now, wide, err := d.counters()
	if err != nil {
		return fmt.Errorf("get statistics: %w", err)
	}
	if wide {
		d.dropped += now - d.last
	} else {
		d.dropped += uint64(uint32(now) - uint32(d.last))
	}
	d.last = now
	return nil
}

// statistics returns the counters. The kernel counts what it saw before its filter,
// so Received is summed up here: what was read and what was dropped behind
// the filter. What waits in the kernel is added when it is read.
func (d *bpfDevice) statistics() (Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.sample()
	s := Stats{Dropped: d.dropped, Corrupt: d.corrupt.Load(), RingBlocks: buffers, FilledBlock: len(d.full)}
	s.Received = d.taken.Load() + s.Dropped + s.Corrupt
	return s, err
}
