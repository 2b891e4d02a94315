package store

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// renameChecked renames where the system can't refuse to replace by itself.
// The directory's lock keeps others of ours from coming in between.
func renameChecked(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}

// SyncDirectory writes the directory's entries to the disk, such as those of
// files that were made, renamed or removed in it.
func SyncDirectory(dir string) error {
	h, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(h.Sync(), h.Close())
}

// OpenRegular opens a file that is no link, no device and no directory, and
// never waits for a pipe's other end.
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
