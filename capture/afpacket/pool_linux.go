package afpacket

import (
	"slices"
	"sync/atomic"

	"capd/capture/device"
	"capd/pcap"
)

// poolSize is the largest number of buffers of a socket without a ring. They are allocated when
// they are needed.
const poolSize = 8

// A pool lends buffers of received frames.
type pool struct {
	*receiver
	buffers  []*buffer
	released func() // called after each Release
}

// A buffer lends frames that were received one by one.
type buffer struct {
	mem      []byte
	frames   []pcap.Packet
	rest     []pcap.Packet // frames that were not read yet
	batch    *device.Batch
	held     atomic.Bool
	released func()
}

func newPool(r *receiver, released func()) *pool { return &pool{receiver: r, released: released} }

// next lends a buffer with the frames that the socket has received. It returns nil if there are
// none, or if all buffers are held.
func (p *pool) next() (*buffer, error) {
	b := p.free()
	if b == nil {
		return nil, nil
	}
	var err error
	if b.frames, err = p.receive(b.mem, b.frames[:0]); len(b.frames) == 0 {
		return nil, err
	}
	b.rest = b.frames
	b.held.Store(true)
	return b, nil
}

// free returns a buffer that is not held, usually the one used last.
func (p *pool) free() *buffer {
	for _, b := range p.buffers {
		if !b.held.Load() {
			return b
		}
	}
	if len(p.buffers) == poolSize {
		return nil
	}
	b := &buffer{mem: make([]byte, receiveBytes), frames: make([]pcap.Packet, 0, receiveFrames), released: p.released}
	b.batch = device.NewBatch(b)
	p.buffers = append(p.buffers, b)
	return b
}

// full reports whether all buffers are held.
func (p *pool) full() bool {
	return len(p.buffers) == poolSize && !slices.ContainsFunc(p.buffers, func(b *buffer) bool { return !b.held.Load() })
}

// Read returns the next packets of the buffer.
func (b *buffer) Read(dst []pcap.Packet) int {
	n := copy(dst, b.rest)
	b.rest = b.rest[n:]
	return n
}

// Block returns 0: frames that are received one by one are in no block.
func (*buffer) Block() uint64 { return 0 }

// Len returns the number of frames in the buffer.
func (b *buffer) Len() int { return len(b.frames) }

// Err returns nil: frames that are received one by one can't be malformed.
func (*buffer) Err() error { return nil }

// Release gives the buffer back to the pool.
func (b *buffer) Release() {
	b.rest = nil
	b.held.Store(false)
	b.released()
}
