package nflog

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"capd/capture/device"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

// Memory of a reader.
const (
	buffers  = 8
	memory   = 1 << 20   // bytes of a buffer
	datagram = 384 << 10 // bytes of the longest datagram: several packets, or one of the largest snaplen
)

// A reader reads a socket.
type reader struct {
	socket *socket
	wake   int // eventfd that ends a wait
	pool   []*buffer

	interrupted atomic.Bool
	polled      [2]unix.PollFd // a field, so that a wait does not allocate
}

// A buffer lends packets.
type buffer struct {
	mem    []byte
	frames []pcap.Packet
	rest   []pcap.Packet // frames that were not read yet
	batch  *device.Batch
	held   atomic.Bool
	reader *reader
}

// Next returns the next packets. It waits for them until the timeout.
func (r *reader) Next(timeout time.Duration) (*device.Batch, error) {
	deadline := time.Now().Add(timeout)
	for {
		if r.interrupted.Load() {
			return nil, device.ErrClosed
		}
		stopped := r.socket.stopped.Load() // before the last look
		b := r.free()
		if b != nil {
			if err := b.fill(); err != nil {
				return nil, err
			}
			if len(b.frames) > 0 {
				b.rest = b.frames
				b.held.Store(true)
				return b.batch, nil
			}
			if stopped {
				return nil, device.ErrClosed
			}
		}
		wait := timeout
		if timeout >= 0 {
			if wait = time.Until(deadline); wait <= 0 {
				return nil, nil
			}
		}
		if err := r.wait(wait, b != nil); err != nil {
			return nil, err
		}
	}
}

// wait waits for a packet, if there is memory for it, and for wakeUp. A negative limit means no limit.
func (r *reader) wait(limit time.Duration, packets bool) error {
	ms := -1
	if limit >= 0 {
		ms = int(min((limit+time.Millisecond-1)/time.Millisecond, 1<<30))
	}
	r.polled[0] = unix.PollFd{Fd: int32(r.wake), Events: unix.POLLIN}
	n := 1
	if packets {
		r.polled[1] = unix.PollFd{Fd: int32(r.socket.fd), Events: unix.POLLIN}
		n = 2
	}
	if _, err := unix.Poll(r.polled[:n], ms); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for packets: %w", err)
	}
	if r.polled[0].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(r.wake, b[:])
	}
	return nil
}

// free returns a buffer that is not held; nil if all are.
func (r *reader) free() *buffer {
	for _, b := range r.pool {
		if !b.held.Load() {
			return b
		}
	}
	if len(r.pool) == buffers {
		return nil
	}
	b := &buffer{mem: make([]byte, memory), reader: r}
	b.batch = device.NewBatch(b)
	r.pool = append(r.pool, b)
	return b
}

// fill reads the packets that the socket has, as far as there is room.
func (b *buffer) fill() error {
	b.frames = b.frames[:0]
	for used := 0; used+datagram <= len(b.mem); {
		n, _, err := unix.Recvfrom(b.reader.socket.fd, b.mem[used:], 0)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS): // the numbers of packets say how many were lost
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		}
		b.split(b.mem[used : used+n])
		used += n
	}
	return nil
}

// split makes packets of the messages of a datagram.
func (b *buffer) split(rest []byte) {
	s := b.reader.socket
	for len(rest) > 0 {
		var kind uint16
		var body []byte
		kind, body, rest = next(rest)
		if kind != typePacket {
			continue
		}
		m, ok := parse(body, s.config.Snaplen)
		if !ok {
			continue
		}
		if !m.HasTime() {
			now := time.Now()
			m.Sec, m.Nsec = uint32(now.Unix()), uint32(now.Nanosecond())
		}
		s.count(&m)
		b.frames = append(b.frames, m.Packet)
	}
}

// Read returns the next packets of the buffer.
func (b *buffer) Read(dst []pcap.Packet) int {
	n := copy(dst, b.rest)
	b.rest = b.rest[n:]
	return n
}

// Err returns nil: what makes no sense is no packet.
func (*buffer) Err() error { return nil }

// Block returns 0: there is no ring.
func (*buffer) Block() uint64 { return 0 }

// Len returns how many packets the buffer has.
func (b *buffer) Len() int { return len(b.frames) }

// Release gives the buffer back.
func (b *buffer) Release() {
	b.rest = nil
	b.held.Store(false)
	b.reader.wakeUp()
}

// Interrupt makes a waiting Next return.
func (r *reader) Interrupt() {
	r.interrupted.Store(true)
	r.wakeUp()
}

// wakeUp ends the present wait, or the next one.
func (r *reader) wakeUp() {
	var one [8]byte
	host.PutUint64(one[:], 1)
	_, _ = unix.Write(r.wake, one[:])
}

// Close releases the reader.
func (r *reader) Close() error {
	r.socket.detach()
	return unix.Close(r.wake)
}
