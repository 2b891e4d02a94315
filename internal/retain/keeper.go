package retain

import (
	"capd/store"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Defaults of an Options' zero values.
const (
	DefaultInterval = 5 * time.Second
	DefaultRescan   = 5 * time.Minute
	DefaultStep     = 256 << 20
	DefaultPause    = 100 * time.Millisecond
)

// Options say how to keep a directory. Zero values are defaults.
type Options struct {
	Directory string
	Policy    Policy
	Space     func() (store.Space, error) // of the file system; nil: no limit looks at it
	Deleted   func(Deletion, error)       // told of each deletion, and of what failed; may be nil
	Log       *slog.Logger                // may be nil

	Interval time.Duration // between looks at the clock and the file system
	Rescan   time.Duration // between looks at what others do in the directory
	Step     int64         // bytes of a large file that go at once
	Pause    time.Duration // between such steps, in which the disk writes
}

// A Keeper keeps a directory within its limits. Files that are being written
// count with the size that they had at the last look.
type Keeper struct {
	opt   Options
	wake  chan struct{}
	clock clock

	// Only Run touches these.
	leftovers []leftover
	settled   time.Time     // until then the file system may not tell what was freed
	planning  time.Duration // that the last plan took
	spaceErr  bool
	scanErr   bool

	mu    sync.Mutex
	files map[string]File // by their names in the directory
	added map[string]File // since the last look began
	stats Stats
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
	Floor        bool // limits want files gone that the floor keeps
}

// New reads the directory.
func New(opt Options) (*Keeper, error) {
	if opt.Interval == 0 {
		opt.Interval = DefaultInterval
	}
	if opt.Rescan == 0 {
		opt.Rescan = DefaultRescan
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
	k := &Keeper{opt: opt, wake: make(chan struct{}, 1)}
	if err := k.rescan(); err != nil {
		return nil, fmt.Errorf("retain: %w", err)
	}
	return k, nil
}

// Add tells of a file that was finished, or whose size is another now.
func (k *Keeper) Add(name store.Name, size int64) {
	s := name.String()
	k.mu.Lock()
	f := File{Name: name, Size: size, Held: k.files[s].Held || k.files[s+store.Partial].Held}
	k.files[s], k.added[s] = f, f
	delete(k.files, s+store.Partial)
	k.mu.Unlock()
	k.Wake()
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

// Run keeps the limits until the context ends.
func (k *Keeper) Run(ctx context.Context) {
	look := time.NewTicker(k.opt.Interval)
	defer look.Stop()
	rescan := time.NewTicker(k.opt.Rescan)
	defer rescan.Stop()
	for ctx.Err() == nil {
		k.finishLeftovers(ctx)
		k.look(ctx)
		k.rest(ctx)
		select {
		case <-ctx.Done():
		case <-look.C:
		case <-k.wake:
		case <-rescan.C:
			err := k.rescan()
			if (err != nil) != k.scanErr {
				k.scanErr = err != nil
				k.opt.Log.Warn("look at the directory", "directory", k.opt.Directory, "error", err)
			}
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
	k.stats.Floor = p.floor
	k.mu.Unlock()
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
		k.opt.Log.Warn("ask the file system for its space", "directory", k.opt.Directory, "error", err)
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
// is left alone until the next rescan.
func (k *Keeper) delete(ctx context.Context, d Deletion) (gone bool) {
	s := d.Name.String()
	size, err := k.unlink(ctx, s)
	d.Size = size
	if d.Limit == ByMinFree {
		k.settled = time.Now().Add(k.opt.Interval)
	}
	k.note(s, d.Size, err)
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
func (k *Keeper) note(s string, size int64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.stats.Deleted++
		k.stats.DeletedBytes += size
		delete(k.files, s)
	case errors.Is(err, fs.ErrNotExist):
		delete(k.files, s)
	default:
		f := k.files[s]
		f.Held = true
		k.files[s] = f
		if !errors.Is(err, errHeld) {
			k.stats.Failures++
		}
	}
}

// rescan takes over what is in the directory now.
func (k *Keeper) rescan() error {
	k.mu.Lock()
	k.added = make(map[string]File)
	k.mu.Unlock()
	found, err := readDirectory(k.opt.Directory)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for s, f := range k.added { // it may have come after the look at its place
		if _, ok := found.files[s]; !ok {
			found.files[s] = f
		}
		delete(found.files, s+store.Partial)
	}
	k.files = found.files
	k.leftovers = found.leftovers
	k.stats.Failures += found.unreadable
	return nil
}

// list returns the files as they are known.
func (k *Keeper) list() []File {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Values(k.files))
}

// Stats returns the counters. It may be called from any goroutine.
func (k *Keeper) Stats() Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.stats
	for _, f := range k.files {
		s.Bytes += f.Size
		if !f.Partial {
			s.Files++
		}
		if f.Held {
			s.Held++
		}
	}
	return s
}

// Files returns all files as they are known. It may be called from any
// goroutine.
func (k *Keeper) Files() []File { return k.list() }

// Forecast says, by interface, how far back the files will reach at the present
// rate. It may be called from any goroutine.
func (k *Keeper) Forecast() []Forecast {
	return Predict(time.Now(), k.list(), k.policy(), k.Stats().Space)
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
