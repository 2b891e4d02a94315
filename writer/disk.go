package writer

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"capd/ledger"
	"capd/store"
)

// writers is how many writes of one recorder run at the same time. With fewer, the latency of
// O_DIRECT writes limits the throughput.
const writers = 3

// An operation writes bytes of a chunk to its file.
type operation struct {
	file  *file
	chunk *chunk
	also  []*chunk        // blocks that are lent, behind a block that is lent, to be written with it
	index int             // of the chunk in its file
	from  int             // bytes of the chunk before this offset are already on disk
	to    int             // end of the bytes to write, of the last of the chunks
	whole bool            // no further write of this chunk follows: it goes back to the pool
	last  bool            // the file ends with it
	mark  mark            // the last end of a record at or before to
	batch *sync.WaitGroup // see flushes

	checkpoint *ledger.Checkpoint // what the file holds before the mark; nil: no checkpoint is due
}

// A disk writes chunks to files in the background, so that the recorder never waits for the disk.
// Several goroutines write; one completes files in their order.
type disk struct {
	dir      string
	mode     fs.FileMode
	pool     *pool
	journal  *Journal
	reserve  int64       // bytes to preallocate at a time; 0: none
	noDirect atomic.Bool // not wanted, or refused: from then on no write is tried that way
	log      *slog.Logger
	here     func() error // see Options
	sequence *atomic.Uint64
	finished func(File)
	note     func(ledger.Entry)

	work
	results
	hashings *hashings
	shared   sharedSync // used by finish alone
}

// work is what the disk's goroutines have to do, and the goroutines themselves.
type work struct {
	queue   chan operation
	ending  chan *file
	syncing chan syncing
	lent    sync.WaitGroup // blocks of the ring in the queue: see Writer.Lend
	flushes flushes
	writing sync.WaitGroup
	done    chan struct{} // closed when the goroutine that completes files has ended
	epoch   time.Time
	calls   [writers + 2]call // of the writing goroutines, of the one that completes files and of the one that syncs
}

// results are the outcomes of the disk's work.
type results struct {
	failed  atomic.Pointer[file] // the newest file that could not be created or written; nil if none failed
	wrote   atomic.Uint64        // number of the newest file of which something is on disk
	packets atomic.Uint64        // on disk
	lost    atomic.Uint64        // encoded, but not on disk when their file was completed
	size    atomic.Int64         // bytes on disk, of finished files
	files   atomic.Uint64        // finished
	errors  atomic.Uint64        // files that failed
	digests atomic.Uint64        // of finished files, made while they were recorded
	unmade  atomic.Uint64        // finished files whose digests were not made, though they were begun
	writes  stopwatch            // of calls that write
	syncs   stopwatch            // of calls that sync a file or the directory
}

func (d *disk) start() {
	// The queue has room for each chunk's last write and one flush, and for what is lent, so submit never blocks.
	d.queue = make(chan operation, 2*d.pool.count+mostLoans)
	d.ending = make(chan *file, 256)
	d.syncing = make(chan syncing, 1)
	d.flushes.batch = new(sync.WaitGroup)
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
	d.writing.Go(d.keepSyncing)
	go d.finish()
}

// submit queues an operation. It never blocks.
func (d *disk) submit(op operation) {
	op.file.pending.Add(1)
	op.batch = d.flushes.batch
	op.batch.Add(1)
	if !op.whole {
		op.chunk.busy.Add(1)
		op.chunk.flush.Store(true)
	}
	d.queue <- op
}

func (d *disk) do(op operation) {
	defer op.batch.Done()
	defer op.file.pending.Done()
	if op.whole {
		// Wait for a flush of the same page: a buffered write beside a direct one could restore the
		// page's old content.
		op.chunk.busy.Wait()
		for _, c := range append([]*chunk{op.chunk}, op.also...) {
			defer op.hash(d, c).leave(d, c)
		}
	} else {
		defer op.chunk.busy.Done()
		defer op.chunk.flush.Store(false)
	}
	if op.file.failed.Load() {
		return
	}
	if err := op.file.create(d); err != nil {
		d.fail(op.file, fmt.Errorf("create: %w", store.ExplainFull(d.dir, err)))
		return
	}
	if err := d.writes.time(func() error { return d.write(op) }); err != nil {
		d.fail(op.file, fmt.Errorf("write: %w", err))
		return
	}
	d.packets.Add(op.file.complete(op))
	for n := d.wrote.Load(); n < op.file.number && !d.wrote.CompareAndSwap(n, op.file.number); n = d.wrote.Load() {
	}
	if c := op.file.reachedCheckpoint(); c != nil {
		d.note(c.Entry())
	}
}

// release gives a chunk back, of which nothing is needed any more.
func (d *disk) release(c *chunk) {
	if c.loan != nil {
		c.loan.giveBack()
		d.lent.Done()
		return
	}
	d.journal.free(c)
	d.pool.put(c)
}

// fail stores the first error of a file, and makes it visible to the recorder.
func (d *disk) fail(f *file, err error) {
	f.fail(err)
	for last := d.failed.Load(); last == nil || last.number < f.number; last = d.failed.Load() {
		if d.failed.CompareAndSwap(last, f) {
			return
		}
	}
}

