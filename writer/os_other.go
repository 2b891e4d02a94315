//go:build unix && !linux && !darwin

package writer

import (
	"errors"
	"io/fs"
	"os"
)

// openDirect is refused: OpenBSD has no O_DIRECT, and on FreeBSD and NetBSD it
// is a hint, whose effect on writes nobody has measured here.
func openDirect(string, int, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }

func refusesDirect(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// preallocate is refused: posix_fallocate(2), which FreeBSD and NetBSD have,
// makes the file longer at once, and its readers would meet zeros.
func preallocate(*os.File, int64, int64) error { return errors.ErrUnsupported }

func writeBehind(*os.File, int64, int64) error { return nil }

func startSync(*os.File) {}

// syncData waits until the file's bytes and size are on the disk.
func syncData(f *os.File) error { return f.Sync() }

func rename(from, to string) error { return renameChecked(from, to) }

func adviseHuge([]byte) {}

func populate([]byte) error { return errors.ErrUnsupported }
