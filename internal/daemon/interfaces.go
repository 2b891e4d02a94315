package daemon

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
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

// lookEvery is how often the list of interfaces is read without a notification
// of a change: notifications may be lost, and some systems send none.
const lookEvery = time.Second

// lookPause is the least time between two looks, since an interface that flaps
// causes notifications without end.
const lookPause = 20 * time.Millisecond

// A System provides interfaces. It may also have these methods:
//
//	Speed(name string) int    // see capture.Speed
//	Changes() <-chan struct{} // receives a value when interfaces have changed
type System interface {
	Interfaces() ([]capture.Interface, error)                                       // see capture.Interfaces
	OpenGroup(c capture.Config, n int, s capture.Spread) ([]*capture.Device, error) // see capture.OpenGroup
}

// underneath is the operating system that capd runs on.
type underneath struct{}

func (underneath) Interfaces() ([]capture.Interface, error) { return capture.Interfaces() }

func (underneath) OpenGroup(c capture.Config, n int, s capture.Spread) ([]*capture.Device, error) {
	return capture.OpenGroup(c, n, s)
}

func (underneath) Adopt(c capture.Config, f *os.File, at capture.Position) (*capture.Device, error) {
	return capture.Adopt(c, f, at)
}

func (underneath) Copies() bool { return capture.Copies() }

func (underneath) Speed(name string) int { return capture.Speed(name) }

// links maps names to interfaces, alternative names too.
type links map[string]capture.Interface

func newLinks(all []capture.Interface) links {
	l := make(links, len(all))
	for _, i := range all {
		for _, name := range i.Names() {
			l[name] = i
		}
	}
	return l
}

// others returns the further names of the interface of that name.
func (l links) others(name string) []string {
	link, ok := l[name]
	if !ok {
		return nil
	}
	return slices.DeleteFunc(link.Names(), func(other string) bool { return other == name })
}

// each returns every interface once.
func (l links) each() iter.Seq[capture.Interface] {
	return func(yield func(capture.Interface) bool) {
		for name, link := range l {
			if name == link.Name && !yield(link) {
				return
			}
		}
	}
}

// interfaces keeps the recorders informed about the interfaces of a System.
type interfaces struct {
	system System
	news   *recorder.Links
	log    *slog.Logger

	wanted map[string]*config.Interface // by the newest list and configuration; see wanted
	others map[string]string            // names in the configuration that stand for an interface recorded by another one
}

// look reads the list of interfaces. Only one goroutine at a time may call it.
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

// publish gives the recorders a new list of interfaces, and the names that are
// recorded.
func (i *interfaces) publish(l links, c *config.Config) {
	i.news.Publish(&recorder.Snapshot{ByName: l, Taken: func(names ...string) bool {
		_, in := c.Choose(names...)
		return in != nil
	}})
	others := i.others
	i.wanted, i.others = wanted(c, l)
	for name, by := range i.others {
		if others[name] != by {
			i.log.Warn("two names of one interface are configured: it is recorded once", "interface", by, "not_as", name)
		}
	}
}

// there returns the interfaces as of the last look.
func (i *interfaces) there() links { return i.news.Load().ByName }

// ask returns the present state of the interface with that index, from the
// system.
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

// named reports whether the interface has that name now: the last list may be
// older than the device of a recorder.
func (i *interfaces) named(index int, name string) bool {
	one, ok := i.ask(index)
	return ok && one.Named(name)
}

// changes returns a channel that receives a value when interfaces have changed.
// It is nil if the system sends no notifications.
func (i *interfaces) changes(log *slog.Logger) (changed <-chan struct{}, end func()) {
	if s, ok := i.system.(interface{ Changes() <-chan struct{} }); ok {
		return s.Changes(), func() {}
	}
	w, err := linkwatch.New()
	if err != nil {
		log.Warn("changes of interfaces are noticed after up to a second", "error", err)
		return nil, func() {}
	}
	return w.Changed, func() { _ = w.Close() }
}

