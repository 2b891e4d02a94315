package recorder

import (
	"sync"

	"capd/capture"
	"capd/writer"
)

// A tally adds up the kernel's counters of all handles that a recorder has
// read, one after the other. The recorder changes it; any goroutine may read
// it.
type tally struct {
	mu     sync.Mutex      // guards what follows; held for assignments only, never while the kernel is asked
	handle *capture.Handle // handle that is read now; nil if none is
	past   capture.Stats   // counters of the previous handles
	unread uint64          // frames left in the rings of the previous handles
	twice  uint64          // frames that were received but that a predecessor has written
}

// counters are the kernel's counters, and the frames that were left in rings.
type counters struct {
	capture.Stats
	unread uint64
}

// read returns the counters of all handles together. A handle that is closed in
// between returns its last counters, so that nothing is counted twice.
func (t *tally) read() counters {
	t.mu.Lock()
	handle, all := t.handle, counters{t.past, t.unread}
	twice := t.twice
	t.mu.Unlock()
	if handle != nil {
		s, _ := handle.Stats()
		all.Stats = sum(all.Stats, s)
	}
	all.Received -= min(all.Received, twice)
	return all
}

// drops returns the frames that were lost before they reached the writer.
func (t *tally) drops() writer.Drops {
	k := t.read()
	return writer.Drops{Kernel: k.Dropped, Freezes: k.Freezes, NIC: k.NICDropped, Discarded: k.NICDiscarded, Unread: k.Corrupt + k.unread}
}

// refresh asks the interface for its own counter. It may block.
func (t *tally) refresh() {
	t.mu.Lock()
	handle := t.handle
	t.mu.Unlock()
	if handle != nil {
		handle.Refresh()
	}
}

// begin makes the handle the current one.
func (t *tally) begin(h *capture.Handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handle = h
}

// end keeps the last counters of the handle, of which taken frames were read.
// Unread frames are lost, unless the quota is used up: then they are beyond the
// requested count, and do not count as received.
func (t *tally) end(taken uint64, full bool) {
	t.refresh()
	t.mu.Lock()
	handle := t.handle
	t.mu.Unlock()
	s, _ := handle.Stats()
	left := s.Received - min(s.Received, s.Dropped+s.Corrupt+taken)
	if full {
		s.Received -= left
		left = 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.past = sum(t.past, s)
	t.unread += left
	t.handle = nil
}

// resume makes the counters of a ring that a recorder of an earlier process has read begin with what
// is in no line of the ledger yet.
func (t *tally) resume(was *writer.Inherited) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.past = capture.Stats{
		Received: was.Accepted - was.Frames - was.Taken - was.Drops.Kernel + was.Unread - was.Drops.Unread,
		Dropped:  -was.Drops.Kernel, Freezes: -was.Drops.Freezes, Corrupt: -was.Drops.Unread,
		NIC: capture.NIC{NICDropped: -was.Drops.NIC, NICDiscarded: -was.Drops.Discarded},
	}
}

// repeat subtracts frames from those received, since a predecessor has counted
// them.
func (t *tally) repeat(frames int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.twice += uint64(frames)
}

// sum adds the counters of the current handle to those of the previous ones.
func sum(past, now capture.Stats) capture.Stats {
	return capture.Stats{
		Received: past.Received + now.Received, Dropped: past.Dropped + now.Dropped, Corrupt: past.Corrupt + now.Corrupt,
		Freezes: past.Freezes + now.Freezes, NIC: past.NIC.Plus(now.NIC),
		RingBlocks: now.RingBlocks, FilledBlock: now.FilledBlock,
	}
}
