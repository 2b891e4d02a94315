package retain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"capd/store"
)

var errHeld = errors.New("held")

// Files returns the capture files in a directory.
func Files(dir string) ([]File, error) {
	d, err := store.Open(dir)
	if err != nil {
		return nil, err
	}
	return filesOf(d, nil), nil
}

// filesOf returns the files of a directory for a plan. A name with both a finished and an
// unfinished file results in two files, because limits delete only the finished one. steps, if not
// nil, returns a finished file's Pending and KeepUntil.
func filesOf(d *store.Directory, steps func(*store.File) (pending, keepUntil string)) []File {
	all := make([]File, 0, d.Len())
	leased := d.Leased()
	for f := range d.All() {
		if f.HasData() {
			file := File{Name: f.Name, Size: f.Size(), Held: f.Held || leased[f.Name], ByHold: f.Held}
			if steps != nil {
				file.Pending, file.KeepUntil = steps(f)
			}
			all = append(all, file)
		}
		if size, ok := f.Unfinished(); ok {
			all = append(all, File{Name: f.Name, Size: size, Partial: true, Held: f.Held, ByHold: f.Held})
		}
	}
	return all
}

// unlink deletes a finished file in all its forms, compressed or not, after its companions, which
// are worth nothing without it. It returns how many bytes that freed.
func (k *Keeper) unlink(ctx context.Context, name store.Name) (freed int64, err error) {
	path := filepath.Join(k.dir.Path(), name.String())
	if k.dir.IsHeld(name) || k.dir.Leased()[name] {
		return 0, errHeld // held, or unknown whether it is: keep the file
	}
	freed, err = k.removeCompanions(ctx, path)
	if err != nil {
		return freed, err
	}
	missing, states := 0, store.WithData()
	for _, state := range states {
		n, err := k.remove(ctx, path+state.Ext())
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
	n, err := k.removeCompanions(ctx, path) // one may have been made meanwhile
	return freed + n, err
}

// removeCompanions deletes what belongs to a file.
func (k *Keeper) removeCompanions(ctx context.Context, path string) (freed int64, err error) {
	for _, state := range store.Companions() {
		n, err := k.remove(ctx, path+state.Ext())
		freed += n
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, err
		}
	}
	return freed, nil
}

// remove deletes a regular file. A large file is first renamed and then truncated step by step:
// freeing many blocks at once would stall the disk for the writer.
func (k *Keeper) remove(ctx context.Context, path string) (freed int64, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, &fs.PathError{Op: "remove", Path: path, Err: errors.New("not a regular file")}
	}
	// A file with several hard links must not be truncated.
	if info.Size() <= k.opt.Step || links(info) != 1 {
		return info.Size(), os.Remove(path)
	}
	if err := os.Rename(path, path+store.Deleting.Ext()); err != nil {
		return 0, err
	}
	return info.Size(), k.shrink(ctx, path+store.Deleting.Ext())
}

// shrink truncates a renamed file step by step, and removes it. If the context ends before that,
// the next start continues.
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

// links returns the number of hard links of a file.
func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 0
}

// finishDeletions continues deletions that an earlier run has begun.
func (k *Keeper) finishDeletions(ctx context.Context) {
	for _, name := range k.interrupted() {
		for _, state := range append(store.WithData(), store.Companions()...) {
			path := filepath.Join(k.dir.Path(), name.String()+state.Ext()+store.Deleting.Ext())
			info, err := os.Lstat(path)
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			if err = k.shrink(ctx, path); err != nil {
				err = fmt.Errorf("retain: %w", err)
				k.postpone(name)
			}
			if ctx.Err() != nil {
				return
			}
			if k.opt.Deleted != nil {
				k.opt.Deleted(Deletion{Name: name, Size: info.Size(), Limit: Resumed}, err)
			}
		}
		k.dir.Look(name)
	}
}

// interrupted returns the files whose deletion was begun and not finished.
func (k *Keeper) interrupted() (names []store.Name) {
	for f := range k.dir.All() {
		if f.Is(store.Deleting) && !k.postponed(f.Name) {
			names = append(names, f.Name)
		}
	}
	return names
}
