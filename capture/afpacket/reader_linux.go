package afpacket

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"capd/capture/device"

	"golang.org/x/sys/unix"
)

// A reader reads a socket. Only its atomic fields are used by several goroutines.
type reader struct {
	socket *socket
	ring   *ring // nil without a ring
	pool   *pool // nil with a ring
	waiter
	pace pace // without a ring it is never asked for a pause

	interrupted atomic.Bool
	starved     atomic.Bool // Next waits for a Release: see released

	wasDown bool      // the interface was down: its removal may not be signaled
	end     error     // what Next returns after the socket was drained
	quiet   time.Time // when to stop waiting for the socket to drain
	batches int       // number of batches so far
	header  int       // length of the first frame's header; 0 before the first frame
}

// goneCheck is how often a reader checks whether an interface that went down still exists: the
// removal of such an interface wakes no reader.
const goneCheck = 250 * time.Millisecond

// statsEvery is after how many batches the kernel's 32-bit counters are read, before they wrap.
const statsEvery = 1024

func newReader(d *socket) (*reader, error) {
	r := &reader{socket: d}
	if d.index == indexGone {
		r.end = device.ErrGone
	}
	var err error
	if r.waiter, err = newWaiter(d.fd); err != nil {
		return nil, err
	}
	if d.blocks == 0 {
		r.pool = newPool(newReceiver(d.fd, d.form), r.released)
		return r, nil
	}
	mem, err := mapRing(d)
	if err != nil {
		r.waiter.close()
		return nil, err
	}
	r.pace = newPace(d.blocks)
	r.ring = newRing(mem, d.config.BlockSize, d.last, d.form, &d.corrupt, r.released)
	return r, nil
}

// mapRing maps the memory of the ring, unless Adopt has done so.
func mapRing(d *socket) ([]byte, error) {
	if mem := d.mapped; mem != nil {
		d.mapped = nil
		return mem, nil
	}
	mem, err := unix.Mmap(d.fd, 0, d.blocks*d.config.BlockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map ring: %w", err)
	}
	return mem, nil
}

// Layout returns the layout of packet(7): TPACKET_ALIGNMENT, and timestamps in nanoseconds of when
// a frame passed the network stack.
func (r *reader) Layout() device.Layout {
	l := device.Layout{Resolution: time.Nanosecond, Clock: "system clock, in the kernel"}
	if r.ring != nil {
		l.Unit, l.Header, l.Align = r.socket.config.BlockSize, r.header, unix.TPACKET_ALIGNMENT
	}
	return l
}

// Next returns the next frames. It waits for them until the timeout.
func (r *reader) Next(timeout time.Duration) (*device.Batch, error) {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	for {
		if r.interrupted.Load() {
			return nil, device.ErrClosed
		}
		if b, err := r.take(); b != nil || err != nil {
			return b, err
		}
		if r.over() {
			return nil, r.end
		}
		if r.end == nil && r.foundDown() {
			r.wasDown = true
			return nil, device.ErrDown
		}
		wait := timeout
		if timeout > 0 {
			wait = max(time.Until(deadline), 0)
		}
		if err := r.wait(wait); err != nil {
			return nil, err
		}
		if timeout >= 0 && (timeout == 0 || !time.Now().Before(deadline)) {
			return r.take()
		}
	}
}

// take returns the next frames, if there are any and there is memory for them.
func (r *reader) take() (*device.Batch, error) {
	var b *device.Batch
	var frames uint64
	if r.ring != nil {
		s := r.ring.next()
		if s == nil {
			return nil, nil
		}
		if r.header == 0 {
			r.header = s.header()
		}
		r.pace.took(s.timedOut())
		b, frames = s.batch, s.count()
	} else {
		s, err := r.pool.next()
		if s == nil {
			return nil, r.failed(err)
		}
		b, frames = s.batch, uint64(len(s.frames))
	}
	r.quiet = time.Time{}
	r.socket.handed.Add(frames)
	if r.batches++; r.batches%statsEvery == 0 {
		_, _ = r.socket.Stats()
	}
	return b, nil
}

