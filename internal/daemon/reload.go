package daemon

import (
	"capd/capture"
	"capd/config"
	"capd/internal/setup"
	"capd/ledger"
	"capd/writer"
	"errors"
	"time"
)

// ErrNotRunning is returned by a Reload before Run or after its end.
var ErrNotRunning = errors.New("not recording")

// A succession is what becomes of the recorders of an interface.
type succession struct {
	old     []*recorder
	next    *config.Interface // nil: it is recorded no more
	heirs   []*recorder       // nil: the old ones go on
	by      *handover         // to the heirs, or to nobody
	renamed bool              // the heirs record it by another name
	down    bool              // the interface is down, and the heirs wait for it
}

// Reload records by another configuration from now on. It is proven first: with
// an error nothing has changed. An interface whose settings are the same, or
// have changed in those only that hold in place, keeps its device and its file;
// the others are handed over without a gap. What only a restart changes is
// logged as a warning.
func (d *Daemon) Reload(next *config.Config) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.life == nil || d.life.Err() != nil {
		return ErrNotRunning
	}
	defer d.release() // of what was opened for nothing, or is not needed now
	if err := d.prove(next); err != nil {
		return err
	}
	plan, err := d.plan(next)
	if err != nil {
		discard(plan)
		return err
	}
	for _, k := range d.config().Changes(next) {
		if k.Effect == config.Restart {
			d.log.Warn("a setting that is another holds from the next start on", "table", k.Table, "key", k.Name)
		}
	}
	d.current.Store(next)
	d.dirs.began(next)
	for _, dir := range d.dirs.unique() {
		dir.finish.change(next) // first: it may keep files from new limits
		dir.keeper.SetPolicy(Policy(next))
	}
	d.mu.Lock()
	d.succeed(plan)
	d.mu.Unlock()
	d.log.Info("the configuration was read again", "digest", next.Digest())
	d.appear(d.life, d.failed)
	return nil
}

// prove returns what is wrong with a configuration for a daemon that runs. It
// opens directories that are new.
func (d *Daemon) prove(next *config.Config) error {
	if len(next.Interfaces) == 0 {
		return setup.ErrNoInterfaces
	}
	if err := next.Validate(); err != nil {
		return err
	}
	if err := d.look(); err != nil {
		return err
	}
	d.follow() // the plan goes by names
	if err := d.missing(next); err != nil {
		return err
	}
	if err := checkFilters(next); err != nil {
		return err
	}
	return d.dirs.add(next)
}

// plan says what becomes of each recorder, and opens the devices of heirs. What
// was planned is returned with an error too.
func (d *Daemon) plan(next *config.Config) ([]*succession, error) {
	d.mu.Lock()
	lanes := make(map[string][]*recorder)
	for _, r := range d.recorders {
		lanes[r.name] = append(lanes[r.name], r)
	}
	d.mu.Unlock()
	var all []*succession
	for name, old := range lanes {
		s := &succession{old: old, next: next.Lookup(name)}
		all = append(all, s)
		if s.next != nil && !reopens(old[0].settings().Changes(s.next)) {
			continue
		}
		if err := s.prepare(d, name); err != nil {
			return all, err
		}
	}
	return all, nil
}

// open makes the heirs, with devices that let nothing in yet.
func (s *succession) open(d *Daemon, name string) error {
	var err error
	d.mu.Lock()
	s.heirs, err = newRecorders(d, name, s.next)
	d.mu.Unlock()
	if err != nil {
		return err
	}
	src := s.heirs[0].source
	src.wanted.Config.Gated = true
	defer func() { src.wanted.Config.Gated = false }()
	for _, r := range s.heirs {
		r.inherit = s.by
		err = r.takeDevice()
		if errors.Is(err, capture.ErrNoInterface) || errors.Is(err, capture.ErrDown) {
			s.down = errors.Is(err, capture.ErrDown)
			return nil // they wait for it
		}
		if err != nil {
			return err
		}
		s.by.devices = append(s.by.devices, r.device)
		s.by.skew = r.device.Skew()
	}
	return nil
}

func reopens(keys []config.Key) bool {
	for _, k := range keys {
		if k.Effect != config.InPlace {
			return true
		}
	}
	return false
}

// succeed puts successions into effect. All who leave do so before heirs come:
// two interfaces may have exchanged their names. The caller holds mu.
func (d *Daemon) succeed(plan []*succession) {
	for _, s := range plan {
		if s.by != nil {
			d.dismiss(s)
			continue
		}
		for _, r := range s.old {
			r.adjust.Store(s.next)
		}
	}
	for _, s := range plan {
		for _, r := range s.heirs {
			d.recorders[r.lane] = r
			d.launch(d.life, r, d.failed)
		}
	}
}

// dismiss has the old recorders leave, in favour of the heirs. The caller holds
// mu.
func (d *Daemon) dismiss(s *succession) {
	for _, r := range s.old {
		if d.recorders[r.lane] != r { // it ended meanwhile
			s.by.arrive()
			s.by.finish(r.lane, writer.End{})
			continue
		}
		delete(d.recorders, r.lane)
		d.leaving[r] = true
		r.leave.Store(s.by)
		r.cancel()
	}
}

// settings returns what the recorder goes by, or will in a moment.
func (r *recorder) settings() *config.Interface {
	if next := r.adjust.Load(); next != nil {
		return next
	}
	return r.cfg
}

// adapt takes over settings that hold in place.
func (r *recorder) adapt() {
	c := r.adjust.Load()
	if c == nil || c == r.adapted {
		return
	}
	r.adapted = c
	r.writer.Adjust(writer.Options{
		RotateSize: int64(c.RotateSize), RotateInterval: time.Duration(c.RotateInterval),
		SyncInterval: time.Duration(c.SyncInterval), FlushInterval: time.Duration(c.FlushInterval), KeepEmpty: c.KeepEmpty,
	})
}

// mayStop joins the handover, if there is one, and reports whether the device
// may be stopped: when the heirs' take what comes.
func (r *recorder) mayStop() bool {
	h := r.leave.Load()
	if h == nil {
		return true
	}
	r.join(h)
	select {
	case <-h.admitted:
		return true
	default:
		return false
	}
}

// join begins to note what is read.
func (r *recorder) join(h *handover) {
	if r.notes == nil {
		r.notes = h
		h.arrive()
	}
}

// depart ends the recorder's part in a handover, if there is one.
func (r *recorder) depart() {
	h := r.leave.Load()
	if h == nil || r.departed {
		return
	}
	r.departed = true
	r.join(h)
	if h.renamed {
		r.writer.Rotate(ledger.ReasonLink)
	}
	h.finish(r.lane, r.writer.End())
}
