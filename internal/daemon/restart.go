package daemon

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/internal/recorder"
	"capd/internal/restart"
	"capd/ledger"
	"capd/store"
	"capd/writer"
)

// Restart says how recorders outlive the process.
type Restart struct {
	Keeper  restart.Keeper           // where they leave their descriptors; nil: nowhere
	Leave   *atomic.Bool             // set before the end of Run's context if they are to leave their rings; nil: they always do
	States  []*restart.State         // what those of the process before have left
	Seen    map[string]*restart.Seen // by group of the recorders that took over
	Refused []restart.Refusal        // what of it can't be used
	Counts  bool                     // what they have recorded counts for Options.Count
}

// leaves reports whether rings wait for the next process.
func (r *Restart) leaves() bool { return r.Keeper != nil && (r.Leave == nil || r.Leave.Load()) }

// Directories returns those into which the recorders of the process before
// record.
func (r *Restart) Directories() []string {
	var all []string
	for _, s := range r.States {
		all = append(all, s.Settings.Directory)
	}
	return all
}

// An inheritance is what the recorders of the process before have left. A nil
// inheritance is empty.
type inheritance struct {
	groups  []*group // those that take over from others come after them
	seen    map[string]*restart.Seen
	refused []restart.Refusal
	lost    map[string]bool     // interfaces of which some lane does not go on
	lines   []line              // for the ledgers, once the run has begun
	dirs    map[*directory]bool // whether all recorders of the directory go on
}

// A group is the recorders of one interface that go on.
type group struct {
	name     string
	states   []*restart.State // in the order of the lanes
	before   *group           // from which they take over; nil if that is over
	after    *group           // which takes over from them
	takeover *recorder.Takeover
	members  []*member
}

// settings returns those by which the group records.
func (g *group) settings() *config.Interface { return g.states[0].Settings }

// A line of a ledger; with no directory it is for all.
type line struct {
	dir   *directory
	entry ledger.Entry
}

func (i *inheritance) note(dir *directory, e ledger.Entry) { i.lines = append(i.lines, line{dir, e}) }

// inherit sorts what the process before has left.
func inherit(r *Restart) *inheritance {
	if len(r.States)+len(r.Refused) == 0 {
		return nil
	}
	i := &inheritance{seen: r.Seen, refused: r.Refused, lost: make(map[string]bool), dirs: make(map[*directory]bool)}
	byName := make(map[string]*group)
	for _, s := range r.States {
		g := byName[s.Group()]
		if g == nil {
			g = &group{name: s.Lane.Interface}
			byName[s.Group()] = g
			i.groups = append(i.groups, g)
		}
		g.states = append(g.states, s)
	}
	for _, g := range i.groups {
		slices.SortFunc(g.states, func(a, b *restart.State) int { return a.Lane.Number - b.Lane.Number })
		if g.before = byName[g.follows()]; g.before != nil {
			g.before.after = g
		}
	}
	i.groups = slices.DeleteFunc(i.groups, func(g *group) bool {
		if g.before == nil || g.ringed() {
			return false
		}
		g.before.stays() // the group had not begun to record
		g.forget()
		return true
	})
	// Those that have a ring come first: another one could open the interface, which may have its name
	// now.
	slices.SortStableFunc(i.groups, func(a, b *group) int {
		return cmp.Or(a.rank()-b.rank(), a.depth()-b.depth())
	})
	i.one()
	return i
}

// one makes one group of each interface go on: of others, what they have left is to be
// finished.
func (i *inheritance) one() {
	known, goesOn := make(map[string]bool), make(map[string]bool)
	for _, g := range i.groups {
		if g.leaves() {
			known[g.name] = true
			continue
		}
		if goesOn[g.name] || known[g.name] && g.rank() > 0 {
			for _, s := range g.states {
				s.Ends()
			}
		}
		known[g.name] = true
		goesOn[g.name] = goesOn[g.name] || !g.leaves()
	}
	for _, g := range i.groups {
		if g.after == nil && g.leaves() && !goesOn[g.name] && g.rank() == 0 {
			g.stays() // until the configuration is compared
			goesOn[g.name] = !g.leaves()
		}
	}
}

// follows returns the group that this one takes over from; empty if that is
// over.
func (g *group) follows() string {
	for _, s := range g.states {
		if f := s.Follows(); f != "" {
			return f
		}
	}
	return ""
}

// leaves reports whether others take over from the group, or have done so, or the
// group is to end.
func (g *group) leaves() bool {
	return g.after != nil || !slices.ContainsFunc(g.states, func(s *restart.State) bool { return !s.Spent() && !s.IsLast() })
}

