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

// directories are the directories that are recorded into, each checked and
// locked. A Reload adds and removes directories.
type directories struct {
	self    []string // see Options
	list    func(path string) (*store.Directory, error)
	log     *slog.Logger
	goOn    *inheritance    // from an earlier process; nil if there is nothing
	run     ledger.Run      // run that the ledgers name in their lines
	keeping context.Context // context of retention; nil before retain
	listed  listed          // what the ledgers have of this run
	tasks   sync.WaitGroup  // retention, and the shutdown of directories that are no longer needed

	hurry    context.Context // done: hooks of directories that are shut down must end now
	hurryNow context.CancelFunc

	replaced func(d *directory, why error) error // see guard
	end      end

	mu     sync.Mutex // guards what follows
	byPath map[string]*directory
	former []*directory // not at their paths any more, and still used by recorders that end
}

type directory struct {
	path           string
	store          *store.Directory
	keeper         *retain.Keeper
	finish         *finisher
	seals          *seals
	lock           *store.Lock
	ledger         *ledgerWriter
	history        *ledger.History // of the runs before this one; nil once it has begun
	pause          control.Pause   // time without capd before this run; zero if there was no earlier run
	presence       presence
	why            string             // why it is recorded into since then, where nobody ordered that
	started        bool               // the ledger has the line of this run's start
	endRetention   context.CancelFunc // ends retention; nil before retention has begun
	retentionEnded chan struct{}      // closed when retention has ended
}

// openDirectories checks and locks every directory of the configuration.
func openDirectories(c *config.Config, opt *Options, log *slog.Logger) (*directories, error) {
	all := &directories{
		self: opt.Self, log: log, byPath: make(map[string]*directory), list: store.OpenWatched,
		run: ledger.Run{Software: opt.Application, Boot: boot(), Config: c.Digest(), PID: os.Getpid()},
	}
	if opt.Unwatched {
		all.list = store.Open
	}
	all.hurry, all.hurryNow = context.WithCancel(context.Background())
	all.goOn, all.end.leaves = opt.inherited, opt.Restart.leaves
	err := all.add(c)
	if err == nil {
		all.goOn.openDirectories(all.add)
	}
	if err != nil {
		all.close(context.Background())
		return nil, err
	}
	return all, nil
}

// add opens the directories of the configuration that are not open yet. After
// an error, those that were opened before it stay open.
func (all *directories) add(c *config.Config) error {
	modes := make(map[string]config.FileMode)
	for i := range c.Interfaces {
		modes[c.Interfaces[i].Directory] = c.Interfaces[i].FileMode
	}
	for _, path := range slices.Sorted(maps.Keys(modes)) {
		if all.at(path) != nil {
			continue
		}
		if err := all.open(path, modes[path], c, nil); err != nil {
			return err
		}
	}
	return nil
}

// at returns the directory of that path; nil if it is not open.
func (all *directories) at(path string) *directory {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.byPath[path]
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

// put makes the directory the one at the path. One that was there before stays
// open until its recorders have ended.
func (all *directories) put(path string, d *directory) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if before := all.byPath[path]; before != nil && !slices.Contains(all.former, before) {
		all.former = append(all.former, before)
	}
	all.byPath[path] = d
}

// open opens the directory at the path; instead of another one, unless that is
// nil.
func (all *directories) open(path string, mode config.FileMode, c *config.Config, instead *directory) error {
	space, err := store.Prove(path, fs.FileMode(mode))
	if err != nil {
		return fmt.Errorf("directory %s: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		for _, d := range all.present() {
			if r, err := filepath.EvalSymlinks(d.path); err == nil && r == real && d != instead {
				all.put(path, d) // another path of an open directory: they share the lock
				return nil
			}
		}
	}
	lock, err := store.LockDirectory(path)
	if err != nil {
		return err
	}
	d := &directory{path: path, lock: lock, seals: &seals{path: path, log: all.log, undigested: make(map[string]bool)}}
	if d.store, err = all.list(path); err != nil {
		_ = lock.Release()
		return err
	}
	// This comes before the salvage, so that a new hook runs for salvaged files
	// too.
	if err = d.openFinisher(c, all.self, all.log); err == nil {
		err = d.fill(path, c, &all.listed, all.goOn, all.log)
	}
	if err != nil {
		d.finish.close(context.Background())
		if d.ledger != nil {
			d.seals.end()
			<-d.seals.ended
			d.ledger.close()
		}
		d.store.Close()
		_ = lock.Release()
		return err
	}
	d.keep(c, all.log)
	d.finish.begin()
	all.put(path, d)
	all.retainIn(d)
	if point, where := store.Unmounted(path); point != "" {
		all.log.Warn("a file system is not mounted: files go to the one below, and are hidden when it is", "directory", path, "mount_point", point, "configured_in", where)
	}
	all.log.Info("directory is ready", "directory", path, "file_system", space.FileSystem, "direct", space.Writes == store.WritesDirect && c.WritesDirectly(path),
		"free", text.Size(space.Free), "files", d.store.Contents().Files)
	return nil
}

