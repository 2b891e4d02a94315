package daemon

import (
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"

	"capd/config"
	"capd/writer"
)

// directories are those that are recorded into, each proven and locked.
type directories struct {
	byPath map[string]*directory
}

type directory struct {
	lock *writer.Lock
	last map[writer.Lane]uint64 // highest sequence numbers
}

// openDirectories proves and locks every directory of the configuration.
func openDirectories(c *config.Config, log *slog.Logger) (*directories, error) {
	modes := make(map[string]config.FileMode)
	for i := range c.Interfaces {
		modes[c.Interfaces[i].Directory] = c.Interfaces[i].FileMode
	}
	all := &directories{byPath: make(map[string]*directory)}
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
	all.byPath[path] = &directory{lock: lock, last: contents.Last}
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

func (all *directories) close() {
	for _, d := range all.byPath {
		_ = d.lock.Release()
	}
}