// sameLink reports whether an interface is unchanged in all that matters to a
// recorder.
func sameLink(a, b capture.Interface) bool {
	return a.Index == b.Index && a.Name == b.Name && slices.Equal(a.AltNames, b.AltNames) && a.LinkType == b.LinkType && a.MTU == b.MTU && a.Up == b.Up && a.Running == b.Running &&
		bytes.Equal(a.Address, b.Address) && a.XDP == b.XDP
}

// missing returns a setup.MissingError for the first interface that is required
// and does not exist. Those that were recorded before a restart are waited for,
// as they are without a restart.
func missing(c *config.Config, there links, recorded ...string) error {
	for i := range c.Interfaces {
		one := &c.Interfaces[i]
		_, found := capture.Virtual(one.Name)
		if one.Wait {
			continue
		}
		found = found || slices.ContainsFunc(recorded, one.Match)
		for name := range there {
			found = found || one.Match(name)
		}
		if !found {
			return &setup.MissingError{Name: one.Name, There: slices.Sorted(maps.Keys(there))}
		}
	}
	return nil
}

// checkFilters compiles the filters of all interfaces, even of those that do
// not exist yet. If no link type is configured it assumes Ethernet.
func checkFilters(c *config.Config) error {
	for i := range c.Interfaces {
		link := pcap.LinkTypeEthernet
		if v, ok := capture.Virtual(c.Interfaces[i].Name); ok {
			link = v.LinkType
		}
		wanted := setup.For(c.Interfaces[i].Name, &c.Interfaces[i])
		link, err := wanted.LinkType(link)
		if err == nil {
			_, err = setup.Program(wanted.Filter, link)
		}
		if err != nil {
			return fmt.Errorf("interface %s: %w", c.Interfaces[i].Name, err)
		}
	}
	return nil
}

// wanted returns the names to record: of each interface the one that the
// configuration chooses, and those in the configuration that do not exist. It
// also returns the names in the configuration that stand for an interface which
// another name was chosen for, with that one.
func wanted(cfg *config.Config, there links) (all map[string]*config.Interface, others map[string]string) {
	all, others = make(map[string]*config.Interface), make(map[string]string)
	chosen := make(map[string]string)
	for link := range there.each() {
		if name, c := cfg.Choose(link.Names()...); c != nil {
			all[name], chosen[link.Name] = c, name
		}
	}
	for i := range cfg.Interfaces {
		c := &cfg.Interfaces[i]
		if c.Glob() {
			continue
		}
		if link, ok := there[c.Name]; ok && chosen[link.Name] != c.Name {
			others[c.Name] = chosen[link.Name]
			continue
		}
		all[c.Name] = c
	}
	return all, others
}

// A watcher is the task that notices interfaces that appear, disappear and
// change, by notifications of the system and once a second. Once a second it
// also compares the clocks and checks the disks.
type watcher struct {
	manager *manager
	clocks  clocks
	ready   chan struct{}
}

func newWatcher(m *manager) *watcher { return &watcher{manager: m, ready: make(chan struct{})} }

func (w *watcher) String() string { return "watcher of interfaces" }

// Ready is closed once the watcher receives notifications.
func (w *watcher) Ready() <-chan struct{} { return w.ready }

// Run watches until the context ends.
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
			if !more { // no more notifications: only the ticks remain
				changes = nil
			}
			changed = nil
			pause.Reset(lookPause)
		}
		m.look()
	}
}

// clockStep is the least change of the system clock that counts as a step;
// smaller ones are adjustments.
const clockStep = 500 * time.Millisecond

// clocks detect steps of the system clock.
type clocks struct {
	tick time.Time // time of the last comparison, with a monotonic reading
	wall time.Time // the system clock at that time
}

func (c *clocks) begin(now time.Time) { c.tick, c.wall = now, now.Round(0) }

// compare notes in the ledgers that the system clock was set.
func (c *clocks) compare(now time.Time, log *slog.Logger, dirs *directories) {
	expected := c.wall.Add(now.Sub(c.tick)).Round(0) // Sub uses the monotonic clock
	if off := now.Round(0).Sub(expected); off > clockStep || off < -clockStep {
		log.Warn("the system clock was set", "by", off.String())
		dirs.note(ledger.ClockSet(expected, now.Round(0)))
	}
	c.begin(now)
}
