package store

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Hold protects a file from being deleted until Release, over restarts too. It reports whether the
// file was not held before. An unfinished file stays held after it is finished. The error wraps
// fs.ErrNotExist if there is no such file.
func (d *Directory) Hold(name Name) (changed bool, err error) {
	path := filepath.Join(d.path, name.String())
	h, err := os.OpenFile(path+Hold.Ext(), os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, DefaultFileMode)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	if changed = err == nil; changed {
		GiveToOwner(h)
		err = errors.Join(h.Close(), SyncDirectory(d.path))
	} else {
		err = nil
	}
	// Check after creating the hold: the file may have been deleted just before.
	if err == nil && !d.Has(name) {
		err = &fs.PathError{Op: "hold", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil && changed {
		_ = os.Remove(path + Hold.Ext())
	}
	d.LookAt(name.String() + Hold.Ext())
	return changed && err == nil, err
}

// Release ends the protection of a file, and reports whether it was held.
func (d *Directory) Release(name Name) (changed bool, err error) {
	base := name.String()
	for _, above := range append(WithData(), Recording) {
		s := base + above.Ext() + Hold.Ext()
		switch err := os.Remove(filepath.Join(d.path, s)); {
		case err == nil:
			changed = true
		case !errors.Is(err, fs.ErrNotExist):
			return changed, err
		}
	}
	d.LookAt(base + Hold.Ext())
	return changed, SyncDirectory(d.path)
}

// IsHeld reports whether a Hold protects the file on disk. It returns true if that can't be
// determined.
func (d *Directory) IsHeld(name Name) bool {
	for _, above := range append(WithData(), Recording) {
		if _, err := os.Lstat(filepath.Join(d.path, name.String()+above.Ext()+Hold.Ext())); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// Has reports whether the file exists on disk: finished, unfinished or damaged.
func (d *Directory) Has(name Name) bool {
	_, there := d.Locate(name)
	return there
}

// Locate asks the disk for the path that the file has in its present state; if it is not there, for that of the finished
// file. A file that is being compressed has the path that it will keep.
func (d *Directory) Locate(name Name) (path string, there bool) {
	finished := filepath.Join(d.path, name.String())
	for _, s := range [...]State{Zstd, Gzip, Finished, Recording, Damaged} {
		if _, err := os.Lstat(finished + s.Ext()); err == nil {
			return finished + s.Ext(), true
		}
	}
	return finished, false
}

// Held returns the names that are held, even if the files do not exist any more.
func (d *Directory) Held() (names []Name) {
	for f := range d.All() {
		if f.Held {
			names = append(names, f.Name)
		}
	}
	slices.SortFunc(names, compareNames)
	return names
}

// Since returns the names of the files, unfinished ones included, that hold packets from the time t
// on by the recorder's clock, sorted by interface, lane and sequence number. A file is taken to
// reach up to the begin of the next one.
func (d *Directory) Since(t time.Time) (names []Name) {
	var all []Name
	for f := range d.All() {
		if _, unfinished := f.Unfinished(); unfinished || f.HasData() {
			all = append(all, f.Name)
		}
	}
	slices.SortFunc(all, compareNames)
	for i, n := range all {
		last := i+1 == len(all) || all[i+1].Of() != n.Of()
		// Names have whole seconds: the next file may begin up to one second later.
		if last || all[i+1].Start.Add(time.Second).After(t) {
			names = append(names, n)
		}
	}
	return names
}

// Partials returns the names of unfinished files, sorted by name.
func (d *Directory) Partials() (names []Name) {
	for f := range d.All() {
		if f.Is(Recording) {
			names = append(names, f.Name)
		}
	}
	slices.SortFunc(names, func(a, b Name) int { return strings.Compare(a.String(), b.String()) })
	return names
}

// compareNames sorts by interface, lane and sequence number.
func compareNames(a, b Name) int {
	return cmp.Or(strings.Compare(a.Interface, b.Interface), cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Sequence, b.Sequence))
}
