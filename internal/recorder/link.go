package recorder

import (
	"capd/capture"
	"capd/pcap"
)

// A link is the recorded interface as it is known.
type link struct {
	name   string
	shared *Shared
	now    capture.Interface
	as     *Snapshot // that now is from
	speed  uint64    // in bit/s; 0 is unknown
	downed uint64    // Links.Looks when the interface went down
}

func newLink(name string, s *Shared) link {
	l := link{name: name, shared: s}
	l.now.Name = name
	l.refresh(0)
	return l
}

// refresh takes over what is known of the interface of that index, or if it is
// 0 of the name, and reports whether it is there.
func (l *link) refresh(index int) bool {
	l.as = l.shared.Links.Load()
	if l.name == capture.Any {
		l.now = capture.Interface{Name: l.name, LinkType: pcap.LinkTypeLinuxSLL2, Up: true, XDP: l.as.program()}
		return true
	}
	if now, ok := l.as.Find(l.name, index); ok {
		l.now = now
		return true
	}
	return false
}

// opened takes over the index of the device that was opened: the interface may
// have come after the last look.
func (l *link) opened(index int) {
	if index == 0 || l.now.Index == index {
		return
	}
	if now, ok := l.shared.Ask(index); ok {
		l.now.Index, l.now.Name, l.now.Address = index, now.Name, now.Address
	}
}

// lose forgets the interface, and waits for another of its name.
func (l *link) lose() { l.now = capture.Interface{Name: l.name, LinkType: l.now.LinkType} }

// changed reports whether there is a newer list of interfaces. While the
// interface is down a look is one, too: it may be up again before a list showed
// it down. A look that began after that is the second one to end.
func (l *link) changed(isDown bool) bool {
	return l.as != l.shared.Links.Load() || isDown && l.shared.Links.Looks() > l.downed+1
}

// back reports whether an interface of the name is there that is not the one
// that was known.
func (l *link) back() bool {
	now, ok := l.shared.Links.Load().ByName[l.name]
	return ok && now.Index != l.now.Index
}

// renamed reports whether the interface has another name by now, which nothing
// in the configuration takes.
func (l *link) renamed() bool {
	if l.name == capture.Any || l.now.Name == l.name || l.as.Taken(l.now.Name) {
		return false
	}
	now, ok := l.shared.Ask(l.now.Index)
	return ok && now.Name == l.now.Name
}
