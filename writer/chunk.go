package writer

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// align is the alignment in bytes that O_DIRECT requires of addresses, lengths and offsets: the
// largest logical block size in use.
const align = 4096

// A chunk is memory in which records of one file wait for the disk. The recorder appends to it
// while the disk's goroutines write the bytes before the append position, so the two never touch
// the same bytes.
type chunk struct {
	buf     []byte // page aligned; size bytes, plus slack for a record that crosses the end
	off     int64  // file offset of buf[0]
	fill    int    // bytes in use
	flushed int    // of these, submitted to the disk by a flush; always at a record's end
	busy    sync.WaitGroup
	flush   atomic.Bool // a flush is queued or being written: a second one must not overtake it
}

// A pool is a fixed number of chunks. The chunk that was returned last is reused first, because its
// memory is still in the processor's caches.
type pool struct {
	free  chan struct{} // holds one element for each idle chunk
	mu    sync.Mutex
	idle  []*chunk
	size  int // bytes of a chunk that are written to the disk at once
	count int
	high  int // largest number of chunks that were in use at the same time
	mem   [][]byte
	stop  chan struct{}  // closed by close: prefault must not touch the memory any more
	touch sync.WaitGroup // waits for prefault
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
	// Chunks are reused from the end of the list, so prefault starts there too.
	bufs := make([][]byte, 0, count)
	for _, c := range slices.Backward(p.idle) {
		bufs = append(bufs, c.buf[:size])
	}
	p.touch.Go(func() { p.prefault(bufs) })
	return p, nil
}

// prefault touches touchStep bytes at a time, and starts touchDelay after the pool was made: where
// interfaces come and go, many pools are closed before that.
const (
	touchStep  = 2 << 20
	touchDelay = time.Second
)

// touching is true while a pool prefaults: one after the other does. With
// hundreds at once the machine would do little else, and the opening of
// interfaces would wait for it.
var touching atomic.Bool

var touch = populate // but for tests

// prefault has the system allocate the pages of the chunks before they are needed. The first write
// to a page costs as much as copying a few frames into it, and many times that where the host of a
// virtual machine has to find memory too. Without prefault, that cost arises exactly when the
// recorder is short of time. It uses a tenth of one processor, so that other recorders are not
// disturbed.
func (p *pool) prefault(bufs [][]byte) {
	pause := time.NewTimer(touchDelay)
	defer pause.Stop()
	for !touching.CompareAndSwap(false, true) {
		select {
		case <-p.stop:
			return
		case <-pause.C:
			pause.Reset(touchDelay)
		}
	}
	defer touching.Store(false)
	for _, buf := range bufs {
		for part := range slices.Chunk(buf, touchStep) {
			select {
			case <-p.stop:
				return
			case <-pause.C:
			}
			begin := time.Now()
			if touch(part) != nil {
				return // leave the rest to the first write
			}
			pause.Reset(9 * time.Since(begin))
		}
	}
}

// put returns a chunk that is no longer in use.
func (p *pool) put(c *chunk) {
	c.off, c.fill, c.flushed = 0, 0, 0
	p.mu.Lock()
	p.idle = append(p.idle, c)
	p.mu.Unlock()
	p.free <- struct{}{}
}

// take returns an idle chunk. The caller must have received from free before.
func (p *pool) take() *chunk {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	c := p.idle[last]
	p.idle = p.idle[:last]
	p.high = max(p.high, p.count-last)
	return c
}

// maxInUse returns the largest number of chunks that were in use at the same time.
func (p *pool) maxInUse() int {
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
