package daemon

import (
	"errors"
	"slices"

	"capd/capture"
	"capd/config"
	"capd/internal/recorder"
)

// A move is an interface whose name differs from the one its recorders use.
type move struct {
	from, to string
	old      []*member
	next     *config.Interface // settings for the new name; nil if it is not recorded
}

// follow continues the recording of renamed interfaces under their new names. A
// device stays with its interface whatever the name, so recorders of the new
// name take over from those of the old one, as in a Reload. If that fails,
// recording continues under the old name until the next look. If the new name
// is not recorded, the recorder itself notices that. The caller holds changing.
func (m *manager) follow() {
	moved := moves(m.set, m.interfaces, m.config.Load())
	targets := make(map[string]bool)
	for _, one := range moved {
		if one.next != nil {
			targets[one.to] = true
		}
	}
	var plan []*replacement
	for _, one := range moved {
		if one.next == nil && !targets[one.from] {
			continue
		}
		x := &replacement{old: one.old, next: one.next, renamed: true}
		plan = append(plan, x)
		err := m.takeOver(x, one.to)
		if err == nil {
			err = x.open()
		}
		if err != nil {
			if !errors.Is(err, capture.ErrNoInterface) { // renamed again; the next look handles that
				m.log.Error("an interface was renamed, and can't be opened under its new name yet", "interface", one.from, "to", one.to, "error", err)
			}
			discard(plan)
			return
		}
	}
	for name := range targets {
		if !slices.ContainsFunc(moved, func(one move) bool { return one.from == name }) {
			plan = append(plan, vacate(m.set.lanes()[name])...)
		}
	}
	for _, one := range moved {
		if one.next != nil {
			m.log.Info("interface was renamed: recording goes on under its new name", "interface", one.from, "to", one.to)
		}
	}
	m.replace(plan)
}

// moves lists the interfaces that have lost the name which their recorders use.
// One that still has it, as its main name or an alternative one, stays where it
// is.
func moves(s *set, i *interfaces, c *config.Config) (all []move) {
	links := make(map[int]capture.Interface)
	for link := range i.there().each() {
		links[link.Index] = link
	}
	for from, old := range s.lanes() {
		for _, one := range old {
			index := one.Index()
			link, ok := links[index]
			if !ok || index == 0 || link.Named(from) {
				continue
			}
			to, next := c.Choose(link.Names()...)
			if next == nil {
				to = link.Name
			}
			if i.named(index, to) {
				all = append(all, move{from, to, old, next})
				break
			}
		}
	}
	return all
}

// vacate ends the recorders that wait for an interface of the name, because the
// renamed interface brings its own.
func vacate(old []*member) []*replacement {
	if len(old) == 0 {
		return nil
	}
	t := recorder.NewTakeover(len(old), old[0].settings.Snaplen, false)
	return []*replacement{{old: old, takeover: t}}
}
