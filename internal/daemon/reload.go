package daemon

import (
	"errors"
	"maps"
	"slices"

	"capd/capture"
	"capd/config"
	"capd/internal/recorder"
	"capd/internal/setup"
)

// ErrNotRunning is returned by Reload before Run and after its end.
var ErrNotRunning = errors.New("not recording")

// A replacement says what a Reload does to the recorders of an interface.
type replacement struct {
	old        []*member
	next       *config.Interface  // nil: the interface is no longer recorded
	successors []*member          // empty: the old recorders continue, or nothing replaces them
	takeover   *recorder.Takeover // nil: the old recorders continue
	renamed    bool               // the successors record the interface under another name
}

// Reload puts another configuration into effect. It is checked first; after an
// error nothing has changed. An interface keeps its device and its file if its
// settings are the same, or differ only in those that need no new device and no
// new file. Other interfaces are taken over without a gap. Changes that need a
// restart are logged as warnings.
func (d *Daemon) Reload(next *config.Config) error { return d.manager.reload(next) }

func (m *manager) reload(next *config.Config) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	defer m.change()()
	if m.life == nil || m.life.Err() != nil {
		return ErrNotRunning
	}
	defer m.release() // closes directories that were opened in vain or are no longer needed
	if err := m.prove(next); err != nil {
		return err
	}
	plan, err := m.plan(next)
	if err != nil {
		discard(plan)
		return err
	}
	for _, k := range m.config.Load().Changes(next) {
		if k.Effect == config.Restart {
			m.log.Warn("a changed setting takes effect at the next start", "table", k.Table, "key", k.Name)
		}
	}
	m.config.Store(next)
	m.interfaces.publish(m.interfaces.there(), next)
	m.dirs.began(next)
	for _, dir := range m.dirs.unique() {
		if err := dir.seals.change(next); err != nil {
			m.log.Error("sealing can't be switched", "directory", dir.path, "error", err)
		}
		dir.finish.change(next) // before the new limits, from which it may protect files
		dir.keeper.SetPolicy(Policy(next))
	}
	m.replace(plan)
	m.log.Info("the configuration was read again", "digest", next.Digest())
	m.appear()
	return nil
}

// prove checks whether a running daemon can use a configuration. It opens new
// directories.
func (m *manager) prove(next *config.Config) error {
	if len(next.Interfaces) == 0 {
		return setup.ErrNoInterfaces
	}
	if err := next.Validate(); err != nil {
		return err
	}
	if err := m.interfaces.look(m.config.Load()); err != nil {
		return err
	}
	m.follow() // plan looks recorders up by name
	if err := missing(next, m.interfaces.there()); err != nil {
		return err
	}
	if err := checkFilters(next); err != nil {
		return err
	}
	if err := checkKeys(m.dirs, next); err != nil {
		return err
	}
	return m.dirs.add(next)
}

// plan decides what happens to each recorder, and opens the devices of
// successors. With an error it returns what was planned before it.
func (m *manager) plan(next *config.Config) ([]*replacement, error) {
	var all []*replacement
	lanes := m.set.lanes()
	for _, name := range slices.Sorted(maps.Keys(lanes)) {
		x := &replacement{old: lanes[name]}
		all = append(all, x)
		var to string
		to, x.next = m.interfaces.there().chosen(next, name)
		x.renamed = x.next != nil && to != name
		switch {
		case x.next == nil:
		case x.renamed && len(lanes[to]) > 0:
			x.next = nil // a recorder of that name waits for the interface
		case !x.renamed && !m.inherited.broken(name) && !reopens(x.old[0].settings.Changes(x.next)):
			continue
		}
		if err := m.takeOver(x, to); err != nil {
			return all, err
		}
	}
	return all, together(len(all), func(i int) error { return all[i].open() })
}

// chosen returns the settings that a configuration has for the interface of a
// recorder, and the name that it is recorded by: as before, unless the
// configuration has settings only for another name of the interface. Without
// settings both are zero.
func (l links) chosen(c *config.Config, name string) (string, *config.Interface) {
	before := c.Lookup(name)
	link, ok := l[name]
	if !ok {
		return name, before
	}
	to, in := c.Choose(link.Names()...)
	if in != nil && before != nil {
		return name, before
	}
	return to, in
}

func reopens(keys []config.Key) bool {
	return slices.ContainsFunc(keys, func(k config.Key) bool { return k.Effect != config.InPlace })
}

// takeOver makes the takeover by successors of that name.
func (m *manager) takeOver(x *replacement, name string) (err error) {
	snaplen := x.old[0].settings.Snaplen
	if x.next != nil {
		snaplen = min(snaplen, x.next.Snaplen)
	}
	x.takeover = recorder.NewTakeover(len(x.old), snaplen, x.renamed)
	if x.next != nil {
		x.successors, err = m.newMembers(name, x.next, x.takeover, x.old)
	}
	return err
}

// open opens the devices of the successors, which admit no frame yet.
func (x *replacement) open() (err error) {
	for i := 0; err == nil && i < len(x.successors); i++ {
		err = x.successors[i].Open()
	}
	switch {
	case errors.Is(err, capture.ErrDown), errors.Is(err, recorder.ErrHeld), // the successors wait for the interface
		!x.renamed && errors.Is(err, capture.ErrNoInterface),
		x.renamed && errors.Is(err, errors.ErrUnsupported): // the successors open it when the old recorders have closed it
		return nil
	}
	return err
}

// replace carries out replacements. All leaving recorders leave before any
// successor starts, since two interfaces may have exchanged their names. The
// caller holds changing.
func (m *manager) replace(plan []*replacement) {
	for _, x := range plan {
		x.part(m.set)
	}
	for _, x := range plan {
		for _, one := range x.successors {
			m.launch(one)
		}
	}
}

// part makes the old recorders leave, or gives them the new settings.
func (x *replacement) part(s *set) {
	for _, one := range x.old {
		switch {
		case x.takeover == nil:
			one.settings = x.next
			one.Adjust(x.next)
		case s.leave(one):
			if x.next == nil {
				one.state.Ends()
			} else {
				one.state.Leaves()
			}
			one.Leave(x.takeover)
			one.cancel()
		default: // it has ended already
			x.takeover.Absent(one.lane)
		}
	}
}

// discard releases what was opened for replacements that are not carried out.
func discard(plan []*replacement) {
	for _, x := range plan {
		for _, one := range x.successors {
			one.discard()
		}
	}
}