// Again returns a block that was lent before, and not given back.
func (r *reader) Again(block uint64) *device.Batch {
	if r.ring == nil {
		return nil
	}
	if s := r.ring.again(block); s != nil {
		return s.batch
	}
	return nil
}

// full reports whether Next can't return frames because all memory is held.
func (r *reader) full() bool {
	if r.ring != nil {
		return r.ring.full()
	}
	return r.pool.full()
}

// released wakes a Next that waits for memory. It does nothing if no Next waits: waking costs a
// system call.
func (r *reader) released() {
	if r.starved.Load() && r.starved.CompareAndSwap(true, false) {
		r.wakeUp()
	}
}

// over reports whether reception has ended and nothing is left to read. The kernel hands over the
// last block when its timer expires. If its counters do not agree with the number of frames read,
// the wait ends some time after that.
func (r *reader) over() bool {
	if r.end == nil && r.socket.stopped.Load() {
		r.end = device.ErrClosed
	}
	if r.end == nil {
		return false
	}
	if r.socket.drained() {
		return true
	}
	if r.full() {
		r.quiet = time.Time{}
		return false // the rest waits for a Release
	}
	if r.quiet.IsZero() {
		r.quiet = time.Now().Add(2*time.Duration(r.socket.config.BlockTimeout)*time.Millisecond + time.Second)
	}
	return time.Now().After(r.quiet)
}

// wait waits for frames, or for the end of the reader or the interface; if all memory is held, for
// a Release. A negative limit means no limit.
func (r *reader) wait(limit time.Duration) error {
	if r.end != nil || r.wasDown {
		// Wake up regularly, whatever the limit, to check whether the interface still exists.
		if limit < 0 || limit > goneCheck {
			limit = goneCheck
		}
	}
	if d := r.pace.pause(time.Now()); d > 0 && (limit < 0 || d < limit) && r.end == nil && !r.wasDown && !r.full() {
		return r.waiter.pause(d)
	}
	if r.full() {
		r.starved.Store(true)
		if !r.full() { // Release may have been called before starved was set
			r.starved.Store(false)
			return nil
		}
	}
	failed, err := r.waiter.wait(limit)
	r.starved.Store(false)
	if err != nil {
		return err
	}
	if failed {
		errno, err := unix.GetsockoptInt(r.socket.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return fmt.Errorf("get socket error: %w", err)
		}
		if errno != 0 {
			return r.failed(unix.Errno(errno))
		}
	}
	if r.wasDown && r.end == nil && r.gone() {
		r.end = device.ErrGone
	}
	return nil
}

// failed turns the socket's error into what Next returns. If the interface is gone, it returns nil
// at first, because filled blocks have to be read. For a stopped reader, errors of the interface do
// not matter.
func (r *reader) failed(err error) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.ENETDOWN) {
		return fmt.Errorf("receive: %w", err)
	}
	if r.end == nil && r.gone() {
		r.end = device.ErrGone
	}
	if r.end != nil || r.socket.stopped.Load() {
		return nil
	}
	r.wasDown = true
	return device.ErrDown
}

// gone reports whether the interface was removed, in which case the kernel unbinds the socket.
func (r *reader) gone() bool {
	d := r.socket
	sa, err := unix.Getsockname(d.fd)
	ll, ok := sa.(*unix.SockaddrLinklayer)
	return err == nil && ok && d.index != 0 && ll.Ifindex != d.index
}

// foundDown reports once that the interface was down when the socket was adopted: the kernel has
// told that to the process before, or will not tell it once more.
func (r *reader) foundDown() bool {
	d := r.socket
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.down {
		return false
	}
	d.down = false
	_, _ = unix.GetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return true
}

// Interrupt makes a waiting Next return.
func (r *reader) Interrupt() {
	r.interrupted.Store(true)
	r.wakeUp()
}

// Close unmaps the memory.
func (r *reader) Close() error {
	r.socket.detach() // from now on the socket does not wake the reader or count its blocks
	var err error
	if r.ring != nil {
		err = unix.Munmap(r.ring.mem)
	}
	return errors.Join(err, r.waiter.close())
}
