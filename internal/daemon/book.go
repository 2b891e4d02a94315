package daemon

import (
	"log/slog"
	"os"
	"strings"
	"sync"

	"capd/ledger"
)

// A book keeps the ledger of a directory, in the background: who tells it
// something goes on at once, whatever the disk does.
type book struct {
	ledger *ledger.Ledger
	log    *slog.Logger
	done   chan struct{}

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []ledger.Entry
	closed bool
}

func openBook(l *ledger.Ledger, log *slog.Logger) *book {
	b := &book{ledger: l, log: log, done: make(chan struct{})}
	b.wake = sync.NewCond(&b.mu)
	go b.write()
	return b
}

// note hands entries over.
func (b *book) note(entries ...ledger.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, entries...)
	b.wake.Signal()
}

// write appends what was handed over until the book is closed.
func (b *book) write() {
	defer close(b.done)
	failed := false
	for {
		b.mu.Lock()
		for len(b.queue) == 0 && !b.closed {
			b.wake.Wait()
		}
		entries := b.queue
		b.queue = nil
		b.mu.Unlock()
		if len(entries) == 0 {
			return
		}
		err := b.ledger.Append(entries...)
		if err != nil && !failed {
			b.log.Error("ledger: lines wait in memory until the disk takes them", "error", err)
		}
		failed = err != nil
	}
}

// close writes the last entries and ends the book.
func (b *book) close() {
	b.mu.Lock()
	b.closed = true
	b.wake.Signal()
	b.mu.Unlock()
	<-b.done
	if err := b.ledger.Close(); err != nil {
		b.log.Error("ledger: lines are lost", "error", err)
	}
}

// boot identifies the time since the system's start (random(4)); it is empty
// where the system has no such thing.
func boot() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
