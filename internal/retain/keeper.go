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

// Defaults for zero values in Options.
const (
	DefaultInterval = 5 * time.Second
	DefaultRetry    = 5 * time.Minute
	DefaultStep     = 256 << 20
	DefaultPause    = 100 * time.Millisecond
)

// Options are the parameters of a Keeper. Zero values select the defaults.
type Options struct {
	Directory *store.Directory
	Policy    Policy
	Space     func() (store.Space, error) // returns the space on the file system; nil: no limit depends on it
	Deleting  func(Deletion)              // called before each deletion; may be nil
	Deleted   func(Deletion, error)       // called after each deletion, and after failures; may be nil
	Log       *slog.Logger                // may be nil

	// Steps returns Pending and KeepUntil of a finished file. It is called while the Directory is
	// locked. nil: no file waits for a step.
	Steps func(*store.File) (pending, keepUntil string)

	// Yields is called when KeepUntil begins to protect files from limits, with the time, and when
	// that ends, with both times. It may be nil.
	Yields func(y Yield, begin, end time.Time)

	Interval time.Duration // between checks of the clock and the file system
	Retry    time.Duration // time until the deletion of a file is tried again after a failure
	Step     int64         // bytes of a large file that are freed at once
	Pause    time.Duration // between these steps, for the writer's disk operations, and between checks that follow a change of the directory, of which there may be hundreds a second
}

// A Keeper keeps a directory within its limits. Files that are being written count with their size
// at the last measurement.
type Keeper struct {
	opt   Options
	dir   *store.Directory
	wake  chan struct{}
	clock clock

	// Only Run accesses these fields.
	bytes    effect                   // of deletions for the file system's sake
	inodes   effect                   // the same
	planning time.Duration            // duration of the last plan
	failed   map[store.Name]time.Time // files that could not be deleted, and when to try again
	spaceErr bool
	yields   map[string]yielding // by step
	burden   Burden

	mu    sync.Mutex // guards the fields below
	stats Stats      // without the fields that the directory provides
}

// Stats describe what a Keeper has and did.
type Stats struct {
	Files        int   // finished files
	Bytes        int64 // of all files
	Held         int   // files that may not be deleted
	Deleted      uint64
	DeletedBytes int64
	Failures     uint64 // deletions that failed, and entries that could not be read
	Space        store.Space
	Floor        bool           // the floor protects files that limits would delete
	Pending      map[string]int // number of files by their first step without success
	Yields       []Yield
	Burden       Burden
}

// A yielding is a Yield and the time of its begin.
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

// SetPolicy changes the policy from now on.
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

// Wake makes Run check the limits now, for example because the disk is full.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run enforces the limits until the context ends. It checks them at each interval, when the
// directory changes, and after Wake.
func (k *Keeper) Run(ctx context.Context) {
	look := time.NewTicker(k.opt.Interval)
	defer look.Stop()
	var last time.Time // when a change was followed
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
			k.settle(ctx, time.Until(last.Add(k.opt.Pause)))
			last = time.Now()
		}
	}
}

// settle waits for more changes of the directory.
func (k *Keeper) settle(ctx context.Context, pause time.Duration) {
	if pause <= 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-k.wake:
	case <-timer.C:
	}
}

// look deletes files until all limits are met.
func (k *Keeper) look(ctx context.Context) {
	for ctx.Err() == nil && !k.pass(ctx) {
	}
}

// rest waits so that planning uses at most a tenth of one processor: a plan goes through all files,
// of which there may be very many, and files may end several times per second.
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

// pass makes a plan and carries it out. It reports whether it deleted everything. It stops after a
// while, because the plan becomes outdated.
func (k *Keeper) pass(ctx context.Context) (done bool) {
	begun := time.Now()
	done = true
	all := k.list()
	k.measure(all)
	space := k.space(begun)
	planned := time.Now()
	policy := k.policy()
	p := newPlan(k.clock.trusted(begun), all, policy, space)
	burden := p.burden(&policy)
	k.planning = time.Since(planned)
	k.mu.Lock()
	k.stats.Floor, k.stats.Yields, k.stats.Burden = p.floor, p.yields, burden
	k.mu.Unlock()
	k.noteYields(begun, p.yields)
	k.noteBurden(burden)
	for _, d := range p.plan {
		if !k.delete(ctx, d) {
			done = false // another file has to be deleted instead
		}
		if ctx.Err() != nil || time.Since(begun) > k.opt.Interval {
			return false
		}
	}
	return done
}

// enough is a space for which no limit wants anything deleted.
var enough = store.Space{Free: 1 << 62, FreeFiles: 1 << 62}

// space asks the file system. What was deleted for its sake and it does not show
// yet counts as free.
func (k *Keeper) space(now time.Time) store.Space {
	if k.opt.Space == nil {
		return enough
	}
	s, err := k.opt.Space()
	if (err != nil) != k.spaceErr {
		k.spaceErr = err != nil
		if err != nil {
			k.opt.Log.Warn("the file system does not tell its space: min_free deletes nothing", "directory", k.dir.Path(), "error", err)
		} else {
			k.opt.Log.Info("the file system tells its space again", "directory", k.dir.Path())
		}
	}
	if err != nil {
		return enough
	}
	k.mu.Lock()
	k.stats.Space = s
	k.mu.Unlock()
	return k.expected(now, s)
}

// expected is the space as it will be when deletions have had their effect.
func (k *Keeper) expected(now time.Time, s store.Space) store.Space {
	var none, noneOfFiles bool
	s.Free, none = k.bytes.look(now, s.Free)
	s.FreeFiles, noneOfFiles = k.inodes.look(now, s.FreeFiles)
	if none || noneOfFiles {
		k.opt.Log.Warn("deleting files frees no space: min_free deletes no more until the file system has more free, for whatever reason",
			"directory", k.dir.Path(), "after", effectWait, "hint", "snapshots of the file system, or other names of the files, may keep what they take")
	}
	return s
}

// measure tells the effects how many bytes and files capd has written: those that
// are there, and those that limits have deleted.
func (k *Keeper) measure(all []File) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bytes.written = uint64(sizeOf(all) + k.stats.DeletedBytes)
	k.inodes.written = uint64(len(all)) + k.stats.Deleted
}

// delete deletes a file, reports that, and returns whether the file is gone. After a failure it
// does not try that file again for a while.
func (k *Keeper) delete(ctx context.Context, d Deletion) (gone bool) {
	forSpace := d.Limit == ByMinFree || d.Limit == ByInodes
	if forSpace {
		_ = k.space(time.Now()) // what others free or take up to here is none of the effect
	}
	if k.opt.Deleting != nil {
		k.opt.Deleting(d)
	}
	size, err := k.unlink(ctx, d.Name)
	d.Size = size
	if forSpace && err == nil {
		k.bytes.deleted(time.Now(), uint64(size))
		k.inodes.deleted(time.Now(), 1)
		_ = k.space(time.Now()) // most file systems show it at once
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errHeld) {
		k.dir.Look(d.Name)
	}
	k.note(d.Name, d.Size, err)
	if errors.Is(err, fs.ErrNotExist) {
		return true // somebody else deleted it
	}
	if !errors.Is(err, errHeld) && k.opt.Deleted != nil {
		if err != nil {
			err = fmt.Errorf("retain: %w", err)
		}
		k.opt.Deleted(d, err)
	}
	return err == nil
}

// note counts the result of a deletion.
func (k *Keeper) note(name store.Name, size int64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.stats.Deleted++
		k.stats.DeletedBytes += size
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errHeld): // the directory is up to date already
	default:
		k.stats.Failures++
		k.postpone(name)
	}
}

// noteYields reports Yields that have begun or ended.
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

// postpone excludes a file from deletion for a while.
func (k *Keeper) postpone(name store.Name) { k.failed[name] = time.Now().Add(k.opt.Retry) }

// postponed reports whether a file is excluded from deletion at present.
func (k *Keeper) postponed(name store.Name) bool {
	until, ok := k.failed[name]
	if ok && !time.Now().Before(until) {
		delete(k.failed, name)
		return false
	}
	return ok
}

// list returns the known files. Files that are excluded from deletion count as held.
func (k *Keeper) list() []File {
	all := k.Files()
	if len(k.failed) > 0 {
		for i := range all {
			all[i].Held = all[i].Held || k.postponed(all[i].Name)
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

// Files returns all known files. It may be called from any goroutine.
func (k *Keeper) Files() []File { return filesOf(k.dir, k.opt.Steps) }

// Forecast predicts for each interface how far back its files will reach at the present rate. It
// may be called from any goroutine.
func (k *Keeper) Forecast() []Forecast {
	return Predict(time.Now(), k.Files(), k.policy(), k.Stats().Space)
}

// settleTime is how long the clock must run on after a jump ahead until the ages of files follow
// it.
const settleTime = 24 * time.Hour

// A clock is the system's clock with protection against jumps ahead: one wrong time must not make
// all files too old at once.
type clock struct {
	mono   time.Time // when the clock was last trusted, on the monotonic clock
	wall   time.Time // the wall clock at that moment
	jumped time.Time // when a jump ahead was noticed, on the monotonic clock; zero if there is none
}

// trusted returns the time from which the age of files is computed.
func (c *clock) trusted(now time.Time) time.Time { return c.trustedAt(now, now.Round(0)) }

// trustedAt is trusted with separate monotonic and wall clocks.
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
