package store

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// renameChecked is Rename where the system has no rename that refuses to replace. The directory's
// lock keeps other processes of capd from creating the name in between.
func renameChecked(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}

// OpenFile is os.OpenFile for regular files. It does not ask whether the system can tell when the file
// is ready, which takes five system calls and is never so.
func OpenFile(path string, flags int, mode fs.FileMode) (*os.File, error) {
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, uint32(mode.Perm()))
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// again makes a system call until no signal interrupts it.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// Taken reports whether anything has that path.
func Taken(path string) bool {
	var st unix.Stat_t
	return again(func() error { return unix.Lstat(path, &st) }) == nil
}

// SyncDirectory writes the directory's entries to the disk, such as those of files that were
// created, renamed or removed.
func SyncDirectory(dir string) error {
	h, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(h.Sync(), h.Close())
}

// OpenRegular opens a regular file. It fails on links, devices and directories, and never waits for
// the other end of a pipe.
func OpenRegular(path string, flags int) (*os.File, error) {
	h, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := h.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}
