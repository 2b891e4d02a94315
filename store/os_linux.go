package store

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// OpenDirect opens a file whose writes bypass the page cache.
func OpenDirect(path string, flags int, mode fs.FileMode) (*os.File, error) {
	return OpenFile(path, flags|unix.O_DIRECT, mode)
}

// RefusesDirect reports whether an error of OpenDirect, or of a write of whole
// pages to such a file, says that the file system has no O_DIRECT (open(2)).
func RefusesDirect(err error) bool { return errors.Is(err, unix.EINVAL) }

// Preallocate reserves n bytes of space from the offset on. It does not change the file's size, so
// that a reader never sees the reserved zeros.
func Preallocate(f *os.File, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// StartWrite starts writing n bytes from the offset on to the disk, or up to the file's end if n is
// 0. It does not wait.
func StartWrite(f *os.File, off, n int64) error {
	return ignoreRefusal(unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE))
}

// WriteThrough waits until n bytes from the offset on are on the disk, and drops them from the page
// cache. Otherwise the cache would fill, evict the pages of other programs, and stall writers when
// it is full.
func WriteThrough(f *os.File, off, n int64) error {
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	if err := ignoreRefusal(unix.SyncFileRange(int(f.Fd()), off, n, wait)); err != nil {
		return err
	}
	DropCache(f, off, n)
	return nil
}

// ignoreRefusal returns nil for errors that mean that the file system does not support the
// operation.
func ignoreRefusal(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// DropCache drops n bytes from the offset on from the page cache, or up to the file's end if n is
// 0. Pages that are not on the disk yet stay.
func DropCache(f *os.File, off, n int64) { _ = unix.Fadvise(int(f.Fd()), off, n, unix.FADV_DONTNEED) }

// SyncData waits until the file's bytes and size are on the disk.
func SyncData(f *os.File) error {
	return again(func() error { return unix.Fdatasync(int(f.Fd())) })
}

// Rename renames a file and never replaces another one. The error wraps fs.ErrExist if the name is
// taken.
func Rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return renameChecked(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
