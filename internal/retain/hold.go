package retain

import (
	"capd/store"
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

// Hold keeps a file from being deleted until Release, over restarts. It reports
// whether it was not held before. An unfinished file is held once it is
// finished. The error wraps fs.ErrNotExist if there is no such file.
func (k *Keeper) Hold(name store.Name) (changed bool, err error) {
	path := filepath.Join(k.opt.Directory, name.String())
	h, err := os.OpenFile(path+Hold, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, store.DefaultFileMode)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	if changed = err == nil; changed {
		err = errors.Join(h.Close(), store.SyncDirectory(k.opt.Directory))
	} else {
		err = nil
	}
	// Only now: it may have been deleted just before.
	if err == nil && !exists(path) {
		err = &fs.PathError{Op: "hold", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		if changed {
			_ = os.Remove(path + Hold)
		}
		return false, err
	}
	k.setHeld(name, true)
	return changed, nil
}

// Release lets a file be deleted again, and reports whether it was held.
func (k *Keeper) Release(name store.Name) (changed bool, err error) {
	path := filepath.Join(k.opt.Directory, name.String())
	for _, ext := range append([]string{""}, compressed[:]...) {
		switch err := os.Remove(path + ext + Hold); {
		case err == nil:
			changed = true
		case !errors.Is(err, fs.ErrNotExist):
			return changed, err
		}
	}
	k.setHeld(name, false)
	return changed, store.SyncDirectory(k.opt.Directory)
}

// setHeld takes over what the directory says now.
func (k *Keeper) setHeld(name store.Name, held bool) {
	s := name.String()
	k.mu.Lock()
	if f, ok := k.files[s]; ok {
		f.Held = held
		k.files[s] = f
	} else { // unfinished, and perhaps not met yet
		f := k.files[s+store.Partial]
		f.Name, f.Partial, f.Held = name, true, held
		k.files[s+store.Partial] = f
	}
	k.mu.Unlock()
	if !held {
		k.Wake()
	}
}

// exists reports whether the file is there in any of its states.
func exists(path string) bool {
	for _, ext := range append([]string{"", store.Partial, store.DamagedExt}, compressed[:]...) {
		if _, err := os.Lstat(path + ext); err == nil {
			return true
		}
	}
	return false
}

// Has reports whether the directory has the file, in any of its states.
func (k *Keeper) Has(name store.Name) bool {
	return exists(filepath.Join(k.opt.Directory, name.String()))
}

// Directory returns the path of the directory that is kept.
func (k *Keeper) Directory() string { return k.opt.Directory }

// Held returns the names of all files that are held.
func (k *Keeper) Held() ([]store.Name, error) {
	found, err := readDirectory(k.opt.Directory)
	if err != nil {
		return nil, err
	}
	var names []store.Name
	for _, s := range found.held {
		if name, err := store.ParseName(finished(s)); err == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Since returns the names of the files that hold what came since a time by the
// recorder's clock, unfinished ones too: a file reaches up to the begin of the
// one after it.
func (k *Keeper) Since(t time.Time) ([]store.Name, error) {
	found, err := readDirectory(k.opt.Directory)
	if err != nil {
		return nil, err
	}
	all := make([]store.Name, 0, len(found.files))
	for _, f := range found.files {
		all = append(all, f.Name)
	}
	slices.SortFunc(all, func(a, b store.Name) int {
		return cmp.Or(strings.Compare(a.Interface, b.Interface), cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Sequence, b.Sequence))
	})
	var names []store.Name
	for i, n := range all {
		last := i+1 == len(all) || all[i+1].Interface != n.Interface || all[i+1].Lane != n.Lane
		// Names have whole seconds: the next file may begin up to one later.
		if last || all[i+1].Start.Add(time.Second).After(t) {
			names = append(names, n)
		}
	}
	return names, nil
}

// ParseName parses the name of a file of capd's, whether it is finished,
// compressed or neither.
func ParseName(s string) (store.Name, error) {
	for _, ext := range append([]string{store.Partial, store.DamagedExt}, compressed[:]...) {
		s = strings.TrimSuffix(s, ext)
	}
	return store.ParseName(s)
}
