package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"capd/internal/control"
	"capd/ledger"
)

// errNotFlushed is the answer where the disk or the recorders do not keep up.
var errNotFlushed = errors.New("flush: not all that has come is on the disk yet")

// Flush writes to the files what has come up to now, and returns when it can be read there. Nothing is synced, and no file ends.
func (d *Daemon) Flush(ctx context.Context) error {
	written := make(map[*member]*atomic.Bool)
	for _, m := range d.set.members() {
		done := new(atomic.Bool)
		written[m] = done
		if !m.Recorder.Flush(func() { done.Store(true) }) {
			return errNotFlushed
		}
	}
	over := func() bool {
		present := d.set.members()
		for m, done := range written {
			if !done.Load() && slices.Contains(present, m) {
				return false
			}
		}
		return d.set.quiet() // recorders that leave have written all once they have ended
	}
	until(ctx, over)
	if !over() {
		return errNotFlushed
	}
	return nil
}

// Extracted notes in the ledger of a directory that somebody got packets out of it.
func (d *Daemon) Extracted(_ context.Context, e control.Extraction) error {
	dir, err := d.recordsInto(e.Directory)
	if err != nil {
		return fmt.Errorf("extracted: %w", err)
	}
	dir.ledger.note(ledger.Extract(ledger.Extraction{
		UID: e.UID, User: e.User, Sudo: e.Sudo, Question: e.Question, Packets: e.Packets, Bytes: e.Bytes,
	}))
	return nil
}
