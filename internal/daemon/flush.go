package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"capd/internal/control"
	"capd/ledger"
	"capd/writer"
)

// errNotFlushed is the answer where the disk or the recorders do not keep up.
var errNotFlushed = errors.New("flush: not all that has come is on the disk yet")

// Flush writes to the files what has come up to now, and returns when it can be read there, with up to where that is in files that are
// being recorded. Nothing is synced, and no file ends.
func (d *Daemon) Flush(ctx context.Context) ([]control.Whole, error) {
	written := make(map[*member]*atomic.Pointer[writer.Whole])
	for _, m := range d.set.members() {
		done := new(atomic.Pointer[writer.Whole])
		written[m] = done
		if !m.Recorder.Flush(func(w writer.Whole) { done.Store(&w) }) {
			return nil, errNotFlushed
		}
	}
	over := func() bool {
		present := d.set.members()
		for m, done := range written {
			if done.Load() == nil && slices.Contains(present, m) {
				return false
			}
		}
		return d.set.quiet() // recorders that leave have written all once they have ended
	}
	until(ctx, over)
	if !over() {
		return nil, errNotFlushed
	}
	var all []control.Whole
	for _, done := range written {
		if w := done.Load(); w != nil && w.Path != "" {
			all = append(all, control.Whole{Path: w.Path, Bytes: w.Bytes})
		}
	}
	return all, nil
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
