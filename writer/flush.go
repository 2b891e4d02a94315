package writer

import (
	"sync"
	"sync/atomic"
)

// flushes are requests to be told when all that was recorded so far is written.
type flushes struct {
	asked   []func(Whole)   // of who waits; used by the recorder's goroutine alone
	batch   *sync.WaitGroup // of the operations that were submitted since the last flush that somebody waited for
	running atomic.Bool     // an earlier batch is not written yet
}

// A Whole says how much of a file that is being recorded is on the disk.
type Whole struct {
	Path  string // of the file
	Bytes int64  // it is there up to here, without a hole, and a record ends here
}

// Flush writes what is recorded to the disk's files, without a sync, and calls the function when all of it is there, or when
// its file has failed. Readers find it there then. If the disk hangs the function is not called before it goes on. It is given how much
// of the current file is there; the zero value if there is none, it has failed, or it is encrypted.
func (w *Writer) Flush(done func(Whole)) {
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
	batch, asked, file := f.batch, f.asked, w.file
	f.batch, f.asked = new(sync.WaitGroup), nil
	f.running.Store(true)
	go func() { // ends with the operations, which the disk's goroutines carry out
		batch.Wait()
		f.running.Store(false)
		whole := file.whole()
		for _, done := range asked {
			done(whole)
		}
	}()
}

// whole says how much of the file is on the disk.
func (f *file) whole() Whole {
	if f == nil || f.sealing != nil {
		return Whole{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return Whole{}
	}
	return Whole{Path: f.path(), Bytes: f.good.bytes}
}
