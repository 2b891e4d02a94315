package recorder

import (
	"log/slog"
	"time"

	"capd/capture"
	"capd/ledger"
	"capd/store"
)

// A cover is the XDP program that processes the interface's frames before capd,
// and the ledger's line about it. Of several lanes only the first writes it.
type cover struct {
	lane    store.Lane
	note    func(ledger.Entry)
	log     *slog.Logger
	visible *visible
	program capture.XDP
	open    ledger.Entry // the line of the attached program; no Kind means that no line is open
}

// turn records which program is attached now.
func (c *cover) turn(to capture.XDP, at time.Time) {
	if c.program == to {
		return
	}
	was := c.program
	c.end(at)
	c.program = to
	if !to.Attached() {
		c.log.Info("no XDP program processes frames before capd any more", "program", was.String())
		return
	}
	c.visible.cover(to.String(), at)
	if c.lane.Number > 1 {
		return
	}
	c.log.Warn("an XDP program is attached: frames may not reach capd", "program", to.String())
	c.open = ledger.XDPAttached(c.lane.Interface, at, to.String())
	c.note(c.open)
}

// end ends the line that is open, if any, because the program is detached or the
// interface is no longer recorded.
func (c *cover) end(at time.Time) {
	if c.open.Kind != "" {
		c.note(ledger.XDPDetached(c.open, at))
	}
	c.open, c.program = ledger.Entry{}, capture.XDP{}
	c.visible.cover("", at)
}
