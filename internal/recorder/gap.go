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
	lane  store.Lane
	note  func(ledger.Entry)
	ended func(from, to time.Time) // is called when a gap has ended
	born  time.Time                // of the recorder, until it has recorded once: from then on nothing was
	open  ledger.Entry             // without a Cause there is none
}

// begin opens a gap, and ends the one before.
func (g *gap) begin(cause ledger.Cause, at time.Time) {
	if g.open.Cause == cause {
		return
	}
	g.end(at)
	if !g.born.IsZero() {
		at = g.born
	}
	g.open = ledger.GapOpened(g.lane.Interface, at, cause)
	g.write(g.open)
}

// over ends the gap that is open, if there is one, as frames are recorded from
// that time on.
func (g *gap) over(at time.Time) {
	g.end(at)
	g.born = time.Time{}
}

// end ends the gap that is open, if there is one.
func (g *gap) end(at time.Time) {
	if g.open.Cause == "" {
		return
	}
	if at.Before(g.open.Begin) {
		at = g.open.Begin
	}
	g.write(ledger.GapClosed(g.open, at, 0))
	g.ended(g.open.Begin, at)
	g.open = ledger.Entry{}
}

func (g *gap) write(e ledger.Entry) {
	if g.lane.Number <= 1 {
		g.note(e)
	}
}
