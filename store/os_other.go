//go:build unix && !linux && !darwin

package store

import (
	"errors"
	"io/fs"
	"os"
)

// OpenDirect is not supported: OpenBSD has no O_DIRECT, and on FreeBSD and NetBSD it is a hint
// whose effect on writes was not measured.
func OpenDirect(string, int, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }

// RefusesDirect reports whether an error of OpenDirect means that the file system can't bypass the
// page cache.
func RefusesDirect(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// Preallocate is not supported: posix_fallocate(2), which FreeBSD and NetBSD have, extends the
// file's size, so that readers would see zeros.
func Preallocate(*os.File, int64, int64) error { return errors.ErrUnsupported }

// StartWrite does nothing: the system has no call for it.
func StartWrite(*os.File, int64, int64) error { return nil }

// WriteThrough does nothing: the system has no call for it.
func WriteThrough(*os.File, int64, int64) error { return nil }

// DropCache does nothing: the system has no call for it.
func DropCache(*os.File, int64, int64) {}

// SyncData waits until the file's bytes and size are on the disk.
func SyncData(f *os.File) error { return f.Sync() }

// Rename renames a file and never replaces another one. The error wraps fs.ErrExist if the name is
// taken.
func Rename(from, to string) error { return renameChecked(from, to) }

// Buffer is not supported.
func Buffer(*os.File) error { return errors.ErrUnsupported }

// SyncPages does nothing: the system has no call for it.
func SyncPages(*os.File) error { return nil }

// SyncFileSystem is not supported: sync(2) of these systems need not wait.
func SyncFileSystem(*os.File) (wait func() error, err error) { return nil, errors.ErrUnsupported }
