package writer

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openDirect opens a file whose writes leave nothing in the page cache
// (F_NOCACHE of fcntl(2)). Like O_DIRECT it wants whole pages to be of use.
func openDirect(path string, flags int, mode fs.FileMode) (*os.File, error) {
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

func refusesDirect(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// preallocate reserves space behind what the file has, without changing its
// size. What is not written goes back when the file is closed.
func preallocate(f *os.File, _, n int64) error {
	return unix.FcntlFstore(f.Fd(), unix.F_PREALLOCATE, &unix.Fstore_t{
		Flags: unix.F_ALLOCATEALL, Posmode: unix.F_PEOFPOSMODE, Length: n,
	})
}

func writeBehind(*os.File, int64, int64) error { return nil }

func startSync(*os.File) {}

// syncData waits until the file's bytes and size are on the disk: Go's Sync is
// F_FULLFSYNC here, which empties the disk's own cache too, as fsync(2) does not.
func syncData(f *os.File) error { return f.Sync() }

func rename(from, to string) error { return renameChecked(from, to) }

func adviseHuge([]byte) {}

func populate([]byte) error { return errors.ErrUnsupported }
