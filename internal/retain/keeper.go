package retain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"capd/store"
)

// Defaults of an Options' zero values.
const (
	DefaultInterval = 5 * time.Second
	DefaultRetry    = 5 * time.Minute
	DefaultStep     = 256 << 20
	DefaultPause    = 100 * time.Millisecond
)

// Options say how to keep a directory. Zero values are defaults.
type Options struct {
	Directory *store.Directory
	Policy    Policy
	Space     func() (store.Space, error) // of the file system; nil: no limit looks at it
	Deleted   func(Deletion, error)       // told of each deletion, and of what failed; may be nil
	Log       *slog.Logger                // may be nil

	// Steps returns Pending and KeepUntil of a finished file. The Directory is
	// locked meanwhile. Nil: no file has to wait for a step.
	Steps func(*store.File) (pending, keepUntil string)

	// Yields is called when limits begin to yield to a step, with the time, and
	// when they yield to it no more, with both times. May be nil.
	Yields func(y Yield, begin, end time.Time)

	Interval time.Duration // between looks at the clock and the file system
	Retry    time.Duration // after which a file is tried again that could not be deleted
	Step     int64         // bytes of a large file that go at once
	Pause    time.Duration // between such steps, in which the disk writes
}

// A Keeper keeps a directory within its limits. Files that are being written
// count with the size that they had at the last look.
type Keeper struct {
	opt   Options
	dir   *store.Directory
	wake  chan struct{}
	clock clock

	// Only Run touches these.
	settled  time.Time                // until then the file system may not tell what was freed
	planning time.Duration            // that the last plan took
	failed   map[store.Name]time.Time // files that could not be deleted, and when to try again
	spaceErr bool
	yields   map[string]yielding // by step

	mu    sync.Mutex // guards what follows
	stats Stats      // but for what the directory knows
}

// Stats say what a Keeper has and did.
type Stats struct {
	Files        int   // finished files
	Bytes        int64 // of all files
	Held         int   // files that may not be deleted
	Deleted      uint64
	DeletedBytes int64
	Failures     uint64 // deletions that failed, and entries that could not be read
	Space        store.Space
	Floor        bool           // limits want files gone that the floor keeps
	Pending      map[string]int // files by the first step that has not succeeded for them
	Yields       []Yield
}

// A yielding is a Yield since a time.
type yielding struct {
	Yield
	since time.Time
}

// New makes a Keeper.
func New(opt Options) *Keeper {
	if opt.Interval == 0 {
		opt.Interval = DefaultInterval
	}
	if opt.Retry == 0 {
		opt.Retry = DefaultRetry
	}
	if opt.Step == 0 {
		opt.Step = DefaultStep
	}
	if opt.Pause == 0 {
		opt.Pause = DefaultPause
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{
		opt: opt, dir: opt.Directory, wake: make(chan struct{}, 1),
		failed: make(map[store.Name]time.Time), yields: make(map[string]yielding),
	}
}

// SetPolicy changes what is kept, from now on.
func (k *Keeper) SetPolicy(p Policy) {
	k.mu.Lock()
	k.opt.Policy = p
	k.mu.Unlock()
	k.Wake()
}

func (k *Keeper) policy() Policy {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.opt.Policy
}

// Wake makes Run look now, as when the disk was found full.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run keeps the limits until the context ends. It looks at the files at each
// interval, when the directory changes, and when it is woken.
func (k *Keeper) Run(ctx context.Context) {
	look := time.NewTicker(k.opt.Interval)
	defer look.Stop()
	for ctx.Err() == nil {
		changed := k.dir.Changed()
		k.dir.Measure()
		k.finishDeletions(ctx)
		k.look(ctx)
		k.rest(ctx)
		select {
		case <-ctx.Done():
		case <-look.C:
		case <-k.wake:
		case <-changed:
		}
	}
}

// look deletes until all limits hold.
func (k *Keeper) look(ctx context.Context) {
	for ctx.Err() == nil && !k.pass(ctx) {
	}
}

// rest leaves nine tenths of a processor to others: a plan goes through all files,
// which may be very many, and files may end several times a second.
func (k *Keeper) rest(ctx context.Context) {
	pause := min(9*k.planning, k.opt.Interval)
	if pause == 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// pass makes a plan and follows it, and reports whether that was all. A plan is
// not followed for long: much may change while files go slowly.
func (k *Keeper) pass(ctx context.Context) (done bool) {
	begun := time.Now()
	done = true
	space := k.space(begun)
	planned := time.Now()
	p := newPlan(k.clock.trusted(begun), k.list(), k.policy(), space)
	k.planning = time.Since(planned)
	k.mu.Lock()
	k.stats.Floor, k.stats.Yields = p.floor, p.yields
	k.mu.Unlock()
	k.noteYields(begun, p.yields)
	for _, d := range p.plan {
		if !k.delete(ctx, d) {
			done = false // another has to go in its place
		}
		if ctx.Err() != nil || time.Since(begun) > k.opt.Interval {
			return false
		}
	}
	return done
}

// space asks the file system. Right after files were deleted for its sake it
// may not know yet, and more would go than has to.
func (k *Keeper) space(now time.Time) store.Space {
	const enough = 1 << 62
	if k.opt.Space == nil {
		return store.Space{Free: enough}
	}
	s, err := k.opt.Space()
	if (err != nil) != k.spaceErr {
		k.spaceErr = err != nil
		k.opt.Log.Warn("ask the file system for its space", "directory", k.dir.Path(), "error", err)
	}
	if err != nil {
		return store.Space{Free: enough}
	}
	k.mu.Lock()
	k.stats.Space = s
	k.mu.Unlock()
	if now.Before(k.settled) {
		s.Free = enough
	}
	return s
}

// delete deletes a file, tells, and reports whether it is gone. One that stays
// is left alone for a while.
func (k *Keeper) delete(ctx context.Context, d Deletion) (gone bool) {
	size, err := k.unlink(ctx, d.Name)
	d.Size = size
	if d.Limit == ByMinFree {
		k.settled = time.Now().Add(k.opt.Interval)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errHeld) {
		k.dir.Look(d.Name)
	}
	k.note(d.Name, d.Size, err)
	if errors.Is(err, fs.ErrNotExist) {
		return true // somebody else did
	}
	if !errors.Is(err, errHeld) && k.opt.Deleted != nil {
		if err != nil {
			err = fmt.Errorf("retain: %w", err)
		}
		k.opt.Deleted(d, err)
	}
	return err == nil
}

// note counts what came of a deletion.
func (k *Keeper) note(name store.Name, size int64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.stats.Deleted++
		k.stats.DeletedBytes += size
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errHeld): // the directory knows by now
	default:
		k.stats.Failures++
		k.leave(name)
	}
}

