package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Draft is a companion of a capture file, or another file about a directory, that is being made. It has a temporary name, which
// no reader of such files looks for, until Commit.
type Draft struct {
	*os.File
	path string
}

// ErrBusy is wrapped by the error of NewDraft when another process makes the same file.
var ErrBusy = errors.New("another process makes it at this moment")

// NewDraft begins a file that is to have the path. One that a process left that was killed is done over.
func NewDraft(path string, mode fs.FileMode) (*Draft, error) {
	tmp := path + Packing.Ext()
	h, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode.Perm())
	if err != nil {
		return nil, err
	}
	if err := again(func() error { return unix.Flock(int(h.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		h.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	mine, err := h.Stat()
	named, err2 := os.Lstat(tmp)
	switch {
	case err != nil:
	case err2 != nil || !os.SameFile(mine, named): // another process has just made it
		err = fmt.Errorf("make %s: %w", path, ErrBusy)
	case !mine.Mode().IsRegular():
		err = &fs.PathError{Op: "make", Path: tmp, Err: errors.New("not a regular file")}
	default:
		err = h.Truncate(0)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	GiveToOwner(h)
	return &Draft{h, path}, nil
}

// Commit syncs the file and gives it its name, in place of one that has it, and closes it.
func (d *Draft) Commit() error {
	err := d.Sync()
	if err == nil {
		err = os.Rename(d.Name(), d.path)
	}
	if err != nil {
		d.Discard()
		return err
	}
	return errors.Join(SyncDirectory(filepath.Dir(d.path)), d.Close())
}

// Place gives the file its name, in place of one that has it, and closes it. It does not sync, so that after a power cut the file may be
// damaged, or the old one: for a file of which every part is checked when it is read, and that can be made again. A sync makes what is
// recorded meanwhile wait for the disk.
func (d *Draft) Place() error {
	if err := os.Rename(d.Name(), d.path); err != nil {
		d.Discard()
		return err
	}
	return d.Close()
}

// Discard closes and removes the file.
func (d *Draft) Discard() {
	_ = os.Remove(d.Name())
	_ = d.Close()
}
