package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// writers is how many operations of one recorder the disk works on at once.
// With fewer, an O_DIRECT write's latency is not hidden.
const writers = 3

// An operation writes bytes of a chunk to its file.
type operation struct {
	file  *file
	chunk *chunk
	index int       // of the chunk in its file
	from  int       // bytes of the chunk before this are on disk
	to    int       // end of the bytes to write
	whole bool      // nothing comes after: the chunk goes back to the pool
	mark  mark      // the last record's end at or before to
	last  time.Time // of the packets before the mark, about
}

// A disk carries chunks to files in the background: the recorder hands over
// and goes on. A few goroutines write, one finishes files in their order.
type disk struct {
	dir      string
	mode     fs.FileMode
	pool     *pool
	reserve  int64 // bytes to preallocate at a time; 0: none
	noDirect atomic.Bool
	sequence *atomic.Uint64
	finished func(File)
	note     func(Entry)

	queue   chan operation
	ending  chan *file
	writing sync.WaitGroup
	done    chan struct{} // the finisher has ended
	epoch   time.Time
	calls   [writers + 1]call // of those that write, and of the finisher

	failed  atomic.Pointer[file] // the last begun of those that could not be created or written; nil without one
	wrote   atomic.Uint64        // number of the last begun file of which something is on disk
	packets atomic.Uint64        // on disk
	lost    atomic.Uint64        // encoded, but not on disk when their file ended
	size    atomic.Int64         // bytes on disk, of finished files
	files   atomic.Uint64        // finished
	errors  atomic.Uint64        // files that failed
}

func (d *disk) start() {
	// One slot for each chunk's last write and one for its flush: handing over
	// never waits.
	d.queue = make(chan operation, 2*d.pool.count)
	d.ending = make(chan *file, 256)
	d.done = make(chan struct{})
	d.epoch = time.Now()
	for i := range writers {
		d.writing.Go(func() {
			for op := range d.queue {
				d.begin(&d.calls[i])
				d.do(op)
				d.end(&d.calls[i])
			}
		})
	}
	go d.finish()
}

// submit hands an operation over.
func (d *disk) submit(op operation) {
	op.file.pending.Add(1)
	if !op.whole {
		op.chunk.busy.Add(1)
		op.chunk.flush.Store(true)
	}
	d.queue <- op
}

func (d *disk) do(op operation) {
	defer op.file.pending.Done()
	if op.whole {
		// A flush of the same page must be over: a buffered write beside a direct
		// one could put back what the page held before.
		op.chunk.busy.Wait()
		defer d.pool.put(op.chunk)
	} else {
		defer op.chunk.busy.Done()
		defer op.chunk.flush.Store(false)
	}
	if op.file.failed.Load() {
		return
	}
	if err := op.file.create(d); err != nil {
		d.fail(op.file, fmt.Errorf("create: %w", err))
		return
	}
	if err := d.write(op); err != nil {
		d.fail(op.file, fmt.Errorf("write: %w", err))
		return
	}
	d.packets.Add(op.file.complete(op))
	for n := d.wrote.Load(); n < op.file.number && !d.wrote.CompareAndSwap(n, op.file.number); n = d.wrote.Load() {
	}
	if e, due := op.file.checkpoint(op.last); due {
		d.note(e)
	}
}

// fail notes the first error of a file, for it and for the recorder.
func (d *disk) fail(f *file, err error) {
	f.fail(err)
	for last := d.failed.Load(); last == nil || last.number < f.number; last = d.failed.Load() {
		if d.failed.CompareAndSwap(last, f) {
			return
		}
	}
}

// write puts the operation's bytes into the file: whole pages past the buffer
// cache where that is possible, and the rest through it.
func (d *disk) write(op operation) error {
	f, c := op.file, op.chunk
	from := op.from
	if f.direct != nil && op.whole {
		first, last := from&^(align-1), op.to&^(align-1)
		if last > first {
			f.reserve(d, c.off+int64(last))
			_, err := f.direct.WriteAt(c.buf[first:last], c.off+int64(first))
			switch {
			case err == nil:
				from = max(from, last)
			case !errors.Is(err, syscall.EINVAL):
				return err
			}
		}
	}
	if from == op.to {
		return nil
	}
	h, err := f.buffered()
	if err != nil {
		return err
	}
	if _, err := h.WriteAt(c.buf[from:op.to], c.off+int64(from)); err != nil {
		return err
	}
	if f.direct == nil && op.to >= d.pool.size {
		return writeBehind(h, c.off, int64(d.pool.size))
	}
	return nil
}

// finish ends files in their order. All that wait are ended together: they
// share the directory's sync, and mostly the file system's journal commit.
func (d *disk) finish() {
	defer close(d.done)
	call := &d.calls[writers]
	for f := range d.ending {
		group := []*file{f}
		for len(d.ending) > 0 && len(group) < cap(d.ending) {
			group = append(group, <-d.ending)
		}
		for _, f := range group {
			d.begin(call)
			f.settle()
		}
		for _, f := range group {
			d.begin(call)
			f.release()
		}
		d.begin(call)
		err := syncDirectory(d.dir)
		for _, f := range group {
			if f.report.Err == nil && err != nil {
				f.report.Err = fmt.Errorf("sync directory: %w", err)
			}
			d.count(f)
			if d.finished != nil {
				d.finished(f.report)
			}
		}
		d.end(call)
	}
}

func (d *disk) count(f *file) {
	r := &f.report
	d.lost.Add(f.encoded.packets - f.good.packets)
	d.size.Add(r.Size)
	if r.Err != nil {
		d.errors.Add(1)
		return
	}
	d.files.Add(1)
}

// close ends all that was handed over and waits for it.
func (d *disk) close() {
	close(d.queue)
	close(d.ending)
	d.writing.Wait()
	<-d.done
}

func syncDirectory(dir string) error {
	h, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Sync()
}
