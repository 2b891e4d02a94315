package daemon

import (
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"capd/config"
	"capd/writer"
)

// directories are those that are recorded into, each proven and locked.
type directories struct {
	byPath map[string]*directory
	run    writer.Entry // what the ledgers say of this run
}

type directory struct {
	lock *writer.Lock
	book *book
	last map[writer.Lane]uint64 // highest sequence numbers
}

// openDirectories proves and locks every directory of the configuration.
func openDirectories(c *config.Config, software string, log *slog.Logger) (*directories, error) {
	modes := make(map[string]config.FileMode)
	for i := range c.Interfaces {
		modes[c.Interfaces[i].Directory] = c.Interfaces[i].FileMode
	}
	all := &directories{
		byPath: make(map[string]*directory),
		run:    writer.Entry{Software: software, Boot: boot(), Config: c.Digest(), PID: os.Getpid()},
	}
	for _, path := range slices.Sorted(maps.Keys(modes)) {
		if err := all.open(path, modes[path], log); err != nil {
			all.close()
			return nil, err
		}
	}
	return all, nil
}

func (all *directories) open(path string, mode config.FileMode, log *slog.Logger) error {
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
	contents, err := writer.ReadContents(path)
	if err != nil {
		_ = lock.Release()
		return err
	}
	b, err := openBook(path, log)
	if err != nil {
		_ = lock.Release()
		return err
	}
	all.byPath[path] = &directory{lock: lock, book: b, last: contents.Last}
	log.Info("directory is ready", "directory", path, "file_system", space.FileSystem, "direct", space.Direct,
		"free", config.Size(space.Free).String(), "files", contents.Files)
	if n := len(contents.Partials); n > 0 {
		log.Warn("files of an earlier run are unfinished; they are left as they are", "directory", path,
			"count", n, "first", contents.Partials[0])
	}
	return nil
}

// sequence returns the lane's highest sequence number in the directory.
func (all *directories) sequence(path string, lane writer.Lane) uint64 {
	return all.byPath[path].last[lane]
}

// keep remembers the sequence of a recorder that ended.
func (all *directories) keep(r *recorder) {
	all.byPath[r.cfg.Directory].last[r.lane] = r.writer.Sequence()
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

func (all *directories) close() {
	last := all.run
	last.Kind = writer.KindStop
	for _, d := range all.unique() {
		d.book.close(last)
		_ = d.lock.Release()
	}
}
