// Package daemon runs one recorder for each interface, and the tasks around
// them.
package daemon

import (
	"bytes"
	"capd/capture"
	"capd/config"
	"capd/internal/linkwatch"
	"capd/internal/setup"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often the list of interfaces is read when no change of one is
// told: news may be lost, and on some systems there is none.
const lookEvery = time.Second

// lookPause is the least time between two looks: an interface that flaps makes
// news without end.
const lookPause = 20 * time.Millisecond

// Options say what to run. Zero values but for Config are defaults.
type Options struct {
	Config      *config.Config
	Application string        // what files name as their author, such as "capd 1.2.0"
	Count       uint64        // stop after this many packets; 0: never
	Duration    time.Duration // stop after this time; 0: never
	Self        []string      // command that compresses a file for finish.Main; empty: do it in this process
	Ready       func()        // told once when every interface is open or waited for; may be nil
	Log         *slog.Logger  // nil: none
	System      System        // with the interfaces; nil: the one underneath
}

// A System has interfaces.
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

// A Daemon records until it is told to stop.
type Daemon struct {
	opt   Options
	log   *slog.Logger
	dirs  *directories
	count *quota
	start time.Time
	tick  time.Time // when the clocks were last compared
	wall  time.Time // and what the system's clock said then
	os    string    // name and release of the operating system

	memory int64 // bytes that capd may have

	links     atomic.Pointer[links]
	looks     atomic.Uint64 // how often links was compared with what there is
	current   atomic.Pointer[config.Config]
	abort     chan struct{} // closed to leave at once
	abortOnce sync.Once
	rates     sampler
	kept      shelf

	changing sync.Mutex      // held while recorders are added or replaced; guards what follows
	life     context.Context // of the recorders; nil before Run
	failed   chan<- error

	mu        sync.Mutex         // guards what follows
	leaving   map[*recorder]bool // that hand over to others
	recorders map[store.Lane]*recorder
	ended     []Status // of recorders that are no more
	running   sync.WaitGroup
}

// links is a list of interfaces by name.
type links map[string]capture.Interface

// New proves that the configuration can be recorded: the directories take
// files and are ours alone, the interfaces are there or may be waited for, and
// those that are there can be opened. Nothing is recorded before Run.
func New(opt Options) (*Daemon, error) {
	d := &Daemon{
		opt: opt, log: opt.Log, start: time.Now(),
		count: newQuota(opt.Count), os: system(), memory: memory(), recorders: make(map[store.Lane]*recorder),
		leaving: make(map[*recorder]bool), abort: make(chan struct{}),
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.opt.System == nil {
		d.opt.System = underneath{}
	}
	d.current.Store(opt.Config)
	if len(opt.Config.Interfaces) == 0 {
		return nil, setup.ErrNoInterfaces
	}
	if err := d.look(); err != nil {
		return nil, err
	}
	if err := d.missing(opt.Config); err != nil {
		return nil, err
	}
	if err := checkFilters(d.config()); err != nil {
		return nil, err
	}
	var err error
	if d.dirs, err = openDirectories(d.config(), &d.opt, d.log); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		d.dirs.close(context.Background())
		return nil, err
	}
	d.dirs.began(d.config())
	return d, nil
}

// config returns the configuration that holds.
func (d *Daemon) config() *config.Config { return d.current.Load() }

// system names the operating system, with its release where that is easy.
func system() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(runtime.GOOS + " " + string(release))
}

// look reads the list of interfaces.
func (d *Daemon) look() error {
	all, err := d.opt.System.Interfaces()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	l := newLinks(all)
	if old := d.links.Load(); old == nil || !maps.EqualFunc(*old, l, sameLink) {
		d.links.Store(&l)
	}
	d.looks.Add(1)
	return nil
}

func newLinks(all []capture.Interface) links {
	l := make(links, len(all))
	for _, i := range all {
		l[i.Name] = i
	}
	return l
}

// sameLink reports whether an interface is what it was, for a recorder.
func sameLink(a, b capture.Interface) bool {
	return a.Index == b.Index && a.LinkType == b.LinkType && a.MTU == b.MTU && a.Up == b.Up && a.Running == b.Running &&
		bytes.Equal(a.Address, b.Address)
}

