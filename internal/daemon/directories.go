package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/internal/retain"
	"capd/internal/text"
	"capd/ledger"
	"capd/store"
	"capd/writer"
)

// directories are those that are recorded into, each proven and locked. A
// Reload may add some, and those that nothing records into any more go.
type directories struct {
	self    []string // see Options
	list    func(path string) (*store.Directory, error)
	log     *slog.Logger
	run     ledger.Run      // what the ledgers say of this run
	keeping context.Context // of retention; nil before retain
	tasks   sync.WaitGroup  // of directories: retention, and the end of those that go

	hurry    context.Context // done: those that go give hooks no more time
	hurryNow context.CancelFunc

	mu     sync.Mutex // guards what follows
	byPath map[string]*directory
}

type directory struct {
	path   string
	store  *store.Directory
	keeper *retain.Keeper
	finish *finisher
	lock   *store.Lock
	book   *book
	pause  control.Pause      // before this run; zero if no run was before
	told   bool               // the ledger has this run's start
	unkeep context.CancelFunc // ends retention; nil before it began
	kept   chan struct{}      // closed: retention has ended
}

// openDirectories proves and locks every directory of the configuration.
func openDirectories(c *config.Config, opt *Options, log *slog.Logger) (*directories, error) {
	all := &directories{
		self: opt.Self, log: log, byPath: make(map[string]*directory), list: store.OpenWatched,
		run: ledger.Run{Software: opt.Application, Boot: boot(), Config: c.Digest(), PID: os.Getpid()},
	}
	if opt.unwatched {
		all.list = store.Open
	}
	all.hurry, all.hurryNow = context.WithCancel(context.Background())
	if err := all.add(c); err != nil {
		all.close(context.Background())
		return nil, err
	}
	return all, nil
}

// add opens the directories of the configuration that are not open yet. What
// was opened stays with an error too.
func (all *directories) add(c *config.Config) error {
	modes := make(map[string]config.FileMode)
	for i := range c.Interfaces {
		modes[c.Interfaces[i].Directory] = c.Interfaces[i].FileMode
	}
	for _, path := range slices.Sorted(maps.Keys(modes)) {
		if all.at(path) != nil {
			continue
		}
		if err := all.open(path, modes[path], c); err != nil {
			return err
		}
	}
	return nil
}

// at returns the directory of that path; nil if it is not one of them.
func (all *directories) at(path string) *directory {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.byPath[path]
}

func (all *directories) put(path string, d *directory) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.byPath[path] = d
}

func (all *directories) open(path string, mode config.FileMode, c *config.Config) error {
	space, err := store.Prove(path, fs.FileMode(mode))
	if err != nil {
		return fmt.Errorf("directory %s: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		for _, d := range all.unique() {
			if r, err := filepath.EvalSymlinks(d.path); err == nil && r == real {
				all.put(path, d) // two names of one directory: one lock
				return nil
			}
		}
	}
	lock, err := store.LockDirectory(path)
	if err != nil {
		return err
	}
	d := &directory{path: path, lock: lock}
	if d.store, err = all.list(path); err != nil {
		_ = lock.Release()
		return err
	}
	// A hook that is new is for the files that come, salvaged ones too.
	if err = d.openFinisher(c, all.self, all.log); err == nil {
		err = d.fill(path, all.log)
	}
	if err != nil {
		d.finish.close(context.Background())
		if d.book != nil {
			d.book.close()
		}
		d.store.Close()
		_ = lock.Release()
		return err
	}
	d.keep(c, all.log)
	d.finish.begin()
	all.put(path, d)
	all.retainIn(d)
	all.log.Info("directory is ready", "directory", path, "file_system", space.FileSystem, "direct", space.Direct,
		"free", text.Size(space.Free), "files", d.store.Contents().Files)
	return nil
}

// fill finishes what an earlier run left and reads the directory.
func (d *directory) fill(path string, log *slog.Logger) error {
	history, err := ledger.Recall(path, d.store.Others(), boot())
	if err != nil {
		return err
	}
	l, err := ledger.Open(path, ledger.Options{History: history})
	if err != nil {
		return err
	}
	if now := time.Now(); !history.Until.IsZero() && history.Until.Before(now) {
		d.pause = control.Pause{Begin: history.Until, End: now}
	}
	d.book = openBook(l, log.With("directory", path))
	lines, err := unlisted(d.store, history) // before salvage adds to what is finished
	if err != nil {
		return err
	}
	d.book.note(lines...)
	return d.salvage(history, log)
}

