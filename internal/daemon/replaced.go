package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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

// A guard enforces the limits of a directory while it is at its path. Files of
// another directory there are not for its limits. Each directory has its own
// goroutine, since a look may take as long as a dead network file system wants.
type guard struct {
	*directory
	log *slog.Logger

	// replaced is called again and again while another directory, or none, is at the
	// path. It returns why that one is not recorded into. It may be nil.
	replaced func(d *directory, why error) error
}

// watch enforces the limits until the context ends.
func (g *guard) watch(ctx context.Context) {
	for ctx.Err() == nil {
		there, gone := context.WithCancel(ctx)
		var tasks sync.WaitGroup
		tasks.Go(func() { g.store.Follow(there, 0, g.log) })
		tasks.Go(func() { g.run(there, g.log) })
		g.await(ctx, false)
		gone()
		tasks.Wait()
		g.await(ctx, true)
	}
}

// await looks at the directory until it is at its path, or until it is not, or
// until the context ends.
func (g *guard) await(ctx context.Context, here bool) {
	tick := time.NewTicker(hereEvery)
	defer tick.Stop()
	for {
		err := g.lock.Here()
		if err != nil && here && g.replaced != nil {
			err = g.replaced(g.directory, err)
		}
		if here || err == nil {
			g.tell(err)
		}
		if (err == nil) == here {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tell logs that the directory is not at its path, and why nothing takes its
// place, or that it is there again.
func (g *guard) tell(err error) {
	switch changed := g.presence.set(err); {
	case !changed || errors.Is(err, errLeft):
	case err != nil:
		args := []any{"directory", g.path, "error", err}
		if hints := hint.Of(err); len(hints) > 0 {
			args = append(args, "hint", hints[0])
		}
		g.log.Error("the directory is not at its path any more: its file system was unmounted or another one mounted over it, or it was renamed", args...)
	default:
		g.log.Info("the directory is at its path", "directory", g.path)
	}
}

// errLeft says that another directory has taken the place of one that was
// replaced.
var errLeft = errors.New("recorded into another directory at the path")

// A reopening makes the recorders of a directory record into the one that is at
// its path now.
type reopening struct {
	*manager
	d   *directory
	why error // it is needed
}

// reopen returns a function that does that as in a Reload: no frame is lost. The
// error says why it was not possible; it is errLeft afterwards.
func reopen(m *manager) func(d *directory, why error) error {
	return func(d *directory, why error) error {
		r := reopening{m, d, why}
		return r.do()
	}
}

func (r *reopening) do() error {
	m, d, why := r.manager, r.d, r.why
	if !exists(d.path) {
		return why // to make one where a file system is missing would fill the disk below
	}
	if used, _ := store.InUse(d.path); used && m.dirs.at(d.path) == d {
		return fmt.Errorf("%w: another one is there: %w", store.ErrReplaced, store.ErrInUse)
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	defer m.change()()
	switch {
	case m.life == nil: // not yet
		return why
	case m.life.Err() != nil: // not any more
		return errLeft
	}
	if err := r.open(); err != nil {
		return r.outOfReach(err)
	}
	if err := r.move(); err != nil {
		return fmt.Errorf("%w: %w", why, err)
	}
	m.release()
	return errLeft
}

// open opens the directory that is at the path now, unless that was done before.
// Until its recorders have ended, the other one stays open too.
func (r *reopening) open() error {
	paths := r.dirs.paths(r.d)
	if len(paths) == 0 {
		return nil
	}
	c := r.manager.config.Load()
	for _, path := range paths {
		if err := r.dirs.open(path, modeOf(c, path), c, r.d); err != nil {
			return err
		}
		r.dirs.at(path).why = r.why.Error()
	}
	r.log.Warn("another directory is at the path: recording goes on in that one", "directory", r.d.path, "why", r.why)
	r.dirs.began(c)
	return nil
}

// move replaces the recorders.
func (r *reopening) move() error {
	var plan []*replacement
	for name, old := range r.set.lanes() {
		if old[0].dir != r.d {
			continue
		}
		x := &replacement{old: old, next: old[0].settings}
		plan = append(plan, x)
		err := r.takeOver(x, name)
		if err == nil {
			err = x.open()
		}
		if err != nil {
			discard(plan)
			return err
		}
	}
	r.replace(plan)
	return nil
}

// outOfReach returns why the directory that is at the path now can't be recorded
// into, and ends capd if a service manager starts it again and that helps.
func (r *reopening) outOfReach(err error) error {
	err = fmt.Errorf("%w: another one is there: %w", store.ErrReplaced, err)
	if !errors.Is(err, fs.ErrPermission) || !store.Reachable(r.d.path) {
		return err
	}
	err = fmt.Errorf("%w: %w", err, errOutOfReach)
	if r.restarts && time.Since(r.start) > restartAfter {
		r.dirs.end.set(err)
		r.stop.restart(fmt.Errorf("directory %s: %w: %w", r.d.path, err, ErrRestart))
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// modeOf returns the mode of the files in the directory.
func modeOf(c *config.Config, path string) config.FileMode {
	i := slices.IndexFunc(c.Interfaces, func(i config.Interface) bool { return i.Directory == path })
	if i < 0 {
		return store.DefaultFileMode
	}
	return c.Interfaces[i].FileMode
}

// An end is why this run ends, where nobody ordered that.
type end struct {
	leaves func() bool // rings are left to another process

	mu  sync.Mutex // guards what follows; held for assignments only
	why string
}

func (e *end) set(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.why = why.Error()
}

// line returns the line of the run's end.
func (e *end) line(run ledger.Run) ledger.Entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	run.Why = e.why
	return ledger.Stop(run)
}