// write puts the operation's bytes into the file: whole pages past the page cache where possible,
// the rest through it.
func (d *disk) write(op operation) error {
	f, c := op.file, op.chunk
	switch {
	case f.sealing != nil:
		return op.writeSealed(d)
	case len(op.also) > 0:
		return op.writeTogether(d)
	}
	from := op.from
	if f.direct != nil && op.whole && !d.noDirect.Load() {
		first, last := from&^(align-1), op.to&^(align-1)
		if last > first {
			done, err := op.writeDirect(d, c.buf[first:last], c.off+int64(first))
			if err != nil {
				return err
			}
			if done {
				from = max(from, last)
			}
		}
	}
	if from == op.to {
		return nil
	}
	only := op.whole && c.off == 0 && op.to != d.pool.size // the file has ended, and nothing else of it is written
	h, err := f.buffered(only && f.direct != nil)
	if err != nil {
		return err
	}
	if _, err := h.WriteAt(c.buf[from:op.to], c.off+int64(from)); err != nil {
		return err
	}
	if d.noDirect.Load() && op.to >= d.pool.size {
		return writeBehind(h, c.off, int64(d.pool.size))
	}
	return nil
}

// writeDirect writes whole pages past the page cache. It returns false if the file system refuses that.
func (op operation) writeDirect(d *disk, b []byte, off int64) (done bool, err error) {
	f := op.file
	f.reserve(d, off+int64(len(b)))
	switch _, err := f.direct.WriteAt(b, off); {
	case err == nil:
		return true, nil
	case !store.RefusesDirect(err):
		return false, err
	case d.noDirect.CompareAndSwap(false, true):
		d.log.Warn("the file system opens files for direct writes and refuses these: writing through the page cache", "error", err)
	}
	return false, nil
}

// writeTogether does what write does for several blocks that follow each other.
func (op operation) writeTogether(d *disk) error {
	f, all := op.file, append([]*chunk{op.chunk}, op.also...)
	if f.direct != nil && !d.noDirect.Load() {
		last := all[len(all)-1]
		f.reserve(d, last.off+int64(last.fill))
		bufs := make([][]byte, len(all))
		for i, c := range all {
			bufs[i] = c.buf[:c.fill]
		}
		err := store.WriteVector(f.direct, bufs, op.chunk.off)
		if err == nil || !store.RefusesDirect(err) {
			return err
		}
	}
	for _, c := range all {
		if err := d.write(operation{file: f, chunk: c, to: c.fill, whole: true}); err != nil {
			return err
		}
	}
	return nil
}

// commitEvery is the shortest time between two commits of ended files. The sync of a file and of
// the directory cost more than everything else about a small file; where files end often, many
// share one commit.
const commitEvery = 100 * time.Millisecond

// finish completes files in their order, those of one commit together.
func (d *disk) finish() {
	defer close(d.done)
	var last time.Time
	for f := range d.ending {
		group := d.gather(f, commitEvery-time.Since(last))
		d.commit(group)
		last = time.Now()
	}
}

// gather returns the files to complete together: those that arrive before the pause is over, or all
// that are queued when the queue is closed.
func (d *disk) gather(f *file, pause time.Duration) []*file {
	group := []*file{f}
	over := time.NewTimer(max(0, pause))
	defer over.Stop()
	for len(group) < cap(d.ending) {
		select {
		case f, more := <-d.ending:
			if !more {
				return group
			}
			group = append(group, f)
		case <-over.C:
			return group
		}
	}
	return group
}

// commit completes a group of files. They share one sync of the directory, and one of their bytes
// where that is possible.
func (d *disk) commit(group []*file) {
	call := &d.calls[writers]
	for _, f := range group {
		d.begin(call)
		if err := f.ensure(d); err != nil {
			d.fail(f, err)
		}
		f.settle()
	}
	d.shared.syncGroup(d, group, call)
	for _, f := range group {
		d.begin(call)
		f.release(d.here)
	}
	d.begin(call)
	err := d.syncs.time(func() error { return store.SyncDirectory(d.dir) })
	for _, f := range group {
		if f.report.Err == nil && err != nil {
			f.report.Err = fmt.Errorf("sync directory: %w", err)
		}
		d.count(f)
		if d.finished != nil {
			d.finished(f.report)
		}
		f.record.phase.CompareAndSwap(fileFailed, fileLost)
		f.record.forgetKey()
	}
	d.end(call)
}

func (d *disk) count(f *file) {
	r := &f.report
	d.lost.Add(f.encoded.packets - f.good.packets)
	d.size.Add(r.Size)
	if r.Err != nil {
		r.Digest = nil
		d.errors.Add(1)
		return
	}
	d.files.Add(1)
	switch {
	case r.Digest != nil:
		d.digests.Add(1)
	case f.digest != nil:
		d.unmade.Add(1)
	}
}

// close waits until all submitted work is done.
func (d *disk) close() {
	close(d.queue)
	close(d.ending)
	close(d.syncing)
	d.writing.Wait()
	<-d.done
	d.hashings.running.Wait()
}

// writeBehind starts writing the n bytes at off to the disk, and drops the n bytes before them from
// the page cache. capd does not read them again; if they stayed, the cache would fill, evict the
// pages of other programs, and stall all writers once it overflows.
func writeBehind(f *os.File, off, n int64) error {
	if err := store.StartWrite(f, off, n); err != nil || off < n {
		return err
	}
	return store.WriteThrough(f, off-n, n)
}
