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
	"capd/internal/after"
	"capd/internal/retain"
	"capd/writer"
)

// directories are those that are recorded into, each proven and locked.
type directories struct {
	byPath map[string]*directory
	run    writer.Entry // what the ledgers say of this run
}

type directory struct {
	path   string
	files  int // finished, at the start
	keeper *retain.Keeper
	after  *after.Queue // nil: nothing is done with finished files
	lock   *writer.Lock
	book   *book
	last   map[writer.Lane]uint64 // highest sequence numbers
}

// openDirectories proves and locks every directory of the configuration.
func openDirectories(c *config.Config, opt *Options, log *slog.Logger) (*directories, error) {
	modes := make(map[string]config.FileMode)
	for i := range c.Interfaces {
		modes[c.Interfaces[i].Directory] = c.Interfaces[i].FileMode
	}
	all := &directories{
		byPath: make(map[string]*directory),
		run:    writer.Entry{Software: opt.Application, Boot: boot(), Config: c.Digest(), PID: os.Getpid()},
	}
	for _, path := range slices.Sorted(maps.Keys(modes)) {
		if err := all.open(path, modes[path], c, opt.Self, log); err != nil {
			all.close(context.Background(), log)
			return nil, err
		}
	}
	return all, nil
}

func (all *directories) open(path string, mode config.FileMode, c *config.Config, self []string, log *slog.Logger) error {
	space, err := writer.Prove(path, fs.FileMode(mode))
	if err != nil {
		return fmt.Errorf("directory %s: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		for other, d := range all.byPath {
			if r, err := filepath.EvalSymlinks(other); err == nil && r == real {
				all.byPath[path] = d // two names of one directory: one lock
				return nil
			}
		}
	}
	lock, err := writer.LockDirectory(path)
	if err != nil {
		return err
	}
	d := &directory{path: path, lock: lock}
	// A hook that is new is for the files that come, salvaged ones too.
	if err = d.background(c, self, log); err == nil {
		err = d.fill(path, log)
	}
	if err == nil {
		err = d.keep(path, c, log)
	}
	if err != nil {
		d.closeAfter(context.Background(), log)
		if d.book != nil {
			d.book.close()
		}
		_ = lock.Release()
		return err
	}
	if d.after != nil {
		go d.after.Run(context.Background()) // until closeAfter: hooks may end after the recorders
	}
	all.byPath[path] = d
	log.Info("directory is ready", "directory", path, "file_system", space.FileSystem, "direct", space.Direct,
		"free", config.Size(space.Free).String(), "files", d.files)
	return nil
}

// fill finishes what an earlier run left and reads the directory.
func (d *directory) fill(path string, log *slog.Logger) error {
	ledger, err := writer.OpenLedger(path, writer.LedgerOptions{})
	if err != nil {
		return err
	}
	d.book = openBook(ledger, log.With("directory", path))
	lines, err := unlisted(path) // before salvage adds to what is finished
	if err != nil {
		return err
	}
	d.book.note(lines...)
	if err := d.salvage(path, log); err != nil {
		return err
	}
	contents, err := writer.ReadContents(path)
	d.last, d.files = contents.Last, contents.Files
	return err
}

// salvage finishes the files that an earlier run left unfinished, and tells the
// ledger what became of them.
func (d *directory) salvage(path string, log *slog.Logger) error {
	unfinished := writer.ReadUnfinished(writer.ReadLedger(path, nil), boot())
	recovered, err := writer.Recover(path, unfinished.Checkpoints)
	last := make(map[string]time.Time) // moment of which an interface has a packet
	for i := range recovered {
		r := &recovered[i]
		failed, told := unfinished.Failed[r.Name.String()]
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
			}
		}
	}
	for _, iface := range slices.Sorted(maps.Keys(last)) {
		d.book.note(writer.Entry{Kind: writer.KindGap, Interface: iface, Begin: last[iface], End: time.Now(), Cause: writer.CauseStopped})
	}
	return err
}

// sequence returns the lane's highest sequence number in the directory.
func (all *directories) sequence(path string, lane writer.Lane) uint64 {
	return all.byPath[path].last[lane]
}

// keep remembers the sequence of a recorder that ended.
func (all *directories) keep(r *recorder) {
	last := all.byPath[r.cfg.Directory].last
	last[r.lane] = max(last[r.lane], r.writer.Sequence()) // one that follows may be ahead
}

// retain keeps all directories within their limits until the context ends.
func (all *directories) retain(ctx context.Context, log *slog.Logger) {
	var running sync.WaitGroup
	for _, d := range all.unique() {
		running.Go(func() { d.run(ctx, log) })
	}
	running.Wait()
}

// book returns the directory's ledger.
func (all *directories) book(path string) *book { return all.byPath[path].book }

// note tells all ledgers.
func (all *directories) note(e writer.Entry, kind writer.Kind) {
	e.Kind = kind
	for _, d := range all.unique() {
		d.book.note(e)
	}
}

// unique returns each directory once, whatever names it has.
func (all *directories) unique() []*directory {
	var once []*directory
	for _, path := range slices.Sorted(maps.Keys(all.byPath)) {
		if d := all.byPath[path]; !slices.Contains(once, d) {
			once = append(once, d)
		}
	}
	return once
}

// close ends all that was opened. Hooks may run until the context ends.
func (all *directories) close(ctx context.Context, log *slog.Logger) {
	last := all.run
	last.Kind = writer.KindStop
	for _, d := range all.unique() {
		d.closeAfter(ctx, log)
		d.book.close(last)
		_ = d.lock.Release()
	}
}
