package recorder

import (
	"time"

	"capd/ledger"
	"capd/store"
)

// A gap is the time for which an interface could not be recorded, as the
// ledger has it: a line when it begins, and one when it ends. Of several lanes
// the first one writes them.
type gap struct {
	lane store.Lane
	note func(ledger.Entry)
	born time.Time    // of the recorder, until it has recorded once: from then on nothing was
	open ledger.Entry // without a Cause there is none
}

// begin opens a gap, and ends the one before.
func (g *gap) begin(cause ledger.Cause, at time.Time) {
	if g.open.Cause == cause || g.lane.Number > 1 {
		return
	}
	g.end()
	if !g.born.IsZero() {
		at = g.born
	}
	g.open = ledger.GapOpened(g.lane.Interface, at, cause)
	g.note(g.open)
}

// over ends the gap that is open, if there is one, as frames are recorded.
func (g *gap) over() {
	g.end()
	g.born = time.Time{}
}

// end ends the gap that is open, if there is one.
func (g *gap) end() {
	if g.open.Cause == "" {
		return
	}
	g.note(ledger.GapClosed(g.open, time.Now(), 0))
	g.open = ledger.Entry{}
}
