package recorder

import (
	"errors"
	"time"

	"capd/capture"
	"capd/ledger"
	"capd/store"
)

// A gap is a time during which an interface could not be recorded. The ledger
// has a line for its begin and one for its end. Of several lanes only the first
// writes them.
type gap struct {
	lane  store.Lane
	note  func(ledger.Entry)
	ended func(from, to time.Time) // called when a gap has ended
	born  time.Time                // when the recorder was made, or when its predecessors ended; zero once it has recorded or has begun a gap
	open  ledger.Entry             // the line of the open gap; no Cause means that no gap is open
}

// begin opens a gap and ends the previous one, unless that has the same cause.
// It reports whether it did. The err is what the system said, or nil. Until the
// recorder has recorded anything, its first gap begins when it was made.
func (g *gap) begin(cause ledger.Cause, at time.Time, err error) bool {
	if g.open.Cause == cause {
		return false
	}
	g.end(at)
	if !g.born.IsZero() {
		at, g.born = g.born, time.Time{}
	}
	if err != nil {
		g.open = ledger.GapExplained(g.lane.Interface, at, cause, err)
	} else {
		g.open = ledger.GapOpened(g.lane.Interface, at, cause)
	}
	g.write(g.open)
	return true
}

// miss opens a gap because the interface could not be opened, unless one with the
// same cause is open. It reports whether it did.
func (g *gap) miss(err error, at time.Time) bool {
	switch {
	case errors.Is(err, ErrHeld) && g.open.Cause != "":
		return false // for a moment: the cause stays what it was
	case errors.Is(err, capture.ErrDown):
		return g.begin(ledger.CauseDown, at, nil)
	case errors.Is(err, capture.ErrNoInterface), errors.Is(err, ErrHeld), errors.Is(err, errRenamed):
		return g.begin(ledger.CauseAbsent, at, nil)
	}
	return g.begin(ledger.CauseRefused, at, err)
}

// follow makes the first gap begin where the predecessors ended; a zero time is
// unknown.
func (g *gap) follow(end time.Time) {
	if !end.IsZero() {
		g.born = end
	}
}

// unread writes that frames from that time on may have been lost together with the interface.
func (g *gap) unread(from, to time.Time) {
	g.write(ledger.GapClosed(ledger.GapOpened(g.lane.Interface, from, ledger.CauseUnread), to, 0))
}

// over ends the gap that is open, if any, because frames are recorded from that
// time on.
func (g *gap) over(at time.Time) {
	g.end(at)
	g.born = time.Time{}
}

// end ends the gap that is open, if any.
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
