package capture

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"capd/pcap"
)

// A handle reads a device. Only its fields under mu are shared.
type handle struct {
	dev   *device
	ring  *ring     // nil without one
	sock  *receiver // nil with one
	batch Batch
	wake  int // eventfd that ends a poll
	polls [2]unix.PollFd
	shaky bool      // the interface has been down: it may go away unnoticed
	end   error     // what Next returns once the device is drained
	quiet time.Time // when to stop waiting for that
	count uint64    // frames of the batch
	takes int       // batches so far
	first int       // bytes of the first frame's header; 0 before it

	mu     sync.Mutex
	busy   bool // Next is under way, or its batch is held: memory must stay
	closed bool
	torn   bool // and everything is given back
}

// goneCheck is how often a handle looks whether an interface that was down is
// still there: while it is down its removal wakes nobody.
const goneCheck = 250 * time.Millisecond

// statsEvery is after how many batches the kernel's 32-bit counters are read.
const statsEvery = 1024

func (d *device) begin() (frames, error) {
	h := new(handle)
	return h, d.attach(h)
}

func (d *device) attach(h *handle) error {
	if err := d.use(h); err != nil {
		return err
	}
	h.dev = d
	var err error
	if h.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = h.detach()
		return fmt.Errorf("make eventfd: %w", err)
	}
	if d.blocks == 0 {
		h.sock = newReceiver(d.fd, d.form)
	} else if h.ring, err = mapRing(d.fd, d.blocks, d.blockSize); err != nil {
		unix.Close(h.wake)
		_ = h.detach()
		return fmt.Errorf("map ring: %w", err)
	}
	h.batch = Batch{corrupt: &d.corrupt, release: h.released}
	h.polls = [2]unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}, {Fd: int32(h.wake), Events: unix.POLLIN}}
	return nil
}

func (h *handle) linkType() pcap.LinkType { return h.dev.link }

func (h *handle) mode() Mode {
	if h.ring == nil {
		return ModeSocket
	}
	return ModeRing
}

func (h *handle) next(timeout time.Duration) (*Batch, error) {
	h.batch.Release()
	if !h.enter() {
		return nil, ErrClosed
	}
	ok, err := h.await(timeout)
	if !ok {
		h.leave()
		return nil, err
	}
	h.batch.held = true
	if h.first == 0 {
		h.first = h.batch.header()
	}
	return &h.batch, nil
}

// layout is that of packet(7): TPACKET_ALIGNMENT, and the nanoseconds of the
// time at which the frame passed the network stack.
func (h *handle) layout() Layout {
	l := Layout{Resolution: time.Nanosecond, Clock: "system clock, in the kernel"}
	if h.ring != nil {
		l.Unit, l.Header, l.Align = h.dev.blockSize, h.first, unix.TPACKET_ALIGNMENT
	}
	return l
}

// enter keeps the handle's memory until leave.
func (h *handle) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.busy = true
	return true
}

func (h *handle) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy = false
	if h.closed {
		_ = h.tearDown()
	}
}

// released takes back the batch's memory. Only now its frames count as taken:
// a block that is never released comes again.
func (h *handle) released() {
	h.dev.taken.Add(h.count)
	if h.takes++; h.takes%statsEvery == 0 {
		_, _ = h.dev.counters()
	}
	if h.ring != nil {
		h.ring.release()
	}
	h.leave()
}

// await fills the batch, waiting for frames until the timeout.
func (h *handle) await(timeout time.Duration) (bool, error) {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	for {
		if h.isClosed() {
			return false, ErrClosed
		}
		if ok, err := h.fill(); ok || err != nil {
			return ok, err
		}
		if h.over() {
			return false, h.end
		}
		wait := timeout
		if timeout > 0 {
			wait = max(time.Until(deadline), 0)
		}
		if err := h.poll(wait); err != nil {
			return false, err
		}
		if timeout >= 0 && (timeout == 0 || !time.Now().Before(deadline)) {
			ok, err := h.fill()
			return ok, err
		}
	}
}

