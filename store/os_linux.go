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

// Buffer lets further writes to a file of OpenDirect go through the page cache. The error wraps
// errors.ErrUnsupported where that is not safe: the server of a FUSE or network file system does not
// learn of it.
func Buffer(f *os.File) error {
	if !local(f) {
		return errors.ErrUnsupported
	}
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, 0) // of these flags, only O_DIRECT was set
	return err
}

// local reports whether the file is in one of the file systems whose sources say that they heed a
// cleared O_DIRECT, and that syncfs(2) does for all files what fdatasync(2) does for one. FUSE without
// a block device, for example, takes a syncfs and does nothing.
func local(f *os.File) bool {
	var st unix.Statfs_t
	if again(func() error { return unix.Fstatfs(int(f.Fd()), &st) }) != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
		return true
	}
	return false
}

// SyncPages waits until the file's dirty pages are on the disk. What else a reader needs, such as its
// size, may not be there yet. The error is that of this file's pages.
func SyncPages(f *os.File) error {
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	return ignoreRefusal(again(func() error { return unix.SyncFileRange(int(f.Fd()), 0, 0, wait) }))
}

// SyncFileSystem returns a function that waits until all that was written to the file's file system is
// on the disk. It may be called once, and after the file was closed. The error wraps
// errors.ErrUnsupported where it is not certain that the system does this.
func SyncFileSystem(f *os.File) (wait func() error, err error) {
	if !local(f) {
		return nil, errors.ErrUnsupported
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return func() error {
		defer unix.Close(fd)
		return again(func() error { return unix.Syncfs(fd) })
	}, nil
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
