package writer

import (
	"sync"
	"sync/atomic"
)

// flushes are requests to be told when all that was recorded so far is written.
type flushes struct {
	asked   []func()        // of who waits; used by the recorder's goroutine alone
	batch   *sync.WaitGroup // of the operations that were submitted since the last flush that somebody waited for
	running atomic.Bool     // an earlier batch is not written yet
}

// Flush writes what is recorded to the disk's files, without a sync, and calls the function when all of it is there, or when
// its file has failed. Readers find it there then. If the disk hangs the function is not called before it goes on.
func (w *Writer) Flush(done func()) {
	w.disk.flushes.asked = append(w.disk.flushes.asked, done)
	w.flushAsked()
}

// flushAsked begins the flush that somebody waits for, unless an earlier one is not over: then a later Tick does.
func (w *Writer) flushAsked() {
	f := &w.disk.flushes
	if len(f.asked) == 0 || f.running.Load() {
		return
	}
	if to, _ := w.flushable(); w.file != nil && to != w.chunk.flushed {
		if w.chunk.flush.Load() {
			return
		}
		w.flush()
	}
	w.submitLent()
	batch, asked := f.batch, f.asked
	f.batch, f.asked = new(sync.WaitGroup), nil
	f.running.Store(true)
	go func() { // ends with the operations, which the disk's goroutines carry out
		batch.Wait()
		f.running.Store(false)
		for _, done := range asked {
			done()
		}
	}()
}
