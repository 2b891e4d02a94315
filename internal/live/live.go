// Package live makes the rows of flow tables while files are recorded, from what the recorder has in a processor's caches.
//
// The recorder only copies the begins of packets into buffers (flow.Headers). A goroutine for each lane, which runs while there
// are some, makes rows of them. Nothing here waits for anything: what finds no room or no memory gives up the file's rows, and its
// table is made from the disk later, as that of a file of an earlier process is.
package live

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"capd/flow"
	"capd/pcap"
	"capd/writer"
)

// Sizes of the buffers of a lane. They begin small, because hundreds of interfaces may have few packets each. A large one is passed
// on so seldom that waking the goroutine costs next to nothing for a packet; of several thousand small packets it has all
// headers.
const (
	firstBuffer = 16 << 10
	fullBuffer  = 256 << 10
	mostBuffers = 64 // of a lane, on their way
	mostSpare   = 16 // that a lane keeps: new ones cost the recorder time
)

// afterLate is how long a lane makes no rows after its recorder was behind with its work.
const afterLate = time.Minute

// A Memory is what lanes may use together, for packets on their way, for flows and for rows.
type Memory struct{ free atomic.Int64 }

// NewMemory returns so many bytes.
func NewMemory(bytes int64) *Memory {
	m := new(Memory)
	m.free.Store(bytes)
	return m
}

// take takes bytes, or gives them back if there are fewer than none. It returns false if there are not so many.
func (m *Memory) take(bytes int) bool {
	if m.free.Add(-int64(bytes)) >= 0 || bytes <= 0 {
		return true
	}
	m.free.Add(int64(bytes))
	return false
}

// A Lane makes the rows of the files of one recorder.
type Lane struct {
	memory *Memory

	// Of the recorder's goroutine.
	pause time.Time // no rows before
	size  int       // of new buffers

	mu    sync.Mutex // guards what follows; held for moments only
	queue []part     // at most mostBuffers, and the ends of files without one
	works bool       // a goroutine takes what is in the queue
	spare []*flow.Headers
	used  int // buffers in use
}

// A part is packets of a file.
type part struct {
	file    *File
	headers *flow.Headers // nil: none
	end     bool          // no more follow
}

// NewLane returns a lane. It needs no memory before its first packet, and no end.
func NewLane(memory *Memory) *Lane { return &Lane{memory: memory, size: firstBuffer} }

// Observe returns an observer of a file that is recorded now, as writer.Options have it; nil if its rows are not to be made.
func (l *Lane) Observe(h pcap.Header, begin []byte) writer.Observer {
	if time.Now().Before(l.pause) {
		return nil
	}
	return &File{
		lane: l, name: h.Interface, header: begin, done: make(chan struct{}),
		shape: flow.Shape{Format: h.Format, Micro: h.Micro, Ethernet: h.LinkType == pcap.LinkTypeEthernet},
	}
}

// A File is the rows of one file. It is the file's writer.Observer.
type File struct {
	lane    *Lane
	shape   flow.Shape
	name    string // of interfaces that have none in the file
	header  []byte
	filling *flow.Headers
	size    int64
	lost    atomic.Bool // its rows are not made, or not all, or no longer needed

	done      chan struct{} // closed by work, which alone uses what follows until then
	builder   *flow.Builder
	described *flow.Described
	rows      flow.Rows
	taken     int // bytes of Memory, for the builder and the rows
	released  atomic.Bool
}

// Records takes the headers of records.
func (f *File) Records(offset int64, b []byte) {
	for len(b) > 0 && !f.lost.Load() {
		if f.filling == nil {
			if f.filling = f.lane.buffer(); f.filling == nil {
				f.lost.Store(true)
				break
			}
		}
		n := f.filling.Take(f.shape, offset, b)
		offset, b = offset+int64(n), b[n:]
		switch {
		case len(b) == 0:
		case f.filling.Size() < fullBuffer && f.lane.memory.take(fullBuffer-f.filling.Size()):
			f.filling.Grow(fullBuffer)
			f.lane.size = fullBuffer
		default:
			if f.filling.Empty() { // the record finds no room in any
				f.lost.Store(true)
			}
			f.pass(false)
		}
	}
	if f.filling != nil && f.lost.Load() {
		f.pass(false) // frees what there is
	}
}

