//go:build unix && !linux && !darwin

package store

import (
	"errors"
	"io/fs"
	"os"
)

// OpenDirect is refused: OpenBSD has no O_DIRECT, and on FreeBSD and NetBSD it
// is a hint, whose effect on writes is not measured.
func OpenDirect(string, int, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }

// RefusesDirect reports whether an error of OpenDirect says that the file system
// can't write past the page cache.
func RefusesDirect(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// Preallocate is refused: posix_fallocate(2), which FreeBSD and NetBSD have,
// makes the file longer at once, and its readers would meet zeros.
func Preallocate(*os.File, int64, int64) error { return errors.ErrUnsupported }

// StartWrite does nothing: the system has no call for it.
func StartWrite(*os.File, int64, int64) error { return nil }

// WriteThrough does nothing: the system has no call for it.
func WriteThrough(*os.File, int64, int64) error { return nil }

// DropCache does nothing: the system has no call for it.
func DropCache(*os.File, int64, int64) {}

// SyncData waits until the file's bytes and size are on the disk.
func SyncData(f *os.File) error { return f.Sync() }

// Rename gives a file another name and never replaces a file. The error wraps
// fs.ErrExist where the name is taken.
func Rename(from, to string) error { return renameChecked(from, to) }