// salvage finishes the files that an earlier run left unfinished, and tells the
// ledger what became of them.
func (d *directory) salvage(history *ledger.History, log *slog.Logger) error {
	recovered, err := writer.Recover(d.store, history.Checkpoints)
	last := make(map[string]time.Time) // moment of which an interface has a packet
	for i := range recovered {
		r := &recovered[i]
		failed, told := history.Failed[r.Name.String()]
		d.book.note(r.Entries(failed)...)
		switch {
		case r.Err != nil:
			log.Error("unfinished file of an earlier run: can't be salvaged", "file", r.Path, "error", r.Err)
		case r.Damaged:
			log.Error("unfinished file of an earlier run is damaged: it is kept as it is", "file", r.Path, "packets", r.Packets)
		case r.Path == "":
			log.Warn("unfinished file of an earlier run held no packet: removed", "file", r.Name.String())
		default:
			log.Warn("unfinished file of an earlier run is finished now", "file", r.Path, "packets", r.Packets, "cut", r.Cut, "why", r.Why)
			// A file that failed did not end with the run.
			if iface := r.Name.Interface; !told && r.Last.After(last[iface]) {
				last[iface] = r.Last
				if r.Last.After(d.pause.Begin) && r.Last.Before(d.pause.End) {
					d.pause.Begin = r.Last
				}
			}
		}
	}
	for _, iface := range slices.Sorted(maps.Keys(last)) {
		d.book.note(ledger.GapClosed(ledger.GapOpened(iface, last[iface], ledger.CauseStopped), time.Now(), 0))
	}
	return err
}

// remember keeps the sequence of a recorder that ended.
func (d *directory) remember(lane store.Lane, sequence uint64) { d.store.Used(lane, sequence) }

// retain keeps all directories within their limits until the context ends.
func (all *directories) retain(ctx context.Context) {
	all.keeping = ctx
	for _, d := range all.unique() {
		all.retainIn(d)
	}
}

// retainIn keeps the directory within its limits, if that has begun.
func (all *directories) retainIn(d *directory) {
	if all.keeping == nil {
		return
	}
	ctx, cancel := context.WithCancel(all.keeping)
	d.unkeep, d.kept = cancel, make(chan struct{})
	all.tasks.Go(func() {
		defer close(d.kept)
		var tasks sync.WaitGroup
		tasks.Go(func() { d.store.Follow(ctx, 0, all.log) })
		d.run(ctx, all.log)
		tasks.Wait()
	})
}

// began tells the ledgers that do not know it yet that capd records.
func (all *directories) began(c *config.Config) {
	run := all.run
	run.Config = c.Digest()
	for _, d := range all.unique() {
		if !d.told {
			d.told = true
			d.book.note(ledger.Start(run))
		}
	}
}

// note tells all ledgers.
func (all *directories) note(e ledger.Entry) {
	for _, d := range all.unique() {
		d.book.note(e)
	}
}

// unique returns each directory once, whatever names it has.
func (all *directories) unique() []*directory {
	all.mu.Lock()
	defer all.mu.Unlock()
	var once []*directory
	for _, path := range slices.Sorted(maps.Keys(all.byPath)) {
		if d := all.byPath[path]; !slices.Contains(once, d) {
			once = append(once, d)
		}
	}
	return once
}

// shed closes the directories that are not needed, in the background, when what
// is to be done with their files is done.
func (all *directories) shed(needed func(*directory) bool) {
	for _, d := range all.unique() {
		if needed(d) {
			continue
		}
		all.mu.Lock()
		maps.DeleteFunc(all.byPath, func(_ string, other *directory) bool { return other == d })
		all.mu.Unlock()
		all.tasks.Go(func() {
			d.finish.drain(all.hurry)
			all.shut(all.hurry, d)
			all.log.Info("directory is recorded into no more", "directory", d.path)
		})
	}
}

// shut ends one directory. Hooks may run until the context ends.
func (all *directories) shut(ctx context.Context, d *directory) {
	if d.unkeep != nil {
		d.unkeep()
		<-d.kept
	} else {
		d.store.Close() // nothing follows it
	}
	d.finish.close(ctx)
	if d.told {
		d.book.note(ledger.Stop(all.run))
	}
	d.book.close()
	_ = d.lock.Release()
}

// close ends all that was opened. Hooks may run until the context ends.
func (all *directories) close(ctx context.Context) {
	defer context.AfterFunc(ctx, all.hurryNow)()
	for _, d := range all.unique() {
		all.shut(ctx, d)
	}
	all.tasks.Wait()
	all.hurryNow()
}
