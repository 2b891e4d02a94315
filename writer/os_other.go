//go:build unix && !linux

package writer

import (
	"errors"
	"io/fs"
	"os"
)

// openDirect is refused: these systems have no O_DIRECT that fits.
func openDirect(string, int, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }

func refusesDirect(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

func preallocate(*os.File, int64, int64) error { return errors.ErrUnsupported }

func writeBehind(*os.File, int64, int64) error { return nil }

func startSync(*os.File) {}

// syncData waits until the file's bytes and size are on the disk.
func syncData(f *os.File) error { return f.Sync() }

func rename(from, to string) error { return renameChecked(from, to) }

func adviseHuge([]byte) {}
