package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// A directory whose last change is younger may have changed since without another time: a tick of the kernel's clock is 10 ms at most.
	settled = 20 * time.Millisecond
	// A file is renamed at most three times: when it is finished, compressed and deleted.
	mostReadings = 4
)

// Entries lists a directory in which files may be renamed meanwhile, in no order. A directory is not read in one moment, and a file that
// is renamed may pass by a reader under both of its names, so that one reading may lack a file that was there all the time. Entries
// reads a directory again until it did not change. If it changes each time, as one of short files does, each file is there under a
// name that it had.
func Entries(dir string) ([]fs.DirEntry, error) {
	all := make(map[string]fs.DirEntry)
	for range mostReadings {
		entries, stable, err := readOnce(dir)
		if err != nil {
			return nil, fmt.Errorf("read directory %s: %w", dir, err)
		}
		before := len(all)
		for _, e := range entries {
			all[e.Name()] = e
		}
		if stable || before == len(entries) && len(all) == before { // the same names as before
			return entries, nil
		}
	}
	return slices.Collect(maps.Values(all)), nil
}

// readOnce reports in stable whether the directory was the same from the begin of the reading to its end.
func readOnce(dir string) (entries []fs.DirEntry, stable bool, err error) {
	h, err := os.Open(dir)
	if err != nil {
		return nil, false, err
	}
	defer h.Close()
	began := time.Now()
	before, err := h.Stat()
	if err != nil {
		return nil, false, err
	}
	for {
		some, err := h.ReadDir(4096)
		entries = append(entries, some...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, false, err
		}
	}
	after, err := h.Stat()
	if err != nil {
		return nil, false, err
	}
	changed := before.ModTime()
	return entries, changed.Equal(after.ModTime()) && began.Sub(changed) > settled, nil
}

// Present returns the path of a capture file that was seen in one of its states, and has gone on since: to one that is finished,
// compressed or damaged. The error wraps fs.ErrNotExist if the file is gone, or has a name that is not capd's.
func Present(path string) (string, fs.FileInfo, error) {
	info, err := os.Lstat(path)
	name, _, parsed := Parse(filepath.Base(path))
	if !errors.Is(err, fs.ErrNotExist) || parsed != nil {
		return path, info, err
	}
	finished := filepath.Join(filepath.Dir(path), name.String())
	for _, s := range [...]State{Finished, Zstd, Gzip, Damaged} { // in this order: the next one is there before one is gone
		if info, err := os.Lstat(finished + s.Ext()); !errors.Is(err, fs.ErrNotExist) {
			return finished + s.Ext(), info, err
		}
	}
	return path, nil, err
}
