package daemon

import (
	"fmt"
	"os"
	"syscall"

	"capd/capture"
	"capd/internal/restart"
)

// keep stores the device's ring, unless an earlier process did, and returns its
// identity; 0 if it ends with the process.
func (d *devices) keep(state *restart.State, one *capture.Device) (id uint64, adopted bool) {
	f, err := one.File()
	if err != nil {
		return 0, false
	}
	defer f.Close()
	id = identity(f)
	if id == d.known[state] {
		return id, true
	}
	if state.KeepRing(f, one.LinkType()) != nil {
		return 0, false
	}
	return id, false
}

// accounts returns where the devices of the lanes count; nil if not all of them
// leave something to the next process.
func accounts(states []*restart.State) []*capture.Account {
	var all []*capture.Account
	for _, s := range states {
		if s == nil {
			return nil
		}
		all = append(all, s.Account())
	}
	return all
}

// identity returns the number of the file, which no other open file has.
func identity(f *os.File) uint64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return s.Ino
}

// adopt makes devices of the rings that the process before has left. For each
// state it returns why it could not.
func (d *devices) adopt(states []*restart.State) []error {
	refused := make([]error, len(states))
	system, able := d.system.(interface {
		Adopt(c capture.Config, f *os.File, at capture.Position) (*capture.Device, error)
	})
	open := make([]*capture.Device, d.wanted.Lanes)
	for n, s := range states {
		lane := max(s.Lane.Number-1, 0)
		if lane < len(open) {
			d.states[lane] = s
		}
		if !s.HadRing() {
			refused[n] = errNeverOpen
			continue
		}
		if s.Number() == 0 && s.Until().IsZero() {
			refused[n] = errUnfinished
			continue
		}
		if !able || s.Ring == nil || lane >= len(open) {
			refused[n] = errNoRing
			continue
		}
		id := identity(s.Ring)
		d.known[s] = id
		c := d.wanted.Config
		c.Account, c.Gated = s.Account(), s.Follows() != ""
		if c.LinkType == "" {
			c.LinkType = s.LinkType().String() // of an interface that is gone, nothing else may tell it
		}
		var err error
		open[lane], err = system.Adopt(c, s.Ring, positionIn(s, id))
		if err == nil && open[lane].Adopted().Missing > 0 {
			err = fmt.Errorf("%d blocks of the ring are missing", open[lane].Adopted().Missing)
			_ = open[lane].Close()
			open[lane] = nil
		}
		if refused[n] = err; err == nil {
			d.open, d.adopted = open, true
		}
	}
	return refused
}

// positionIn returns up to where the ring of that identity is recorded.
func positionIn(s *restart.State, id uint64) (at capture.Position) {
	j := journalOf(s)
	if j == nil {
		return at
	}
	if p := j.Position(); p.Ring == id { // else it was opened, and not yet read
		at = capture.Position{Block: p.Block, Frames: p.Frames, Corrupt: p.Unread, Lent: j.Lent()}
	}
	return at
}