// stays says that no others take over from the group after all.
func (g *group) stays() {
	g.after = nil
	for _, s := range g.states {
		s.Stays()
	}
}

// ringed reports whether all rings of the group are open: before, none of them
// has let a frame in.
func (g *group) ringed() bool {
	return !slices.ContainsFunc(g.states, func(s *restart.State) bool { return s.Ring == nil })
}

// rank is 0 if a recorder of the group has a ring, or if a takeover says when the
// group comes; else it is 1.
func (g *group) rank() int {
	if g.before != nil || g.after != nil || slices.ContainsFunc(g.states, (*restart.State).HadRing) {
		return 0
	}
	return 1
}

// depth returns from how many groups, one after the other, this one takes over.
func (g *group) depth() (n int) {
	for b := g.before; b != nil && n < len(b.states)+100; b = b.before {
		n++
	}
	return n
}

func (g *group) forget() {
	for _, s := range g.states {
		s.Forget()
		s.Close()
	}
}

// has reports whether recorders of the interface go on.
func (i *inheritance) has(name string) bool {
	return i != nil && slices.ContainsFunc(i.groups, func(g *group) bool { return g.name == name && !g.leaves() })
}

// broken reports whether only some of the interface's recorders go on.
func (i *inheritance) broken(name string) bool { return i != nil && i.lost[name] }

// names returns the interfaces of which recorders go on.
func (i *inheritance) names() (all []string) {
	if i != nil {
		for _, g := range i.groups {
			all = append(all, g.name)
		}
	}
	return all
}

// openDirectories opens the directories of the recorders that go on. They may be
// others than those of the configuration: recorders whose directory can't be
// opened do not go on.
func (i *inheritance) openDirectories(open func(*config.Config) error) {
	if i == nil {
		return
	}
	i.groups = slices.DeleteFunc(i.groups, func(g *group) bool {
		err := open(&config.Config{Interfaces: []config.Interface{*g.settings()}})
		if err == nil {
			return false
		}
		if g.before != nil {
			g.before.stays()
		}
		if g.after != nil {
			g.after.before = nil
		}
		for _, s := range g.states {
			i.refused = append(i.refused, restart.Refusal{Lane: s.Lane, Err: err})
		}
		g.forget()
		return true
	})
}

// laneOf returns the lane with that index, from 0, of an interface.
func laneOf(name string, i int, c *config.Interface) store.Lane {
	lane := store.Lane{Interface: name}
	if c.Fanout > 1 {
		lane.Number = i + 1
	}
	return lane
}

// newStates makes the states of new recorders, one for each lane; nil for those
// that can leave none. The frames that old recorders record meanwhile are
// remembered.
func (m *manager) newStates(name string, c *config.Interface, pool int64, old []*member) (states []*restart.State, seen *restart.Seen) {
	states = make([]*restart.State, c.Fanout)
	if m.keeper == nil {
		return states, nil
	}
	own, follows := restart.NewGroup(), ""
	number := max(int(pool/int64(c.ChunkSize)), 2)
	if copies(m.interfaces.system) {
		number = 0 // it goes on after an end in order only, when no takeover is in progress
	} else if len(old) > 0 && old[0].state != nil {
		follows = old[0].state.Group()
	}
	for i := range states {
		var err error
		states[i], err = restart.New(m.keeper, laneOf(name, i, c), c, number, own, follows)
		if err == nil && follows != "" && seen == nil {
			seen, err = restart.NewSeen(m.keeper, own)
		}
		if err != nil && !errors.Is(err, errors.ErrUnsupported) {
			m.log.Warn("a restart of capd will cost frames of the interface", "interface", name, "error", err)
		}
	}
	return states, seen
}

// rest prepares the end of the recorders, if rings of them outlive the process:
// no ring is read from then on until the next process has begun. It ends the
// steps on finished files and waits until little is left for the disk to do, all
// within the stop timeout.
func (m *manager) rest() {
	outlives := func(one *member) bool { return one.state != nil && one.state.HadRing() }
	if !slices.ContainsFunc(m.set.members(), outlives) {
		return
	}
	stop, cancel := m.stop.deadline()
	defer cancel()
	m.dirs.rest(stop)
	until(stop, func() bool {
		return !slices.ContainsFunc(m.set.members(), func(one *member) bool { return outlives(one) && one.busy() })
	})
	m.syncFiles(stop)
}

// syncFiles syncs the current files while frames are still recorded: little is left for the sync at the end.
func (m *manager) syncFiles(stop context.Context) {
	synced := make(map[*member]*atomic.Bool)
	for _, one := range m.set.members() {
		done := new(atomic.Bool)
		synced[one] = done
		one.Sync(func() { done.Store(true) })
	}
	until(stop, func() bool {
		return !slices.ContainsFunc(m.set.members(), func(one *member) bool {
			done := synced[one]
			return done != nil && !done.Load() && one.Status().State == recorder.Recording
		})
	})
}

// until returns when the condition holds, or the context ends.
func until(ctx context.Context, holds func() bool) {
	tick := time.NewTicker(restLook)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// restLook is the time between two looks of rest.
const restLook = 10 * time.Millisecond

// busy reports whether a recorder that were to end now would wait for the disk.
func (m *member) busy() bool {
	s := m.Status()
	unfinished := m.Sequence() - m.EndedSequence()
	if s.Writer.File != "" {
		unfinished--
	}
	return isBusy(&s, m.EndedSequence() > 0 && unfinished > 0)
}

// isBusy reports whether much of what was captured is not on the disk. Files are
// unfinished besides the current one.
func isBusy(s *recorder.Status, unfinished bool) bool {
	const some = 3 // chunks that are in use where the disk keeps up
	return s.State == recorder.Recording && (unfinished || s.Writer.Chunks-s.Writer.FreeChunks > some || s.RingFilled > s.RingBlocks/8)
}

// copies reports whether the system's frames are copied from the kernel: those that were read end with the process.
func copies(s System) bool {
	one, ok := s.(interface{ Copies() bool })
	return ok && one.Copies()
}

func journalOf(s *restart.State) *writer.Journal {
	if s == nil || s.Number() == 0 {
		return nil
	}
	return s.Journal()
}

// keep stores what the recorder leaves, if it can leave anything.
func (m *member) keep(log *slog.Logger) {
	if m.state == nil {
		return
	}
	var memory *os.File
	var err error
	if m.state.Number() > 0 {
		memory, err = m.Memory()
	}
	if err == nil && (memory != nil || m.state.Number() == 0) {
		err = m.state.Keep(memory)
		if memory != nil {
			_ = memory.Close()
		}
	}
	if err != nil {
		log.Warn("a restart of capd will cost frames of the interface", "interface", m.name(), "error", err)
	}
}

// resume makes the recorders that go on where those of the process before have
// ended, by the settings of these.
func (m *manager) resume() {
	if m.inherited == nil {
		return
	}
	for _, r := range m.inherited.refused {
		m.log.Error("a recorder of the process before can't go on", "interface", r.Lane.Interface, "error", r.Err)
		m.inherited.note(nil, ledger.NotRestarted(r.Lane.Interface, r.Err))
	}
	for _, g := range m.inherited.groups {
		if err := m.resumeGroup(g); err != nil {
			m.inherited.lost[g.name] = true
			dir := m.dirs.at(g.settings().Directory)
			m.inherited.dirs[dir] = false
			m.log.Error("a recorder of the process before can't go on", "interface", g.name, "error", err)
			m.inherited.note(dir, ledger.NotRestarted(g.name, err))
		}
	}
	m.inherited.close()
}

// close notes that there was no time without capd in the directories of which all
// recorders go on.
func (i *inheritance) close() {
	for dir, whole := range i.dirs {
		if whole && len(i.refused) == 0 {
			dir.pause = control.Pause{}
		}
	}
}

// resumeGroup makes the recorders of one group.
func (m *manager) resumeGroup(g *group) error {
	c := g.settings()
	source := newDevices(m.interfaces.system, g.name, c)
	dir := m.dirs.at(c.Directory)
	if len(g.states) < c.Fanout {
		m.inherited.lost[g.name] = true
	}
	follows := g.follows()
	if follows != "" {
		g.takeover = g.takesOver(m)
	}
	over := newOver(g.states, m.inherited.seen[g.states[0].Group()])
	refused := source.adopt(g.states)
	for n, s := range g.states {
		defer s.Close()
		spent := s.Spent()
		pool := int64(s.Number()) * int64(c.ChunkSize)
		if pool == 0 {
			pool = m.poolSize(g.name, c)
		}
		r, err := recorder.New(recorder.Config{
			Lane: s.Lane, Settings: c, Source: laneSource{source, max(s.Lane.Number-1, 0)}, Shared: m.shared,
			Takeover: g.takeover, TookOver: over,
			Pool:     pool,
			Sequence: dir.store.Sequence(s.Lane),
			Note:     func(e ledger.Entry) { dir.ledger.note(e) },
			Digest:   m.digest,
			Observe:  m.observe(),
			Finished: dir.finished,
			Changes:  m.changes.Load,
			Kept:     recorder.Kept{Journal: journalOf(s), Memory: s.Chunks, Until: s.Until(), Lapsed: refused[n] != nil, Spent: spent},
			Log:      m.log,
		})
		if err != nil {
			for _, rest := range g.states[n:] {
				rest.Forget()
			}
			return err
		}
		if !spent {
			m.inherited.noteRestart(dir, r, refused[n], m.log)
		}
		for _, f := range r.Completed() {
			if _, err := os.Lstat(f.Path); err == nil && !dir.history.Files[f.Name.String()] {
				dir.ledger.note(f.Entry())
			}
		}
		one := &member{Recorder: r, lane: s.Lane, dir: dir, pool: pool, settings: c, state: s}
		g.members = append(g.members, one)
		if !g.leaves() {
			m.set.add(one)
		}
		if spent {
			continue
		}
		if err := one.Open(); err != nil && !waits(err) {
			m.log.Error("can't open the interface: trying again", "interface", g.name, "error", err)
		}
	}
	return nil
}

// takesOver returns the takeover with which the group goes on.
func (g *group) takesOver(m *manager) *recorder.Takeover {
	predecessors, snaplen := 0, g.settings().Snaplen
	renamed := false
	if g.before != nil {
		predecessors, snaplen = len(g.before.members), min(snaplen, g.before.settings().Snaplen)
		renamed = g.before.name != g.name
	}
	t := recorder.NewTakeover(predecessors, snaplen, renamed)
	t.Survive(m.inherited.seen[g.states[0].Group()])
	return t
}

// newOver returns what the lanes of a group call when their takeover is over.
func newOver(states []*restart.State, seen *restart.Seen) func() {
	var calls atomic.Int64
	return func() {
		if calls.Add(1) < int64(len(states)) {
			return
		}
		for _, s := range states {
			if s != nil {
				s.TookOver()
			}
		}
		seen.Forget()
	}
}

// part makes the recorders that others take over from leave. The caller holds
// changing.
func (i *inheritance) part(m *manager) {
	if i == nil {
		return
	}
	for _, g := range i.groups {
		if !g.leaves() {
			continue
		}
		to := recorder.NewTakeover(len(g.members), g.settings().Snaplen, false) // by nobody
		if g.after != nil {
			to = g.after.takeover
		}
		for _, one := range g.members {
			ctx, cancel := context.WithCancel(m.life)
			one.cancel = cancel
			cancel()
			one.state.Began()
			m.set.leaves(one)
			one.Leave(to)
			m.tasks.start(ctx, &recording{one, m})
		}
	}
}

// noteRestart notes that a recorder goes on, or why it does not.
func (i *inheritance) noteRestart(dir *directory, r *recorder.Recorder, refused error, log *slog.Logger) {
	lane := r.Lane()
	whole, known := i.dirs[dir]
	i.dirs[dir] = refused == nil && (whole || !known)
	if errors.Is(refused, errNeverOpen) {
		return
	}
	if refused != nil {
		i.lost[lane.Interface] = true
		log.Error("frames are lost: the ring of the process before can't be read", "interface", lane.Interface, "lane", lane.Number, "error", refused)
		i.note(dir, ledger.NotRestarted(lane.Interface, refused))
		return
	}
	until := r.Until()
	log.Info("recording goes on where the process before ended", "interface", lane.Interface, "lane", lane.Number, "ended", until)
	i.note(dir, ledger.Restarted(lane.Interface, until, time.Now()))
}

// Reasons why a recorder does not go on.
var (
	errNoRing     = errors.New("its ring is missing")
	errNeverOpen  = errors.New("the interface was not open")
	errUnfinished = errors.New("it did not end in order, and frames that it had read ended with it")
)

// catchUp brings the recorders that went on to the present configuration, as a
// reload does.
func (m *manager) catchUp() {
	m.changing.Lock()
	defer m.changing.Unlock()
	defer m.change()()
	if m.inherited == nil {
		return
	}
	for _, l := range m.inherited.lines {
		if l.dir == nil {
			m.dirs.note(l.entry)
		} else {
			l.dir.ledger.note(l.entry)
		}
	}
	if m.life.Err() != nil {
		m.inherited = nil
		return
	}
	if err := m.interfaces.look(m.config.Load()); err != nil {
		m.log.Error("can't list the interfaces", "error", err)
	}
	m.follow() // plan looks recorders up by name
	plan, err := m.plan(m.config.Load())
	m.inherited = nil
	if err != nil {
		discard(plan)
		m.log.Error("recording goes on by the settings before the restart", "error", err)
		return
	}
	m.replace(plan)
	m.release()
}