// fill takes the next frames, if there are any, into the batch.
func (h *handle) fill() (bool, error) {
	var n uint64
	if h.ring != nil {
		mem := h.ring.next()
		if mem == nil {
			return false, nil
		}
		h.batch.block = newBlock(mem, h.dev.form)
		n = h.batch.block.count()
	} else {
		frames, err := h.sock.receive()
		if err != nil {
			return false, h.failed(err)
		}
		if len(frames) == 0 {
			return false, nil
		}
		h.batch.frames, n = frames, uint64(len(frames))
	}
	h.quiet = time.Time{}
	h.count = n
	return true, nil
}

func (h *handle) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// over says whether reception has ended and nothing is left to read. The
// kernel hands over the last block by its timer; should its counters not agree
// with ours, waiting for it ends some time after that.
func (h *handle) over() bool {
	if h.end == nil && h.dev.stopped.Load() {
		h.end = ErrClosed
	}
	if h.end == nil {
		return false
	}
	if h.dev.drained() {
		return true
	}
	if h.quiet.IsZero() {
		h.quiet = time.Now().Add(2*h.dev.blockTimeout + time.Second)
	}
	return time.Now().After(h.quiet)
}

// poll waits for frames, the handle's end or the interface's. A negative wait
// has no limit.
func (h *handle) poll(wait time.Duration) error {
	if h.end != nil || h.shaky {
		// Whatever the caller's patience: there is something to look after.
		if wait < 0 || wait > goneCheck {
			wait = goneCheck
		}
	}
	ms := -1
	if wait >= 0 {
		ms = int(min((wait+time.Millisecond-1)/time.Millisecond, 1<<30))
	}
	_, err := unix.Poll(h.polls[:], ms)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("poll: %w", err)
	}
	if err == nil && h.polls[1].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(h.wake, b[:])
	}
	if err == nil && h.polls[0].Revents&unix.POLLERR != 0 {
		errno, err := unix.GetsockoptInt(h.dev.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return fmt.Errorf("get socket error: %w", err)
		}
		if errno != 0 {
			return h.failed(unix.Errno(errno))
		}
	}
	if h.shaky && h.end == nil && h.dev.gone() {
		h.end = ErrGone
	}
	return nil
}

// failed turns the socket's error into what Next returns. Of an interface that
// is gone it returns nothing yet: first the filled blocks are read. A stopped
// handle has nothing to expect of the interface.
func (h *handle) failed(err error) error {
	if !errors.Is(err, unix.ENETDOWN) {
		return fmt.Errorf("receive: %w", err)
	}
	if h.end == nil && h.dev.gone() {
		h.end = ErrGone
	}
	if h.end != nil || h.dev.stopped.Load() {
		return nil
	}
	h.shaky = true
	return ErrDown
}

func (h *handle) stats() (Stats, error) {
	s, err := h.dev.counters()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ring != nil && !h.torn {
		s.FilledBlock = h.ring.filled()
	}
	return s, err
}

func (h *handle) refresh() { h.dev.refresh() }

func (h *handle) stop() error {
	if err := h.dev.stopReception(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	h.dev.stopped.Store(true)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.signal()
}

// signal ends a poll. The caller holds mu.
func (h *handle) signal() error {
	if h.torn {
		return nil
	}
	one := [8]byte{}
	host.PutUint64(one[:], 1)
	_, err := unix.Write(h.wake, one[:])
	return err
}

func (h *handle) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	if h.busy {
		// Its user gives everything back: the memory may be in use just now.
		return h.signal()
	}
	return h.tearDown()
}

// tearDown gives everything back. The caller holds mu.
func (h *handle) tearDown() error {
	if h.torn {
		return nil
	}
	h.torn = true
	var err error
	if h.ring != nil {
		err = h.ring.unmap()
	}
	return errors.Join(err, unix.Close(h.wake), h.detach())
}

func (h *handle) detach() error {
	h.dev.mu.Lock()
	defer h.dev.mu.Unlock()
	h.dev.attached = nil
	return h.dev.dropLocked()
}
