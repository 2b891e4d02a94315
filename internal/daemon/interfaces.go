package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"capd/capture"
	"capd/config"
	"capd/internal/linkwatch"
	"capd/internal/recorder"
	"capd/internal/setup"
	"capd/ledger"
	"capd/pcap"
)

// lookEvery is how often the list of interfaces is read when no change of one is
// reported: a report may be lost, and some systems make none.
const lookEvery = time.Second

// lookPause is the least time between two looks: an interface that flaps causes
// reports without end.
const lookPause = 20 * time.Millisecond

// A System has interfaces. It may have methods besides:
//
//	Inspect(name string) (capture.Details, error) // see capture.Inspect
//	Changes() <-chan struct{}                     // is sent to when interfaces have changed
type System interface {
	Interfaces() ([]capture.Interface, error)                                       // see capture.Interfaces
	OpenGroup(c capture.Config, n int, s capture.Spread) ([]*capture.Device, error) // see capture.OpenGroup
}

// underneath is the System that capd runs on.
type underneath struct{}

func (underneath) Interfaces() ([]capture.Interface, error) { return capture.Interfaces() }

func (underneath) OpenGroup(c capture.Config, n int, s capture.Spread) ([]*capture.Device, error) {
	return capture.OpenGroup(c, n, s)
}

func (underneath) Inspect(name string) (capture.Details, error) { return capture.Inspect(name) }

// links is a list of interfaces by name.
type links map[string]capture.Interface

func newLinks(all []capture.Interface) links {
	l := make(links, len(all))
	for _, i := range all {
		l[i.Name] = i
	}
	return l
}

// interfaces has the recorders know the interfaces of a System.
type interfaces struct {
	system System
	news   *recorder.Links
}

// look reads the list of interfaces. One goroutine at a time does.
func (i *interfaces) look(c *config.Config) error {
	all, err := i.system.Interfaces()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	l := newLinks(all)
	if old := i.news.Load(); old == nil || !maps.EqualFunc(old.ByName, l, sameLink) {
		i.publish(l, c)
	}
	i.news.Looked()
	return nil
}

// publish has recorders know the interfaces, and which of them are recorded.
func (i *interfaces) publish(l links, c *config.Config) {
	i.news.Publish(&recorder.Snapshot{ByName: l, Taken: func(name string) bool { return c.Lookup(name) != nil }})
}

// there returns the interfaces as of the last look.
func (i *interfaces) there() links { return i.news.Load().ByName }

// ask returns what the system says now of the interface of that index.
func (i *interfaces) ask(index int) (capture.Interface, bool) {
	all, err := i.system.Interfaces()
	if err != nil {
		return capture.Interface{}, false
	}
	at := slices.IndexFunc(all, func(one capture.Interface) bool { return one.Index == index })
	if at < 0 {
		return capture.Interface{}, false
	}
	return all[at], true
}

// named reports whether the interface has that name at the moment: the last
// list may be older than the device of a recorder.
func (i *interfaces) named(index int, name string) bool {
	one, ok := i.ask(index)
	return ok && one.Name == name
}

// changes is sent to when interfaces have changed. Where the system tells of no
// change, it never is.
func (i *interfaces) changes(log *slog.Logger) (changed <-chan struct{}, end func()) {
	if s, ok := i.system.(interface{ Changes() <-chan struct{} }); ok {
		return s.Changes(), func() {}
	}
	w, err := linkwatch.New()
	if err != nil {
		log.Warn("changes of interfaces are seen within a second, and not at once", "error", err)
		return nil, func() {}
	}
	return w.Changed, func() { _ = w.Close() }
}

// sameLink reports whether an interface is what it was, for a recorder.
func sameLink(a, b capture.Interface) bool {
	return a.Index == b.Index && a.LinkType == b.LinkType && a.MTU == b.MTU && a.Up == b.Up && a.Running == b.Running &&
		bytes.Equal(a.Address, b.Address) && a.XDP == b.XDP
}

// missing returns a setup.MissingError for the first interface that is not there and
// must be.
func missing(c *config.Config, there links) error {
	for i := range c.Interfaces {
		one := &c.Interfaces[i]
		if one.Wait || one.Name == capture.Any {
			continue
		}
		found := false
		for name := range there {
			found = found || one.Match(name)
		}
		if !found {
			return &setup.MissingError{Name: one.Name, There: slices.Sorted(maps.Keys(there))}
		}
	}
	return nil
}

// checkFilters compiles the filters of interfaces that may come later, too: for
// Ethernet where no link type is chosen, since nobody knows better.
func checkFilters(c *config.Config) error {
	for i := range c.Interfaces {
		link := pcap.LinkTypeEthernet
		if c.Interfaces[i].Name == capture.Any {
			link = pcap.LinkTypeLinuxSLL2
		}
		link, err := setup.LinkType(c.Interfaces[i].LinkType, link)
		if err == nil {
			_, err = setup.Program(c.Interfaces[i].Filter, link)
		}
		if err != nil {
			return fmt.Errorf("interface %s: %w", c.Interfaces[i].Name, err)
		}
	}
	return nil
}

// wanted returns the names to record: those in the configuration, there or not,
// and those that a glob takes.
func wanted(cfg *config.Config, there links) map[string]*config.Interface {
	all := make(map[string]*config.Interface)
	for name := range there {
		if c := cfg.Lookup(name); c != nil {
			all[name] = c
		}
	}
	for i := range cfg.Interfaces {
		if c := &cfg.Interfaces[i]; !c.Glob() {
			all[c.Name] = c
		}
	}
	return all
}

// A watcher is the task that looks for interfaces that come, go and change:
// when the system tells of a change, and every second. Every second it also
// compares the clocks and looks after the disks.
type watcher struct {
	manager *manager
	clocks  clocks
	ready   chan struct{}
}

func newWatcher(m *manager) *watcher { return &watcher{manager: m, ready: make(chan struct{})} }

func (w *watcher) String() string { return "watcher of interfaces" }

// Ready is closed once the watch has begun.
func (w *watcher) Ready() <-chan struct{} { return w.ready }

// Run looks until the context ends.
func (w *watcher) Run(ctx context.Context) error {
	m := w.manager
	w.clocks.begin(time.Now())
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	changes, end := m.interfaces.changes(m.log)
	defer end()
	pause := time.NewTimer(0)
	defer pause.Stop()
	changed := changes
	close(w.ready)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
			changed = changes
			continue
		case <-tick.C:
			w.clocks.compare(time.Now(), m.log, m.dirs)
			for _, one := range m.set.members() {
				one.Progress().WatchDisk()
			}
		case _, more := <-changed:
			if !more { // every second has to do
				changes = nil
			}
			changed = nil
			pause.Reset(lookPause)
		}
		m.look()
	}
}

// clockStep is the least difference between two clocks that is a step and not
// an adjustment.
const clockStep = 500 * time.Millisecond

// clocks notice when the system's clock is set.
type clocks struct {
	tick time.Time // when they were last compared
	wall time.Time // and what the system's clock said then
}

func (c *clocks) begin(now time.Time) { c.tick, c.wall = now, now.Round(0) }

// compare tells the ledgers when the system's clock was set.
func (c *clocks) compare(now time.Time, log *slog.Logger, dirs *directories) {
	expected := c.wall.Add(now.Sub(c.tick)).Round(0) // the difference is a monotonic one
	if off := now.Round(0).Sub(expected); off > clockStep || off < -clockStep {
		log.Warn("the system clock was set", "by", off.String())
		dirs.note(ledger.ClockSet(expected, now.Round(0)))
	}
	c.begin(now)
}
