package recorder

import (
	"sync"

	"capd/capture"
	"capd/writer"
)

// A tally adds up the kernel's counters of all handles that a recorder has
// read, one after the other. The recorder changes it, anybody may read it.
type tally struct {
	mu     sync.Mutex      // guards what follows, for assignments only: no counter is asked for under it
	handle *capture.Handle // that is read now; nil without one
	past   capture.Stats   // of the handles before it
	unread uint64          // frames that were left in the rings of these
	twice  uint64          // frames received that the recorder before has written
}

// counters are the kernel's, and the frames that were left in rings.
type counters struct {
	capture.Stats
	unread uint64
}

// read returns the counters of all handles together. A handle that is closed
// meanwhile answers as it did last, so that nothing is counted twice.
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

// drops returns what was lost before the writer.
func (t *tally) drops() writer.Drops {
	k := t.read()
	return writer.Drops{Kernel: k.Dropped, Freezes: k.Freezes, NIC: k.NICDropped, Discarded: k.NICDiscarded, Unread: k.Corrupt + k.unread}
}

// refresh asks the interface for its own counter. It may wait.
func (t *tally) refresh() {
	t.mu.Lock()
	handle := t.handle
	t.mu.Unlock()
	if handle != nil {
		handle.Refresh()
	}
}

// begin counts a handle.
func (t *tally) begin(h *capture.Handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handle = h
}

// end keeps the last counters of the handle, of whose frames so many were
// taken. Those left are lost, unless the quota is reached: then they are beyond
// the count that was asked for, and were never received.
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

// repeat takes frames out of the count of those received, as the recorder
// before has counted them.
func (t *tally) repeat(frames int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.twice += uint64(frames)
}

// sum adds up the counters of a handle and those before it.
func sum(past, now capture.Stats) capture.Stats {
	return capture.Stats{
		Received: past.Received + now.Received, Dropped: past.Dropped + now.Dropped, Corrupt: past.Corrupt + now.Corrupt,
		Freezes: past.Freezes + now.Freezes, NIC: past.NIC.Plus(now.NIC),
		RingBlocks: now.RingBlocks, FilledBlock: now.FilledBlock,
	}
}
