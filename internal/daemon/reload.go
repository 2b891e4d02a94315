package daemon

import (
	"errors"
	"slices"

	"capd/capture"
	"capd/config"
	"capd/internal/recorder"
	"capd/internal/setup"
)

// ErrNotRunning is returned by a Reload before Run or after its end.
var ErrNotRunning = errors.New("not recording")

// A replacement is what becomes of the recorders of an interface.
type replacement struct {
	old        []*member
	next       *config.Interface  // nil: it is recorded no more
	successors []*member          // nil: the old ones go on, or nobody does
	takeover   *recorder.Takeover // by the successors, or by nobody; nil: the old ones go on
	renamed    bool               // the successors record it by another name
}

// Reload records by another configuration from now on. It is proven first: with
// an error nothing has changed. An interface whose settings are the same, or
// have changed in those only that hold in place, keeps its device and its file;
// the others are taken over without a gap. What only a restart changes is
// logged as a warning.
func (d *Daemon) Reload(next *config.Config) error { return d.manager.reload(next) }

func (m *manager) reload(next *config.Config) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	if m.life == nil || m.life.Err() != nil {
		return ErrNotRunning
	}
	defer m.release() // of what was opened for nothing, or is not needed now
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
			m.log.Warn("a setting that is another holds from the next start on", "table", k.Table, "key", k.Name)
		}
	}
	m.config.Store(next)
	m.interfaces.publish(m.interfaces.there(), next)
	m.dirs.began(next)
	for _, dir := range m.dirs.unique() {
		dir.finish.change(next) // first: it may keep files from new limits
		dir.keeper.SetPolicy(Policy(next))
	}
	m.replace(plan)
	m.log.Info("the configuration was read again", "digest", next.Digest())
	m.appear()
	return nil
}

// prove returns what is wrong with a configuration for a daemon that runs. It
// opens directories that are new.
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
	m.follow() // the plan goes by names
	if err := missing(next, m.interfaces.there()); err != nil {
		return err
	}
	if err := checkFilters(next); err != nil {
		return err
	}
	return m.dirs.add(next)
}

// plan says what becomes of each recorder, and opens the devices of successors.
// What was planned is returned with an error too.
func (m *manager) plan(next *config.Config) ([]*replacement, error) {
	var all []*replacement
	for name, old := range m.set.lanes() {
		x := &replacement{old: old, next: next.Lookup(name)}
		all = append(all, x)
		if x.next != nil && !reopens(old[0].settings.Changes(x.next)) {
			continue
		}
		if err := m.prepareTakeover(x, name); err != nil {
			return all, err
		}
	}
	return all, nil
}

func reopens(keys []config.Key) bool {
	return slices.ContainsFunc(keys, func(k config.Key) bool { return k.Effect != config.InPlace })
}

// prepareTakeover makes the takeover by successors that record by that name, and
// opens their devices, which let nothing in yet.
func (m *manager) prepareTakeover(x *replacement, name string) error {
	snaplen := x.old[0].settings.Snaplen
	if x.next != nil {
		snaplen = min(snaplen, x.next.Snaplen)
	}
	x.takeover = recorder.NewTakeover(len(x.old), snaplen, x.renamed, m.log.With("interface", x.old[0].name()))
	if x.next == nil {
		return nil
	}
	var err error
	x.successors, err = m.newMembers(name, x.next, x.takeover)
	for i := 0; err == nil && i < len(x.successors); i++ {
		err = x.successors[i].Open()
	}
	switch {
	case errors.Is(err, capture.ErrDown), // they wait for it
		!x.renamed && errors.Is(err, capture.ErrNoInterface),
		x.renamed && errors.Is(err, errors.ErrUnsupported): // they open it when the old ones have let go
		return nil
	}
	return err
}

// replace puts replacements into effect. All who leave do so before successors
// come: two interfaces may have exchanged their names. The caller holds
// changing.
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

// part has the old recorders leave, or go by the new settings.
func (x *replacement) part(s *set) {
	for _, one := range x.old {
		switch {
		case x.takeover == nil:
			one.settings = x.next
			one.Adjust(x.next)
		case s.leave(one):
			one.Leave(x.takeover)
			one.cancel()
		default: // it has ended meanwhile
			x.takeover.Absent(one.lane)
		}
	}
}

// discard gives back what replacements have opened that do not come about.
func discard(plan []*replacement) {
	for _, x := range plan {
		for _, one := range x.successors {
			one.Discard()
		}
	}
}
