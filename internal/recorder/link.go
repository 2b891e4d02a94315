package recorder

import "capd/capture"

// A link is the last known state of the recorded interface.
type link struct {
	name   string
	shared *Shared
	now    capture.Interface
	as     *Snapshot // snapshot that now was taken from
	speed  uint64    // in bit/s; 0 is unknown
	downed uint64    // Links.Looks at the moment when the interface went down
}

func newLink(name string, s *Shared) link {
	l := link{name: name, shared: s}
	l.now.Name = name
	l.refresh(0)
	return l
}

// refresh updates the link from the newest snapshot: by index, or by name if
// the index is 0. It reports whether the interface exists.
func (l *link) refresh(index int) bool {
	l.as = l.shared.Links.Load()
	if now, ok := capture.Virtual(l.name); ok {
		if l.now = now; l.name == capture.Any {
			l.now.XDP = l.as.program()
		}
		return true
	}
	if now, ok := l.as.Find(l.name, index); ok {
		l.now = now
		return true
	}
	return false
}

// opened records the index of the device that was opened. The interface may be
// newer than the last snapshot.
func (l *link) opened(index int) {
	if index == 0 || l.now.Index == index {
		return
	}
	if now, ok := l.shared.Ask(index); ok {
		l.now.Index, l.now.Name, l.now.AltNames, l.now.Address = index, now.Name, now.AltNames, now.Address
	}
}

// lose forgets the interface, so that any other of its name is new.
func (l *link) lose() { l.now = capture.Interface{Name: l.name, LinkType: l.now.LinkType} }

// changed reports whether the link must be compared with the newest snapshot.
// While the interface is down a look without a new snapshot counts too: the
// interface may be up again before any snapshot showed it down. Only a look
// that began after it went down counts, and that is the second one to end.
func (l *link) changed(isDown bool) bool {
	return l.as != l.shared.Links.Load() || isDown && l.shared.Links.Looks() > l.downed+1
}

// back reports whether an interface of the name exists that has another index
// than the last known one.
func (l *link) back() bool {
	now, ok := l.shared.Links.Load().ByName[l.name]
	return ok && now.Index != l.now.Index
}

// renamed reports whether the interface no longer has the name, and has none
// for which the configuration has a recorder.
func (l *link) renamed() bool {
	if _, ok := capture.Virtual(l.name); ok || l.now.Named(l.name) || l.as.Taken(l.now.Names()...) {
		return false
	}
	now, ok := l.shared.Ask(l.now.Index)
	return ok && now.Name == l.now.Name && !now.Named(l.name)
}