// fill reads the directory's ledgers and finishes the files that an earlier run
// left, but the unfinished ones with which this run goes on.
func (d *directory) fill(path string, c *config.Config, listed *listed, goOn *inheritance, log *slog.Logger) error {
	history, err := ledger.Recall(path, d.store.Others(), boot())
	if err != nil {
		return err
	}
	key, err := sealKey(c, path)
	if err != nil {
		return err
	}
	l, err := ledger.Open(path, ledger.Options{History: history, Here: d.lock.Here, Key: key})
	if err != nil {
		return err
	}
	if now := time.Now(); !history.Until.IsZero() && history.Until.Before(now) {
		d.pause = control.Pause{Begin: history.Until, End: now}
	}
	d.ledger = newLedgerWriter(l, listed, d.seals, log.With("directory", path))
	d.seals.begin(d.ledger, c, key, history)
	lines, err := unlisted(d.store, history, goOn.ended(path)) // before salvage adds finished files
	if err != nil {
		return err
	}
	d.ledger.note(lines...)
	for _, e := range goOn.failed(path) {
		if _, known := history.Failed[e.Name]; !known && !history.Files[e.Name] {
			d.ledger.note(e)
			history.Failed[e.Name] = e
		}
	}
	d.history = history
	return d.salvage(history, goOn.unfinished(path), log)
}

// salvage finishes the files that an earlier run left unfinished, and notes the
// results in the ledger.
func (d *directory) salvage(history *ledger.History, unfinished map[string]bool, log *slog.Logger) error {
	recovered, err := writer.Recover(d.store, history.Checkpoints, unfinished)
	last := make(map[string]time.Time) // latest packet of each interface, as the end of its recording
	for i := range recovered {
		r := &recovered[i]
		failed, known := history.Failed[r.Name.String()]
		d.ledger.note(r.Entries(failed)...)
		switch {
		case r.Err != nil:
			log.Error("unfinished file of an earlier run: can't be salvaged", "file", r.Path, "error", r.Err)
		case r.Damaged:
			log.Error("unfinished file of an earlier run is damaged and stays unchanged", "file", r.Path, "packets", r.Packets)
		case r.Path == "":
			log.Warn("unfinished file of an earlier run had no packet and was removed", "file", r.Name.String())
		default:
			log.Warn("unfinished file of an earlier run is finished now", "file", r.Path, "packets", r.Packets, "cut", r.Cut, "why", r.Why)
			// A file that failed ended before the run did.
			if iface, until := r.Name.Interface, r.Until(); !known && until.After(last[iface]) {
				last[iface] = until
				if until.After(d.pause.Begin) && until.Before(d.pause.End) {
					d.pause.Begin = until
				}
			}
		}
	}
	for _, iface := range slices.Sorted(maps.Keys(last)) {
		d.ledger.note(ledger.GapClosed(ledger.GapOpened(iface, last[iface], ledger.CauseStopped), time.Now(), 0))
	}
	return err
}

// remember records the last sequence number of a recorder that has ended.
func (d *directory) remember(lane store.Lane, sequence uint64) { d.store.Used(lane, sequence) }

// retain enforces the limits of all directories until the context ends.
func (all *directories) retain(ctx context.Context) {
	all.keeping = ctx
	for _, d := range all.unique() {
		all.retainIn(d)
	}
}

// retainIn enforces the limits of the directory, if retain was called.
func (all *directories) retainIn(d *directory) {
	if all.keeping == nil {
		return
	}
	ctx, cancel := context.WithCancel(all.keeping)
	d.endRetention, d.retentionEnded = cancel, make(chan struct{})
	all.tasks.Go(func() {
		defer close(d.retentionEnded)
		(&guard{d, all.log, all.replaced}).watch(ctx)
	})
}

// began notes the start of this run in the ledgers that do not have it yet.
func (all *directories) began(c *config.Config) {
	run := all.run
	run.Config = c.Digest()
	for _, d := range all.unique() {
		if !d.started {
			d.started, d.history, run.Why = true, nil, d.why
			d.ledger.note(ledger.Start(run))
		}
	}
}

// note adds a line to all ledgers.
func (all *directories) note(e ledger.Entry) {
	for _, d := range all.unique() {
		d.ledger.note(e)
	}
}

// unique returns each directory once, even if it is open under several paths,
// and those that are not at their paths any more.
func (all *directories) unique() []*directory {
	once := all.present()
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, d := range all.former {
		if !slices.Contains(once, d) {
			once = append(once, d)
		}
	}
	return once
}

// present returns each directory that is recorded into once.
func (all *directories) present() []*directory {
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

// shed closes the directories that are not needed, in the background, after the
// steps on their files have ended.
func (all *directories) shed(needed func(*directory) bool) {
	for _, d := range all.unique() {
		if needed(d) {
			continue
		}
		all.mu.Lock()
		maps.DeleteFunc(all.byPath, func(_ string, other *directory) bool { return other == d })
		all.former = slices.DeleteFunc(all.former, func(other *directory) bool { return other == d })
		all.mu.Unlock()
		all.tasks.Go(func() {
			d.finish.drain(all.hurry)
			all.shut(all.hurry, d)
			all.log.Info("directory is no longer used", "directory", d.path)
		})
	}
}

// shut shuts down one directory. Hooks may run until the context ends.
func (all *directories) shut(ctx context.Context, d *directory) {
	if d.endRetention != nil {
		d.endRetention()
		<-d.retentionEnded
	} else {
		d.store.Close() // otherwise Follow closes it
	}
	d.finish.close(ctx)
	d.seals.stop(all.end.digests(ctx), d.store)
	if d.started {
		d.ledger.note(all.end.line(all.run))
	}
	d.ledger.close()
	_ = d.lock.Release()
}

// rest stops the steps on finished files. Hooks may run until the context ends.
func (all *directories) rest(ctx context.Context) {
	var resting sync.WaitGroup
	for _, d := range all.unique() {
		resting.Go(func() { d.finish.rest(ctx) })
	}
	resting.Wait()
}

// close shuts down all directories. Hooks may run until the context ends.
func (all *directories) close(ctx context.Context) {
	defer context.AfterFunc(ctx, all.hurryNow)()
	for _, d := range all.unique() {
		all.shut(ctx, d)
	}
	all.tasks.Wait()
	all.hurryNow()
}