// noteYields tells when limits begin to yield to a step, and when they no longer
// do.
func (k *Keeper) noteYields(now time.Time, yields []Yield) {
	note := k.opt.Yields
	if note == nil {
		return
	}
	for step, old := range k.yields {
		if !slices.ContainsFunc(yields, func(y Yield) bool { return y.Step == step }) {
			delete(k.yields, step)
			note(old.Yield, old.since, now)
		}
	}
	for _, y := range yields {
		if _, known := k.yields[y.Step]; !known {
			k.yields[y.Step] = yielding{y, now}
			note(y, now, time.Time{})
		}
	}
}

// leave leaves a file alone for a while.
func (k *Keeper) leave(name store.Name) { k.failed[name] = time.Now().Add(k.opt.Retry) }

// left reports whether the file is left alone, and forgets when that is over.
func (k *Keeper) left(name store.Name) bool {
	until, ok := k.failed[name]
	if ok && !time.Now().Before(until) {
		delete(k.failed, name)
		return false
	}
	return ok
}

// list returns the files as they are known. One that is left alone counts, and
// stays, as if it were held.
func (k *Keeper) list() []File {
	all := k.Files()
	if len(k.failed) > 0 {
		for i := range all {
			all[i].Held = all[i].Held || k.left(all[i].Name)
		}
	}
	return all
}

// Stats returns the counters. It may be called from any goroutine.
func (k *Keeper) Stats() Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.stats
	s.Failures += k.dir.Unreadable()
	s.Pending = make(map[string]int)
	for _, f := range k.Files() {
		s.Bytes += f.Size
		if !f.Partial {
			s.Files++
		}
		if f.Held {
			s.Held++
		}
		if f.Pending != "" {
			s.Pending[f.Pending]++
		}
	}
	return s
}

// Files returns all files as they are known. It may be called from any
// goroutine.
func (k *Keeper) Files() []File { return filesOf(k.dir, k.opt.Steps) }

// Forecast says, by interface, how far back the files will reach at the present
// rate. It may be called from any goroutine.
func (k *Keeper) Forecast() []Forecast {
	return Predict(time.Now(), k.Files(), k.policy(), k.Stats().Space)
}

// settleTime is how long a clock that jumped ahead has to go on from there
// until files are as old as it says.
const settleTime = 24 * time.Hour

// A clock is the system's, but for jumps ahead: one wrong time must not make
// all files too old at once.
type clock struct {
	mono   time.Time // when the clock was right, with a monotonic reading
	wall   time.Time // what it said
	jumped time.Time // when it was found ahead, with a monotonic reading; zero while it is not
}

// trusted returns the time that files are judged by.
func (c *clock) trusted(now time.Time) time.Time { return c.trustedAt(now, now.Round(0)) }

// trustedAt is given the monotonic and the wall clock apart.
func (c *clock) trustedAt(mono, wall time.Time) time.Time {
	expected := c.wall.Add(mono.Sub(c.mono))
	ahead := !c.mono.IsZero() && wall.Sub(expected) >= setBack
	if ahead && c.jumped.IsZero() {
		c.jumped = mono
	}
	if ahead && mono.Sub(c.jumped) < settleTime {
		return expected
	}
	c.mono, c.wall, c.jumped = mono, wall, time.Time{}
	return wall
}
