package writer

import (
	"cmp"
	"log/slog"
	"os"
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
	number  int    // of the chunk in its pool
	buf     []byte // page aligned; size bytes, plus slack for a record that crosses the end
	off     int64  // file offset of buf[0]
	fill    int    // bytes in use
	flushed int    // of these, submitted to the disk by a flush; always at a record's end
	busy    sync.WaitGroup
	flush   atomic.Bool // a flush is queued or being written: a second one must not overtake it
	loan    *loan       // it is no chunk of the pool, but memory that is lent; else nil
}

// A pool is a fixed number of chunks in one region. A chunk has memory from shortly before its first
// use until it was idle for minutes. The chunk that was returned last is reused first, because its
// memory is still in the processor's caches, and because those that were idle for longest then lie
// together.
type pool struct {
	region *region
	dimensions
	log  *slog.Logger
	cold []*chunk // without memory, the last is the next to get some; used by tend alone

	free  chan struct{} // holds one element for each idle chunk with memory
	short chan struct{} // holds an element if tend is asked for more of them
	stop  chan struct{} // closed by close
	tends sync.WaitGroup

	mu   sync.Mutex
	idle []*chunk // with memory, the last is the next to be used
	warm int      // number of chunks with memory, in use or not
	demand
}

// demand says how many chunks were asked for.
type demand struct {
	high   int  // largest number of chunks that were in use at the same time
	peak   int  // the same since the last giveBack
	wanted bool // a chunk was asked for since the last giveBack
}

// dimensions are those of a pool.
type dimensions struct {
	size   int          // bytes of a chunk that are written to the disk at once
	used   atomic.Int64 // of these, what a file can fill: only they get memory ahead
	stride int          // bytes from the begin of one chunk to that of the next
	count  int
}

// need returns how many of count chunks should have memory if used of them are in use: twice as many
// and a few from the start. The first write to a page costs as much as copying a few frames into it, and many times
// that where the host of a virtual machine has to find memory too. If it were not done ahead, it
// would be done exactly when the recorder is short of time.
func need(used, count, atStart int) int { return min(atStart+2*used, count) }

// mostAtStart is the most memory in bytes that a pool begins with. It begins with a quarter of its chunks, for what
// comes while the first write is slow. A pool of fewer than four begins with none, and the first frame waits in the ring
// for a millisecond or so: hundreds of interfaces have such pools, and most of them are idle.
const mostAtStart = 16 << 20

// need returns how many chunks should have memory if used of them are in use. The caller holds mu.
func (p *pool) need(used int) int {
	atStart := min(p.count*p.size/4, mostAtStart) / p.size
	if p.wanted {
		atStart = max(1, atStart)
	}
	return need(used, p.count, atStart)
}

const (
	idleFor    = 2 * time.Minute // chunks that were not needed for so long lose their memory
	retryAfter = time.Second     // when the system had no memory for a chunk
)

// newPool reserves address space for count chunks of size bytes, each with slack: in the memory, if
// there is one from an earlier process. The chunks get none before begin.
func newPool(count, size, slack int, memory *os.File, log *slog.Logger) (*pool, error) {
	p := &pool{
		dimensions: dimensions{size: size, stride: roundUp(size+slack, hugePage), count: count}, log: log,
		free: make(chan struct{}, count), short: make(chan struct{}, 1), stop: make(chan struct{}),
		idle: make([]*chunk, 0, count),
	}
	p.serve(0)
	var err error
	if p.region, err = mapMemory(count*p.stride, memory); err != nil {
		return nil, err
	}
	for number := range count {
		begin := number * p.stride
		end := begin + roundUp(size+slack, align)
		p.cold = append(p.cold, &chunk{number: number, buf: p.region.mem[begin:end:end]})
	}
	slices.Reverse(p.cold)
	return p, nil
}

// claim takes the chunk of that number into use, with what an earlier process has left in it. It may
// be called before begin only.
func (p *pool) claim(number int) *chunk {
	i := slices.IndexFunc(p.cold, func(c *chunk) bool { return c.number == number })
	c := p.cold[i]
	p.cold = slices.Delete(p.cold, i, i+1)
	p.warm++
	p.high = max(p.high, p.warm)
	p.wanted = true
	return c
}

