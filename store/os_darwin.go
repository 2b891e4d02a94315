package store

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// OpenDirect opens a file whose writes leave nothing in the page cache (F_NOCACHE of fcntl(2)).
// Like O_DIRECT, it is effective only for whole pages.
func OpenDirect(path string, flags int, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flags, mode)
	if err != nil {
		return nil, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_NOCACHE, 1); err != nil {
		f.Close()
		return nil, errors.Join(errors.ErrUnsupported, err)
	}
	return f, nil
}

// RefusesDirect reports whether an error of OpenDirect means that the file system can't bypass the
// page cache.
func RefusesDirect(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// Preallocate reserves n bytes of space beyond the allocated end of the file without changing its
// size. Unused space is freed when the file is closed.
func Preallocate(f *os.File, _, n int64) error {
	return unix.FcntlFstore(f.Fd(), unix.F_PREALLOCATE, &unix.Fstore_t{
		Flags: unix.F_ALLOCATEALL, Posmode: unix.F_PEOFPOSMODE, Length: n,
	})
}

// StartWrite does nothing: the system has no call for it.
func StartWrite(*os.File, int64, int64) error { return nil }

// WriteThrough does nothing: the system has no call for it.
func WriteThrough(*os.File, int64, int64) error { return nil }

// DropCache does nothing: the system has no call for it.
func DropCache(*os.File, int64, int64) {}

// SyncData waits until the file's bytes and size are on the disk. Go's Sync is F_FULLFSYNC here,
// which, unlike fsync(2), flushes the disk's own cache too.
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
