package store

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Hold protects a file from being deleted until Release, over restarts too. It reports whether the
// file was not held without a case before. An unfinished file stays held after it is finished. The
// error wraps fs.ErrNotExist if there is no such file.
func (d *Directory) Hold(name Name) (changed bool, err error) {
	return d.hold(name, func(h *Holds) bool {
		changed := !h.Plain
		h.Plain = true
		return changed
	})
}

// Release ends the protection of a file by Hold, and reports whether there was one. What a file is
// held for by HoldFor stays.
func (d *Directory) Release(name Name) (changed bool, err error) {
	base := name.String()
	changed, err = d.release(name, func(h *Holds) bool {
		changed := h.Plain
		h.Plain = false
		return changed
	})
	if err != nil {
		return changed, err
	}
	for _, above := range heldBeside {
		switch err := os.Remove(filepath.Join(d.path, base+above.Ext()+Hold.Ext())); {
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
