package daemon

import (
	"log/slog"
	"os"
	"strings"
	"sync"

	"capd/ledger"
)

// A ledgerWriter writes the lines of a directory's ledger in the background, so
// that no caller of note ever waits for the disk.
type ledgerWriter struct {
	file   *ledger.Ledger
	log    *slog.Logger
	listed *listed
	seals  *seals
	done   chan struct{}

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []queuedLine
	closed bool
}

// A queuedLine is a line of the ledger that is to be written.
type queuedLine struct {
	ledger.Entry
	recorded bool // by a recorder of this run
}

func newLedgerWriter(l *ledger.Ledger, listed *listed, seals *seals, log *slog.Logger) *ledgerWriter {
	w := &ledgerWriter{file: l, log: log, listed: listed, seals: seals, done: make(chan struct{})}
	w.wake = sync.NewCond(&w.mu)
	go w.write()
	return w
}

// note queues lines to be written.
func (w *ledgerWriter) note(entries ...ledger.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		w.seals.queued(&e)
		w.queue = append(w.queue, queuedLine{Entry: e})
	}
	w.wake.Signal()
}

// record queues a line of a recorder.
func (w *ledgerWriter) record(e ledger.Entry) {
	w.listed.queued(&e)
	w.seals.queued(&e)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, queuedLine{e, true})
	w.wake.Signal()
}

// write appends the queued lines until the ledgerWriter is closed.
func (w *ledgerWriter) write() {
	defer close(w.done)
	failed := false
	var waiting []ledger.Entry // of recorders, and not known to be written
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.closed {
			w.wake.Wait()
		}
		queue := w.queue
		w.queue = nil
		w.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		entries := make([]ledger.Entry, len(queue))
		for i := range queue {
			entries[i] = queue[i].Entry
			if queue[i].recorded {
				waiting = append(waiting, queue[i].Entry)
			}
		}
		err := w.file.Append(entries...)
		if fileEnds(entries) {
			w.seals.seal()
		}
		if err == nil {
			for i := range waiting {
				w.listed.written(&waiting[i])
			}
			waiting = nil
		}
		if err != nil && !failed {
			w.log.Error("ledger: lines wait in memory until the disk takes them", "error", err)
		}
		failed = err != nil
	}
}

// close writes the last lines and ends the ledgerWriter.
func (w *ledgerWriter) close() {
	w.mu.Lock()
	w.closed = true
	w.wake.Signal()
	w.mu.Unlock()
	<-w.done
	if err := w.file.Close(); err != nil {
		w.log.Error("ledger: lines are lost", "error", err)
	}
}

// boot identifies the boot of the system (random(4)); empty if the system has
// no such id.
func boot() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
