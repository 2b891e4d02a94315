package writer

import (
	"math"
	"time"

	"capd/ledger"
)

// Due returns how long there is nothing to do for Tick unless packets come, by the
// clock of its mono: until what waits is to be flushed, or the file to be synced.
func (w *Writer) Due(mono time.Duration) time.Duration {
	due := time.Duration(math.MaxInt64)
	if w.file == nil {
		return due
	}
	if flush := w.opt.FlushInterval; flush > 0 && w.chunk.fill > w.chunk.flushed {
		due = w.flushed + flush - mono
		if w.chunk.flush.Load() { // the disk is busy with the last flush
			due = max(due, flush)
		}
	}
	if w.opt.SyncInterval > 0 {
		due = min(due, w.synced+w.opt.SyncInterval-mono)
	}
	return due
}

// Interrupted says that nothing was recorded from one time to another. No file
// that begins later has that time; one that is open has what came before it and
// what comes after.
func (w *Writer) Interrupted(from, to time.Time) {
	if w.file != nil || w.since.IsZero() {
		return
	}
	if from.After(w.since) {
		w.opt.Note(ledger.Quiet(w.opt.Header.Interface, w.since, from, ledger.Drops{}))
	}
	if to.After(w.since) {
		w.since = to
	}
}