// missing returns a setup.MissingError for the first interface that is not there and
// must be.
func (d *Daemon) missing(c *config.Config) error {
	l := *d.links.Load()
	for i := range c.Interfaces {
		one := &c.Interfaces[i]
		if one.Wait || one.Name == capture.Any {
			continue
		}
		found := false
		for name := range l {
			found = found || one.Match(name)
		}
		if !found {
			return &setup.MissingError{Name: one.Name, There: slices.Sorted(l.names())}
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

// find returns the interface of that index, or if it is 0 of that name.
func (l links) find(name string, index int) (capture.Interface, bool) {
	if index == 0 {
		link, ok := l[name]
		return link, ok
	}
	for _, link := range l {
		if link.Index == index {
			return link, true
		}
	}
	return capture.Interface{}, false
}

func (l links) names() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name := range l {
			if !yield(name) {
				return
			}
		}
	}
}

// prepare makes the recorders of today and opens the interfaces that are there.
func (d *Daemon) prepare() error {
	for name, c := range d.wanted() {
		d.mu.Lock()
		lanes, err := newRecorders(d, name, c)
		d.mu.Unlock()
		for _, r := range lanes {
			d.recorders[r.lane] = r
			if err == nil {
				err = r.open()
			}
		}
		if err != nil && !errors.Is(err, capture.ErrNoInterface) && !errors.Is(err, capture.ErrDown) {
			for _, r := range d.recorders {
				r.discard()
			}
			return err
		}
	}
	return nil
}

// wanted returns the names to record now: those in the configuration, there or
// not, and those that a glob takes.
func (d *Daemon) wanted() map[string]*config.Interface { return wanted(d.config(), *d.links.Load()) }

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

// clockStep is the least difference between two clocks that is a step and not
// an adjustment.
const clockStep = 500 * time.Millisecond

// compareClocks tells the ledgers when the system's clock was set.
func (d *Daemon) compareClocks() {
	now := time.Now()
	expected := d.wall.Add(now.Sub(d.tick)).Round(0) // the difference is a monotonic one
	if off := now.Round(0).Sub(expected); off > clockStep || off < -clockStep {
		d.log.Warn("the system clock was set", "by", off.String())
		d.dirs.note(ledger.ClockSet(expected, now.Round(0)))
	}
	d.tick, d.wall = now, now.Round(0)
}

// Run records until the context ends, the count or the duration is reached.
// Then it finishes all files, within the configuration's stop timeout; what is
// not finished by then stays partial, and is an error.
func (d *Daemon) Run(ctx context.Context) error {
	defer func() {
		stop, cancel := d.deadline()
		defer cancel()
		d.dirs.close(stop)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if d.opt.Duration > 0 {
		ctx, cancel = context.WithTimeout(ctx, d.opt.Duration)
		defer cancel()
	}
	keep, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	d.dirs.retain(keep)
	d.running.Go(func() { d.rates.run(ctx, d.sample) })
	failed := make(chan error, 1)
	d.changing.Lock()
	d.life, d.failed = ctx, failed
	d.changing.Unlock()
	d.mu.Lock()
	for _, r := range d.recorders {
		d.launch(ctx, r, failed)
	}
	d.mu.Unlock()
	if d.opt.Ready != nil {
		d.opt.Ready()
	}
	d.watch(ctx, failed)
	cancel()
	d.reloaded()
	d.running.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// reloaded waits for a Reload that is under way: it has started its last.
func (d *Daemon) reloaded() {
	d.changing.Lock()
	defer d.changing.Unlock()
}

// deadline returns a context that ends after the configured seconds, or at once
// after an abort.
func (d *Daemon) deadline() (context.Context, context.CancelFunc) {
	stop, cancel := context.WithTimeout(context.Background(), time.Duration(d.config().StopTimeout))
	go func() {
		select {
		case <-d.abort:
			cancel()
		case <-stop.Done():
		}
	}()
	return stop, cancel
}

// launch starts a recorder. The caller holds mu.
func (d *Daemon) launch(ctx context.Context, r *recorder, failed chan<- error) {
	ctx, r.cancel = context.WithCancel(ctx)
	d.running.Go(func() {
		defer r.cancel()
		if err := r.run(ctx); err != nil {
			select {
			case failed <- err:
			default:
			}
		}
		d.retire(r)
		d.shed()
	})
}

// retire keeps what is known of a recorder that ended.
func (d *Daemon) retire(r *recorder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.depart() // it may have been told to when it had ended
	r.dir.remember(r)
	d.ended = merge(append(d.ended, r.status()))
	delete(d.leaving, r)
	if d.recorders[r.lane] == r {
		delete(d.recorders, r.lane)
	}
	d.forget()
}

// shed is release for those who are not about to change anything.
func (d *Daemon) shed() {
	d.changing.Lock()
	defer d.changing.Unlock()
	d.release()
}

// release lets go of directories that nothing records into any more. The caller
// holds changing.
func (d *Daemon) release() {
	used := make(map[*directory]bool)
	for i := range d.config().Interfaces {
		used[d.dirs.at(d.config().Interfaces[i].Directory)] = true
	}
	d.mu.Lock()
	for _, r := range d.recorders {
		used[r.dir] = true
	}
	for r := range d.leaving {
		used[r.dir] = true
	}
	d.mu.Unlock()
	d.dirs.shed(func(dir *directory) bool { return used[dir] })
}

// watch looks for interfaces that come, go and change, until the end: when the
// system tells of a change, and every second.
func (d *Daemon) watch(ctx context.Context, failed chan<- error) {
	d.tick = time.Now()
	d.wall = d.tick.Round(0)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	news, closeNews := d.news()
	defer closeNews()
	pause := time.NewTimer(0)
	defer pause.Stop()
	changed := news
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.count.reached:
			return
		case <-d.abort:
			return
		case <-pause.C:
			changed = news
			continue
		case <-tick.C:
			d.compareClocks()
			d.reportStalls()
		case _, more := <-changed:
			if !more { // every second has to do
				news = nil
			}
			changed = nil
			pause.Reset(lookPause)
		}
		d.changing.Lock()
		if err := d.look(); err != nil {
			d.log.Error("can't look for interfaces", "error", err)
		} else {
			d.appear(ctx, failed)
		}
		d.changing.Unlock()
	}
}

// news tells of changes of interfaces. Where the system does not, it never does.
func (d *Daemon) news() (changed <-chan struct{}, end func()) {
	w, err := linkwatch.New()
	if err != nil {
		d.log.Warn("changes of interfaces are seen within a second, and not at once", "error", err)
		return nil, func() {}
	}
	return w.Changed, func() { _ = w.Close() }
}

// appear starts recorders of interfaces that are new, or have a new name.
func (d *Daemon) appear(ctx context.Context, failed chan<- error) {
	d.follow()
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, c := range d.wanted() {
		if d.recorded(name, (*d.links.Load())[name].Index) {
			continue
		}
		lanes, err := newRecorders(d, name, c)
		if err != nil {
			d.log.Error("can't record", "interface", name, "error", err)
		}
		for _, r := range lanes {
			d.recorders[r.lane] = r
			d.launch(ctx, r, failed)
		}
	}
}

// recorded reports whether the interface has a recorder, be it by the name that
// it had before. The caller holds mu.
func (d *Daemon) recorded(name string, index int) bool {
	for lane, r := range d.recorders {
		if lane.Interface == name || index != 0 && int(r.index.Load()) == index {
			return true
		}
	}
	return false
}

// Rotate ends all current files; the next begin with the next packet.
func (d *Daemon) Rotate() { _, _ = d.rotate("") }

// Abort makes Run return at once, whatever the disk does. Files stay partial.
func (d *Daemon) Abort() { d.abortOnce.Do(func() { close(d.abort) }) }

// A quota is a number of packets that recorders share.
type quota struct {
	left    atomic.Int64
	limited bool
	reached chan struct{}
}

func newQuota(n uint64) *quota {
	q := &quota{limited: n > 0, reached: make(chan struct{})}
	q.left.Store(int64(min(n, 1<<62)))
	return q
}

// take returns how many of n packets may be recorded.
func (q *quota) take(n int) int {
	if !q.limited {
		return n
	}
	left := q.left.Add(-int64(n))
	if left > 0 {
		return n
	}
	if left+int64(n) > 0 {
		close(q.reached) // only the one that crosses zero comes here
	}
	return int(max(0, left+int64(n)))
}
