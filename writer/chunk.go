package writer

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// align is what O_DIRECT wants of addresses, lengths and offsets, in bytes:
// the largest logical block size in use.
const align = 4096

// A chunk is the memory in which records of one file wait for the disk. The
// recorder appends to it while the disk's goroutines write what is before: the
// two touch different bytes.
type chunk struct {
	buf     []byte // page aligned; size bytes, and slack for a record that crosses the end
	off     int64  // where buf[0] goes in the file
	fill    int    // bytes in use
	flushed int    // of these, handed to the disk at a flush; always at a record's end
	busy    sync.WaitGroup
	flush   atomic.Bool // a flush is in the disk's hands: no second one may overtake it
}

// A pool is a fixed number of chunks. The one that came back last is taken
// first: its memory is still in the processor's caches.
type pool struct {
	free  chan struct{} // as many as there are idle chunks
	mu    sync.Mutex
	idle  []*chunk
	size  int // bytes of a chunk that go to the disk at once
	count int
	high  int // most chunks that were in use at a time
	mem   [][]byte
	stop  chan struct{}  // closed: no memory is to be touched any more
	touch sync.WaitGroup // who does
}

// newPool maps count chunks of size bytes, each with slack.
func newPool(count, size, slack int) (*pool, error) {
	p := &pool{free: make(chan struct{}, count), size: size, count: count, stop: make(chan struct{})}
	for range count {
		mem, buf, err := mapHuge(roundUp(size+slack, align))
		if err != nil {
			p.close()
			return nil, err
		}
		p.mem = append(p.mem, mem)
		p.put(&chunk{buf: buf})
	}
	// In the order in which they are taken.
	bufs := make([][]byte, 0, count)
	for _, c := range slices.Backward(p.idle) {
		bufs = append(bufs, c.buf[:size])
	}
	p.touch.Go(func() { p.touchAll(bufs) })
	return p, nil
}

// How many bytes are touched at a time, and how long after the pool was made
// that begins: many are closed before, where interfaces come and go.
const (
	touchStep  = 2 << 20
	touchDelay = time.Second
)

// touchAll has the system give memory before it is needed. The first write to a
// page costs as much as copying a few frames into it, and many times that where
// the host of a virtual machine has to find memory too; and chunks are needed
// just when the recorder is short of time. It takes a tenth of a processor, as
// others may record meanwhile.
func (p *pool) touchAll(bufs [][]byte) {
	pause := time.NewTimer(touchDelay)
	defer pause.Stop()
	for _, buf := range bufs {
		for part := range slices.Chunk(buf, touchStep) {
			select {
			case <-p.stop:
				return
			case <-pause.C:
			}
			begin := time.Now()
			if populate(part) != nil {
				return // the first write will do
			}
			pause.Reset(9 * time.Since(begin))
		}
	}
}

// put returns a chunk that nobody reads any more.
func (p *pool) put(c *chunk) {
	c.off, c.fill, c.flushed = 0, 0, 0
	p.mu.Lock()
	p.idle = append(p.idle, c)
	p.mu.Unlock()
	p.free <- struct{}{}
}

// take returns an idle chunk, to who has received from free.
func (p *pool) take() *chunk {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	c := p.idle[last]
	p.idle = p.idle[:last]
	p.high = max(p.high, p.count-last)
	return c
}

// most returns how many chunks were in use at a time.
func (p *pool) most() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.high
}

// close unmaps the memory. No chunk may be in use.
func (p *pool) close() {
	close(p.stop)
	p.touch.Wait()
	for _, mem := range p.mem {
		_ = unmapMemory(mem)
	}
	p.mem = nil
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }
