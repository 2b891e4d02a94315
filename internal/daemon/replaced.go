package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"capd/config"
	"capd/internal/hint"
	"capd/ledger"
	"capd/store"
)

// hereEvery is the time between two looks whether a directory is still at its
// path.
const hereEvery = time.Second

// restartAfter is the least time that capd runs before it ends to be started
// again: a file system that comes and goes causes no more restarts than that.
const restartAfter = 10 * time.Second

// ErrRestart is wrapped by the error of Run that ends capd because only another
// start can reach what is now at a directory's path.
var ErrRestart = errors.New("capd has to be started again")

// errOutOfReach is why a new directory can't be recorded into by this process.
var errOutOfReach = hint.New("the sandbox keeps capd out of it",
	"start capd again: what a sandboxed process may write to is fixed when it starts",
	`as a service capd does that by itself; with sandbox = "off" no restart is needed`)

// A presence is what is known of whether a directory is at its path.
type presence struct {
	mu      sync.Mutex // guards what follows; held for assignments only
	problem string     // why it is not, and why nothing takes its place; empty: it is there
}

func (p *presence) get() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.problem
}

// set reports whether the problem is another one than before.
func (p *presence) set(err error) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.problem
	p.problem = ""
	if err != nil {
		p.problem = err.Error()
	}
	return p.problem != was
}

// guard enforces the limits of a directory while it is at its path, until the
// context ends. Files of another directory at that path are not for its limits.
// Each directory has its own goroutine, since a look may take as long as a dead
// network file system wants.
func (all *directories) guard(ctx context.Context, d *directory) {
	for ctx.Err() == nil {
		there, gone := context.WithCancel(ctx)
		var tasks sync.WaitGroup
		tasks.Go(func() { d.store.Follow(there, 0, all.log) })
		tasks.Go(func() { d.run(there, all.log) })
		all.awaitHere(ctx, d, false)
		gone()
		tasks.Wait()
		all.awaitHere(ctx, d, true)
	}
}

// awaitHere looks at the directory until it is at its path, or until it is not,
// or until the context ends. While it is not, what is at its path now is
// recorded into, if that is possible.
func (all *directories) awaitHere(ctx context.Context, d *directory, want bool) {
	tick := time.NewTicker(hereEvery)
	defer tick.Stop()
	for {
		err := d.lock.Here()
		if err != nil && want && all.replaced != nil {
			err = all.replaced(d, err)
		}
		if want || err == nil {
			all.report(d, err)
		}
		if (err == nil) == want {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// report logs that the directory is not at its path, and why nothing takes its
// place, or that it is there again.
func (all *directories) report(d *directory, err error) {
	switch changed := d.presence.set(err); {
	case !changed || errors.Is(err, errLeft):
	case err != nil:
		args := []any{"directory", d.path, "error", err}
		if hints := hint.Of(err); len(hints) > 0 {
			args = append(args, "hint", hints[0])
		}
		all.log.Error("the directory is not at its path any more: its file system was unmounted or another one mounted over it, or it was renamed", args...)
	default:
		all.log.Info("the directory is at its path", "directory", d.path)
	}
}

// errLeft says that another directory has taken the place of one that was
// replaced.
var errLeft = errors.New("recorded into another directory at the path")

// reopen makes the recorders of a directory record into the one that is at its
// path now, as in a Reload: no frame is lost. The error says why that was not
// possible; it is errLeft afterwards.
func (m *manager) reopen(d *directory, why error) error {
	if !exists(d.path) {
		return why // to make one where a file system is missing would fill the disk below
	}
	if used, _ := store.InUse(d.path); used && m.dirs.at(d.path) == d {
		return fmt.Errorf("%w: another one is there: %w", store.ErrReplaced, store.ErrInUse)
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	switch {
	case m.life == nil: // not yet
		return why
	case m.life.Err() != nil: // not any more
		return errLeft
	}
	c := m.config.Load()
	if len(m.dirs.paths(d)) > 0 {
		if err := m.dirs.reopen(d, c, why); err != nil {
			return m.outOfReach(d, err)
		}
		m.log.Warn("another directory is at the path: recording goes on in that one", "directory", d.path, "why", why)
		m.dirs.began(c)
	}
	if err := m.moveInto(d); err != nil {
		return fmt.Errorf("%w: %w", why, err)
	}
	m.release()
	return errLeft
}

// moveInto replaces the recorders of a directory by recorders of the one that is
// at its path now.
func (m *manager) moveInto(d *directory) error {
	var plan []*replacement
	for name, old := range m.set.lanes() {
		if old[0].dir != d {
			continue
		}
		x := &replacement{old: old, next: old[0].settings}
		plan = append(plan, x)
		if err := m.prepareTakeover(x, name); err != nil {
			discard(plan)
			return err
		}
	}
	m.replace(plan)
	return nil
}

// outOfReach returns why the directory that is at the path of d now can't be
// recorded into, and ends capd if a service manager starts it again and that
// helps.
func (m *manager) outOfReach(d *directory, err error) error {
	err = fmt.Errorf("%w: another one is there: %w", store.ErrReplaced, err)
	if !errors.Is(err, fs.ErrPermission) || !store.Reachable(d.path) {
		return err
	}
	err = fmt.Errorf("%w: %w", err, errOutOfReach)
	if m.restarts && time.Since(m.start) > restartAfter {
		m.dirs.end(err)
		m.stop.restart(fmt.Errorf("directory %s: %w: %w", d.path, err, ErrRestart))
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// reopen opens the directory that is at the path of d now. Until its recorders
// have ended, d stays open too.
func (all *directories) reopen(d *directory, c *config.Config, why error) error {
	for _, path := range all.paths(d) {
		if err := all.open(path, modeOf(c, path), c, d); err != nil {
			return err
		}
		all.at(path).why = why.Error()
	}
	return nil
}

// paths returns the paths under which the directory is open.
func (all *directories) paths(d *directory) (paths []string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for path, other := range all.byPath {
		if other == d {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// modeOf returns the mode of the files in the directory.
func modeOf(c *config.Config, path string) config.FileMode {
	i := slices.IndexFunc(c.Interfaces, func(i config.Interface) bool { return i.Directory == path })
	if i < 0 {
		return store.DefaultFileMode
	}
	return c.Interfaces[i].FileMode
}

// end says why this run ends, for its last line in the ledgers.
func (all *directories) end(why error) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.ending = why.Error()
}

// last returns the line of the run's end.
func (all *directories) last() ledger.Entry {
	all.mu.Lock()
	defer all.mu.Unlock()
	run := all.run
	run.Why = all.ending
	return ledger.Stop(run)
}
