package daemon

import (
	"capd/capture"
	"capd/config"
	"capd/ledger"
	"capd/writer"
	"errors"
	"net"
	"slices"
	"time"
)

// A move is an interface that has another name than its recorders know it by.
type move struct {
	from, to string
	old      []*recorder
	next     *config.Interface // that the new name is recorded by; nil: by none
}

// follow has interfaces that were renamed recorded under their new names. A
// device stays with its interface whatever the name, so the recorders of the
// new name take over from those of the old one as in a Reload. What can't be
// followed now goes on under its old name until the next look. Where nothing
// takes the new name, the recorder finds that out itself: see strayed. The
// caller holds changing.
func (d *Daemon) follow() {
	moves := d.moves()
	targets := make(map[string]bool)
	for _, m := range moves {
		if m.next != nil {
			targets[m.to] = true
		}
	}
	var plan []*succession
	for _, m := range moves {
		if m.next == nil && !targets[m.from] {
			continue
		}
		s := &succession{old: m.old, next: m.next, renamed: true}
		plan = append(plan, s)
		if err := s.prepare(d, m.to); err != nil {
			if !errors.Is(err, capture.ErrNoInterface) { // renamed again: the next look sees it
				d.log.Error("an interface was renamed, and can't be opened under its new name yet", "interface", m.from, "to", m.to, "error", err)
			}
			discard(plan)
			return
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range plan {
		for _, r := range s.heirs {
			if before := d.recorders[r.lane]; before != nil && before.cfg.Directory == r.cfg.Directory {
				r.writer.Follow(writer.End{Sequence: before.writer.Sequence()})
			}
		}
	}
	for name := range targets {
		if !slices.ContainsFunc(moves, func(m move) bool { return m.from == name }) {
			plan = append(plan, d.vacate(name)...)
		}
	}
	for _, m := range moves {
		if m.next != nil {
			d.log.Info("interface was renamed: recording goes on under its new name", "interface", m.from, "to", m.to)
		}
	}
	d.succeed(plan)
}

// moves lists the interfaces whose recorders know them by an old name.
func (d *Daemon) moves() []move {
	names := make(map[int]string)
	for name, link := range *d.links.Load() {
		names[link.Index] = name
	}
	d.mu.Lock()
	lanes := make(map[string][]*recorder)
	moved := make(map[string]int)
	for _, r := range d.recorders {
		lanes[r.name] = append(lanes[r.name], r)
		index := int(r.index.Load())
		if to, ok := names[index]; ok && index != 0 && to != r.name {
			moved[r.name] = index
		}
	}
	d.mu.Unlock()
	var all []move
	for from, index := range moved {
		if to := names[index]; named(index, to) {
			all = append(all, move{from, to, lanes[from], d.config().Lookup(to)})
		}
	}
	return all
}

// named reports whether the interface has that name at the moment: a list of
// interfaces may be older than the device of a recorder.
func named(index int, name string) bool {
	link, err := net.InterfaceByIndex(index)
	return err == nil && link.Name == name
}

// vacate has the recorders of a name end, which wait for an interface that
// comes with recorders of its own. The caller holds mu.
func (d *Daemon) vacate(name string) []*succession {
	var old []*recorder
	for _, r := range d.recorders {
		if r.name == name {
			old = append(old, r)
		}
	}
	if len(old) == 0 {
		return nil
	}
	return []*succession{{old: old, by: newHandover(len(old), old[0].cfg.Snaplen, old[0].log)}}
}

// prepare makes the handover to heirs that record by that name, and opens their
// devices.
func (s *succession) prepare(d *Daemon, name string) error {
	s.by = newHandover(len(s.old), s.old[0].cfg.Snaplen, s.old[0].log)
	s.by.renamed = s.renamed
	if s.next == nil {
		return nil
	}
	s.by.snaplen = min(s.by.snaplen, s.next.Snaplen)
	err := s.open(d, name)
	if !s.renamed {
		return err
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported): // the heirs open it when the old ones have let go
		err = nil
	case err == nil && slices.ContainsFunc(s.heirs, func(r *recorder) bool { return r.device == nil }) && !s.down:
		err = capture.ErrNoInterface
	}
	return err
}

// discard gives back what successions have opened that do not come about.
func discard(plan []*succession) {
	for _, s := range plan {
		for _, r := range s.heirs {
			r.discard()
		}
	}
}

// barred reports whether the interface of the device that was opened just now
// is another's to record: of a recorder by the name before, or of heirs.
func (r *recorder) barred() bool {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	if r.leave.Load() != nil {
		return true
	}
	index := r.index.Load()
	for _, other := range r.d.recorders {
		if other.name != r.name && index != 0 && other.index.Load() == index {
			return true
		}
	}
	return false
}

// strays reports whether the interface that is recorded has another name by
// now, which nothing in the configuration takes.
func (r *recorder) strays() bool {
	return r.name != capture.Any && r.link.Name != r.name && r.d.config().Lookup(r.link.Name) == nil &&
		named(r.link.Index, r.link.Name)
}

// letGo ends the file of an interface that strayed, and waits for another of
// its name.
func (r *recorder) letGo() {
	r.stray = false
	r.writer.Rotate(ledger.ReasonLink)
	r.log.Warn("interface was renamed, and nothing takes its new name: waiting for another", "to", r.link.Name)
	r.link = capture.Interface{Name: r.name, LinkType: r.link.LinkType}
	r.setState(Waiting)
	r.gone = r.now()
	r.interrupt(ledger.CauseAbsent)
	r.ceased = time.Time{}
}
