package daemon

import (
	"sync"

	"capd/internal/control"
	"capd/ledger"
)

// listed adds up what the ledgers say of each interface that this run records. What its counters have beyond that is of files that
// have not ended.
type listed struct {
	mu sync.Mutex
	of map[string]*listing
}

// A listing is what the ledgers have of an interface.
type listing struct {
	waiting int    // lines that may or may not be in the ledger yet
	lines   uint64 // that are there
	tally   ledger.Tally
}

// about returns the listing of an interface. The caller holds mu.
func (l *listed) about(name string) *listing {
	if l.of == nil {
		l.of = make(map[string]*listing)
	}
	if l.of[name] == nil {
		l.of[name] = new(listing)
	}
	return l.of[name]
}

// queued notes that a line will be written.
func (l *listed) queued(e *ledger.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.about(e.Interface).waiting++
}

// written notes that the line is in the ledger.
func (l *listed) written(e *ledger.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.about(e.Interface)
	one.waiting--
	one.lines++
	switch e.Kind {
	case ledger.KindFile, ledger.KindQuiet, ledger.KindGap:
		one.tally.Received += e.Received
		one.tally.KernelDropped += e.KernelDropped
		one.tally.CapdDropped += e.CapdDropped
		one.tally.NICDropped += e.NICDropped
		one.tally.Oversized += e.Oversized
	}
}

// growing returns what the counters of an interface have beyond the ledger; nil while lines are being written.
func (l *listed) growing(name string, c *control.Counters) *control.Growing {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.about(name)
	if one.waiting > 0 {
		return nil
	}
	beyond := func(all, known uint64) uint64 { return all - min(all, known) } // lines may be newer than counters
	t := &one.tally
	g := &control.Growing{
		Lines: one.lines, KernelDropped: beyond(c.KernelDropped, t.KernelDropped), CapdDropped: beyond(c.CapdDropped, t.CapdDropped),
		NICDropped: beyond(c.NICDropped, t.NICDropped), Oversized: beyond(c.Oversized, t.Oversized),
	}
	g.Packets = beyond(beyond(c.Received, t.Received), g.KernelDropped+g.CapdDropped)
	return g
}

// forget forgets interfaces whose counters are forgotten.
func (l *listed) forget(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		delete(l.of, name)
	}
}