// End ends the file.
func (f *File) End(size int64) {
	f.size = size
	f.pass(true)
}

// Late gives up the file, and those of the next time.
func (f *File) Late() {
	f.lane.pause = time.Now().Add(afterLate)
	f.Drop()
	f.pass(true)
}

// pass passes on what there is of the file.
func (f *File) pass(end bool) {
	l := f.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, part{f, f.filling, end})
	f.filling = nil
	if !l.works {
		l.works = true
		go l.work()
	}
}

// buffer returns an empty buffer, the one that was used last, since it is still in caches; nil if there is none.
func (l *Lane) buffer() *flow.Headers {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used == mostBuffers {
		return nil
	}
	var h *flow.Headers
	if last := len(l.spare) - 1; last >= 0 && l.memory.take(l.spare[last].Size()) {
		h, l.spare = l.spare[last], l.spare[:last]
	} else if l.memory.take(l.size) {
		h = flow.NewHeaders(l.size)
	} else {
		return nil
	}
	l.used++
	return h
}

// next gives back a buffer, and returns the next part; false: there is none, and the goroutine ends.
func (l *Lane) next(empty *flow.Headers) (p part, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if empty != nil {
		empty.Reset()
		l.memory.take(-empty.Size())
		l.used--
		if len(l.spare) < mostSpare {
			l.spare = append(l.spare, empty)
		}
	}
	if len(l.queue) == 0 {
		l.works, l.queue = false, nil
		return p, false
	}
	p = l.queue[0]
	l.queue = l.queue[1:]
	return p, true
}

// work makes rows until there is nothing to do.
func (l *Lane) work() {
	for p, ok := l.next(nil); ok; p, ok = l.next(p.headers) {
		p.file.guarded(func() { p.file.add(p.headers) })
		if p.end {
			p.file.guarded(p.file.finish)
			p.file.end()
		}
		runtime.Gosched() // recorders that wait for a processor go first
	}
}

// guarded calls a function that parses packets. If there were a mistake in it, a packet must not end the recording: only the rows are
// given up.
func (f *File) guarded(do func()) {
	defer func() {
		if recover() != nil {
			f.lost.Store(true)
		}
	}()
	do()
}

// add makes rows of packets; nil are none.
func (f *File) add(h *flow.Headers) {
	if f.lost.Load() {
		f.builder, f.rows = nil, flow.Rows{}
		f.account(0)
		return
	}
	if f.builder == nil {
		f.described = flow.NewDescribed(f.header, f.name)
		f.builder = flow.NewBuilder(func(r *flow.Row) error { f.rows.Add(r); return nil })
		f.builder.Describe(0)
	}
	if h != nil && h.AddTo(f.builder, f.described) != nil || !f.account(f.rows.Size(f.builder)) {
		f.lost.Store(true)
	}
}

// finish makes the last rows.
func (f *File) finish() {
	if !f.lost.Load() && (f.rows.Finish(f.builder, f.size) != nil || !f.account(f.rows.Size(nil))) {
		f.lost.Store(true)
	}
}

func (f *File) end() {
	f.builder, f.described = nil, nil
	close(f.done)
	if f.lost.Load() {
		f.release()
	}
}

// account takes or gives back memory, so that the file has so many bytes.
func (f *File) account(bytes int) bool {
	if !f.lane.memory.take(bytes - f.taken) {
		return false
	}
	f.taken = bytes
	return true
}

// release frees the rows, which are done and lost.
func (f *File) release() {
	if !f.released.Swap(true) {
		f.rows = flow.Rows{}
		f.account(0)
	}
}

// Rows returns all rows of the file, which has ended; nil if they were given up. They are valid until Drop.
func (f *File) Rows(ctx context.Context) *flow.Rows {
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil
	}
	if f.lost.Load() {
		return nil
	}
	return &f.rows
}

// Drop gives up the rows, or frees their memory.
func (f *File) Drop() {
	f.lost.Store(true)
	select {
	case <-f.done:
		f.release()
	default: // what ends the file does it
	}
}