// serve says how large files become; 0: without a limit. If they become larger than before, the
// chunks that have memory get the rest when it is first written to.
func (p *pool) serve(largest int64) {
	used := p.size
	if largest > 0 && largest < int64(p.size) {
		used = min(roundUp(int(largest), hugePage), p.size)
	}
	p.used.Store(int64(used))
}

// begin gives memory to chunks from now on.
func (p *pool) begin() { p.tends.Go(p.tend) }

// fd returns the descriptor of the file in memory in which chunk n begins at n times stride, or -1 if
// there is none. It is closed with the pool.
func (p *pool) fd() int { return p.region.fd }

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
	used := p.warm - last
	p.high, p.peak = max(p.high, used), max(p.peak, used)
	p.wanted = true
	if p.warm < p.need(used) {
		p.wake()
	}
	return c
}

// grow asks for chunks with memory, and does not wait for them.
func (p *pool) grow() {
	p.mu.Lock()
	p.wanted = true
	p.mu.Unlock()
	p.wake()
}

func (p *pool) wake() {
	select {
	case p.short <- struct{}{}:
	default:
	}
}

// usage returns how many chunks are in use, and how many were at most.
func (p *pool) usage() (used, high int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.warm - len(p.idle), p.high
}

// close unmaps the memory. No chunk may be in use.
func (p *pool) close() {
	close(p.stop)
	p.tends.Wait()
	p.region.close()
}

// starting holds an element while a pool gets its first memory. With hundreds of pools at once the
// machine would do little else, and the opening of interfaces would wait for it.
var starting = make(chan struct{}, 1)

// tend gives memory to chunks before they are needed, and takes it from those that are not needed.
func (p *pool) tend() {
	select {
	case starting <- struct{}{}:
		_ = p.touch() // if it fails, it is tried again below
		<-starting
	case <-p.short: // a recorder does not wait for its turn
	case <-p.stop:
		return
	}
	look := time.NewTicker(idleFor)
	defer look.Stop()
	failed := false
	for {
		var again <-chan time.Time
		err := p.touch()
		if err != nil {
			again = time.After(retryAfter)
			if !failed {
				p.log.Warn("no memory for frames on their way to the disk: trying again", "error", err)
			}
		}
		failed = err != nil
		select {
		case <-p.short:
		case <-again:
		case <-look.C:
			p.giveBack()
		case <-p.stop:
			return
		}
	}
}

// Replaced in tests.
var (
	mapMemory   = mapRegion
	touchMemory = (*region).touch
)

// touch gives memory to as many chunks as should have some now.
func (p *pool) touch() error {
	for p.lacks() {
		select {
		case <-p.stop:
			return nil
		default:
		}
		last := len(p.cold) - 1
		c := p.cold[last]
		if err := touchMemory(p.region, c.number*p.stride, int(p.used.Load())); err != nil {
			return err
		}
		p.cold = p.cold[:last]
		p.mu.Lock()
		p.idle = slices.Insert(p.idle, 0, c)
		p.warm++
		p.mu.Unlock()
		p.free <- struct{}{}
	}
	return nil
}

func (p *pool) lacks() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.warm < p.need(p.warm-len(p.idle))
}

// giveBack takes the memory from the chunks that were not needed since the last call.
func (p *pool) giveBack() {
	p.mu.Lock()
	if p.peak == 0 && len(p.idle) > 0 { // with none idle, a recorder may wait for one
		p.wanted = false
	}
	surplus := p.warm - p.need(p.peak)
	p.peak = p.warm - len(p.idle)
	p.mu.Unlock()
	for range surplus {
		c := p.longestIdle()
		if c == nil {
			break
		}
		_ = p.region.release(c.number*p.stride, p.stride) // if it fails, the chunk keeps its memory
		p.cold = append(p.cold, c)
	}
	slices.SortFunc(p.cold, func(a, b *chunk) int { return cmp.Compare(b.number, a.number) })
}

// longestIdle takes the chunk that was idle for longest out of those with memory; nil if none is idle.
func (p *pool) longestIdle() *chunk {
	select {
	case <-p.free:
	default:
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.idle[0]
	p.idle = slices.Delete(p.idle, 0, 1)
	p.warm--
	return c
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }
