package daemon

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"capd/capture"
	"capd/config"
	"capd/internal/finish"
	"capd/internal/live"
	"capd/internal/recorder"
	"capd/internal/restart"
	"capd/pcap"
	"capd/writer"
)

// outliving is what recorders leave to the next process, and have from the one
// before.
type outliving struct {
	keeper    restart.Keeper // nil: nothing is left
	inherited *inheritance   // until catchUp
}

// A manager starts, replaces and ends recorders as the configuration and the
// interfaces require.
type manager struct {
	log        *slog.Logger
	config     *atomic.Pointer[config.Config] // the configuration in effect
	interfaces *interfaces
	dirs       *directories
	shared     *recorder.Shared
	set        *set
	tasks      *tasks
	stop       *stop
	rates      *sampler
	memory     int64 // bytes that capd may use
	rows       *live.Memory
	digester   *writer.Digester
	restarts   bool      // see Options
	start      time.Time // of the daemon

	outliving

	changes  atomic.Bool     // recorders are being replaced
	changing sync.Mutex      // held while recorders are added or replaced; guards what follows
	life     context.Context // context of the recorders; nil before begin
}

// newMembers makes the recorders of an interface, one for each lane. They take
// over from old ones, if there are any. With an error it returns those that were
// made before it.
func (m *manager) newMembers(name string, c *config.Interface, t *recorder.Takeover, old []*member) ([]*member, error) {
	source := newDevices(m.interfaces.system, name, c)
	pool := m.poolSize(name, c)
	dir := m.dirs.at(c.Directory)
	lanes := make([]*member, 0, c.Fanout)
	states, seen := m.newStates(name, c, pool, old)
	if t != nil {
		t.Survive(seen)
	}
	over := newOver(states, seen)
	source.states = states
	for i := range c.Fanout {
		lane := laneOf(name, i, c)
		sequence := dir.store.Sequence(lane)
		if before := m.set.at(lane); before != nil && before.dir == dir {
			sequence = max(sequence, before.Sequence()) // of a predecessor that still runs
		}
		r, err := recorder.New(recorder.Config{
			Lane: lane, Settings: c, Source: laneSource{source, i}, Shared: m.shared, Takeover: t, TookOver: over, Pool: pool,
			Sequence: sequence,
			Here:     dir.lock.Here,
			Note:     dir.ledger.record,
			Digest:   m.digest,
			Observe:  m.observe(),
			Finished: dir.finished,
			Kept:     recorder.Kept{Journal: journalOf(states[i])},
			Changes:  m.changes.Load,
			Log:      m.log,
		})
		if err != nil {
			return lanes, err
		}
		one := &member{Recorder: r, lane: lane, dir: dir, pool: pool, settings: c, state: states[i], seen: seen}
		one.keep(m.log)
		lanes = append(lanes, one)
	}
	return lanes, nil
}

// observe returns what makes the rows of flow tables while one recorder records.
func (m *manager) observe() func(pcap.Header, []byte) writer.Observer {
	lane := live.NewLane(m.rows)
	return func(h pcap.Header, begin []byte) writer.Observer {
		if !m.config.Load().Index.Enabled {
			return nil
		}
		return lane.Observe(h, begin)
	}
}

// digest returns who digests a new file while it is recorded; nil: nobody.
func (m *manager) digest() *writer.Digester {
	if !m.config.Load().Seal.Enabled {
		return nil
	}
	return m.digester
}

// finished passes a file that has ended to the ledger, to retention and to the
// steps.
func (d *directory) finished(f writer.File) {
	d.ledger.record(f.Entry())
	d.digested(f)
	if f.Err != nil {
		finish.Drop(&f)
		d.keeper.Wake() // the disk may be full, and limits may free space
		return
	}
	d.store.Add(f.Name, f.Size)
	d.finish.add(f)
}

// prepare makes the recorders for the present interfaces and opens those that
// exist.
func (m *manager) prepare() error {
	m.resume()
	var all []*member
	var err error
	for _, name := range slices.Sorted(maps.Keys(m.interfaces.wanted)) {
		if m.inherited.has(name) {
			continue
		}
		var lanes []*member
		lanes, err = m.newMembers(name, m.interfaces.wanted[name], nil, nil)
		for _, one := range lanes {
			m.set.add(one)
		}
		all = append(all, lanes...)
		if err != nil {
			break
		}
	}
	if err == nil {
		err = together(len(all), func(i int) error {
			if err := all[i].Open(); !waits(err) {
				return err
			}
			return nil
		})
	}
	if err != nil {
		for _, one := range all {
			one.discard()
		}
	}
	return err
}

// opening is how many interfaces are opened at a time. The kernel takes some
// 20 ms to open one, in which it waits for all processors to leave what they do.
// Those who ask at the same time wait together.
const opening = 64

// together calls do for the numbers below n, several at a time, and returns the
// error of the lowest number.
func together(n int, do func(i int) error) error {
	errs := make([]error, n)
	turn := make(chan struct{}, opening)
	var running sync.WaitGroup
	for i := range n {
		turn <- struct{}{}
		running.Go(func() {
			errs[i] = do(i)
			<-turn
		})
	}
	running.Wait()
	return cmp.Or(errs...)
}

// waits reports whether the error is one that a recorder waits out.
func waits(err error) bool {
	return errors.Is(err, capture.ErrNoInterface) || errors.Is(err, capture.ErrDown) || errors.Is(err, recorder.ErrHeld)
}

// begin starts the recorders. They run until the context ends.
func (m *manager) begin(ctx context.Context) {
	m.changing.Lock()
	defer m.changing.Unlock()
	m.life = ctx
	m.inherited.part(m)
	for _, one := range m.set.members() {
		m.launch(one)
		one.state.Began()
	}
}

// change says that recorders may be replaced from now on, until the function that
// it returns is called. Recorders do not leave their rings to the next process
// meanwhile: successors would have frames of the same time. The caller holds
// changing, and replaces none once life is over.
func (m *manager) change() (end func()) {
	m.changes.Store(true)
	return func() { m.changes.Store(false) }
}

// settled waits until a change in progress has started its last recorder.
func (m *manager) settled() {
	m.changing.Lock()
	defer m.changing.Unlock()
}

// launch starts a recorder. The caller holds changing.
func (m *manager) launch(one *member) {
	ctx, cancel := context.WithCancel(m.life)
	one.cancel = cancel
	one.state.Reads()
	m.set.add(one)
	m.tasks.start(ctx, &recording{one, m})
}

// recording is the task that runs a recorder.
type recording struct {
	*member
	manager *manager
}

// Run records until the context ends, and then finishes the files within the
// stop timeout.
func (r *recording) Run(ctx context.Context) error {
	defer r.cancel()
	defer r.manager.stop.enforce(ctx, r.GiveUp)()
	err := r.Recorder.Run(ctx)
	if r.state != nil && r.state.Number() == 0 && err == nil {
		r.state.Ended(r.Ended(), r.Status().Writer.Accepted)
	}
	r.retire()
	// With an error, frames wait in memory for the disk: the next process may have better luck.
	if err == nil && (r.manager.life.Err() == nil || r.Left() || r.state != nil && r.state.Spent()) {
		r.state.Forget()
	}
	return err
}

// retire keeps the last status of a recorder that has ended, and releases its
// directory if no other recorder uses it.
func (r *recording) retire() {
	m := r.manager
	r.dir.remember(r.lane, r.Sequence())
	forgotten := m.set.retire(r.member, r.Status())
	m.rates.forget(forgotten)
	m.dirs.listed.forget(forgotten)
	m.changing.Lock()
	defer m.changing.Unlock()
	m.release()
}

// release closes directories that nothing records into any more. The caller
// holds changing.
func (m *manager) release() {
	used := m.set.directories()
	c := m.config.Load()
	for i := range c.Interfaces {
		used[m.dirs.at(c.Interfaces[i].Directory)] = true
	}
	m.dirs.shed(func(dir *directory) bool { return used[dir] })
}

// look reads the list of interfaces, and records those that are new or renamed.
func (m *manager) look() {
	m.changing.Lock()
	defer m.changing.Unlock()
	defer m.change()()
	if m.life != nil && m.life.Err() != nil {
		return
	}
	if err := m.interfaces.look(m.config.Load()); err != nil {
		m.log.Error("can't list the interfaces", "error", err)
		return
	}
	m.appear()
}

// appear starts recorders of interfaces that are new or renamed. The caller
// holds changing.
func (m *manager) appear() {
	m.follow()
	there, recorded := m.interfaces.there(), m.set.recorded()
	if m.life != nil && m.life.Err() != nil {
		return // recorders that are missing may have ended with life
	}
	for name, c := range m.interfaces.wanted {
		if recorded.names[name] || recorded.indexes[there[name].Index] {
			continue
		}
		lanes, err := m.newMembers(name, c, nil, nil)
		if err != nil {
			m.log.Error("can't record", "interface", name, "error", err)
		}
		for _, one := range lanes {
			m.launch(one)
		}
	}
}
