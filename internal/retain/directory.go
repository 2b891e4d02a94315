package retain

import (
	"capd/store"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Ends of names beside that of a finished file.
const (
	// Hold is what the name of a file ends with that keeps the one without it
	// from being deleted.
	Hold = ".hold"

	deleting = ".deleting" // a large file on its way out
)

// compressed are the ends of names that a finished file may have too.
var compressed = [...]string{".zst", ".gz"}

var errHeld = errors.New("held")

// A leftover is a file whose deletion did not end.
type leftover struct {
	path string // with deleting
	name store.Name
}

// found is what a directory holds.
type found struct {
	files      map[string]File
	held       []string
	leftovers  []leftover
	unreadable uint64
}

func readDirectory(dir string) (found, error) {
	f := found{files: make(map[string]File)}
	h, err := os.Open(dir)
	if err != nil {
		return f, err
	}
	defer h.Close()
	for {
		entries, err := h.ReadDir(4096)
		for _, e := range entries {
			f.add(dir, e)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return f, err
		}
	}
	for _, s := range f.held {
		for _, s := range []string{finished(s), finished(s) + store.Partial} {
			if file, ok := f.files[s]; ok {
				file.Held = true
				f.files[s] = file
			}
		}
	}
	return f, nil
}

// add takes note of an entry, if it is one of capd's. Links, directories and
// devices are not.
func (f *found) add(dir string, e fs.DirEntry) {
	s := e.Name()
	if held, ok := strings.CutSuffix(s, Hold); ok {
		f.held = append(f.held, held)
		return
	}
	name, ext, ok := parse(s)
	if !ok || !e.Type().IsRegular() {
		return
	}
	info, err := e.Info()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.unreadable++
		}
		return
	}
	switch ext {
	case deleting:
		f.leftovers = append(f.leftovers, leftover{filepath.Join(dir, s), name})
	case store.Partial, store.DamagedExt:
		f.files[s] = File{Name: name, Size: info.Size(), Partial: true}
	default:
		s = strings.TrimSuffix(s, ext)
		f.files[s] = File{Name: name, Size: f.files[s].Size + info.Size()}
	}
}

// parse parses the name of a file of capd's, in whatever state it is.
func parse(s string) (name store.Name, ext string, ok bool) {
	if name, err := store.ParseName(s); err == nil {
		return name, "", true
	}
	ext = filepath.Ext(s)
	switch ext {
	case deleting, store.Partial, store.DamagedExt, compressed[0], compressed[1]:
	default:
		return name, "", false
	}
	s = strings.TrimSuffix(s, ext)
	if ext == deleting {
		s = finished(s)
	}
	name, err := store.ParseName(s)
	return name, ext, err == nil
}

// finished cuts off what compression adds to a name.
func finished(s string) string {
	for _, ext := range compressed {
		s = strings.TrimSuffix(s, ext)
	}
	return s
}

// unlink deletes a finished file and its compressed likes, and returns how many
// bytes that freed.
func (k *Keeper) unlink(ctx context.Context, s string) (freed int64, err error) {
	path := filepath.Join(k.opt.Directory, s)
	states := append([]string{""}, compressed[:]...)
	for _, ext := range states {
		if _, err := os.Lstat(path + ext + Hold); !errors.Is(err, fs.ErrNotExist) {
			return 0, errHeld // or nobody knows: then it stays too
		}
	}
	missing := 0
	for _, ext := range states {
		n, err := k.remove(ctx, path+ext)
		freed += n
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing++
		case err != nil:
			return freed, err
		}
	}
	if missing == len(states) {
		return 0, fs.ErrNotExist
	}
	return freed, nil
}

// remove deletes a regular file. A large one goes out of sight first and then
// step by step: to free many blocks at once would stall the writer's disk.
func (k *Keeper) remove(ctx context.Context, path string) (freed int64, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, &fs.PathError{Op: "remove", Path: path, Err: errors.New("not a regular file")}
	}
	// What has another name must not be cut short under it.
	if info.Size() <= k.opt.Step || links(info) != 1 {
		return info.Size(), os.Remove(path)
	}
	if err := os.Rename(path, path+deleting); err != nil {
		return 0, err
	}
	return info.Size(), k.shrink(ctx, path+deleting)
}

// shrink cuts a file that is out of sight step by step, and removes it. What a
// context interrupts goes on after the next start.
func (k *Keeper) shrink(ctx context.Context, path string) error {
	h, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for size := info.Size() - k.opt.Step; size > 0 && info.Mode().IsRegular() && links(info) == 1; size -= k.opt.Step {
		if err := h.Truncate(size); err != nil {
			return err
		}
		timer.Reset(k.opt.Pause)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
	return os.Remove(path)
}

// links returns how many names a file has.
func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 0
}

// finishLeftovers deletes what an earlier run was about to.
func (k *Keeper) finishLeftovers(ctx context.Context) {
	for len(k.leftovers) > 0 && ctx.Err() == nil {
		l := k.leftovers[0]
		k.leftovers = k.leftovers[1:]
		info, err := os.Lstat(l.path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		err = k.shrink(ctx, l.path)
		if err != nil {
			err = fmt.Errorf("retain: %w", err)
		}
		if ctx.Err() == nil && k.opt.Deleted != nil {
			k.opt.Deleted(Deletion{l.name, info.Size(), Resumed}, err)
		}
	}
}
