//go:build freebsd || darwin

package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// NextHole returns where the file's first hole at or after the offset begins, or size if there is
// none or holes can't be found.
func NextHole(h *os.File, off, size int64) int64 {
	hole, err := unix.Seek(int(h.Fd()), off, unix.SEEK_HOLE)
	if err != nil || hole > size {
		return size
	}
	return hole
}

// SeekHole is NextHole.
func SeekHole(h *os.File, off, size int64) int64 { return NextHole(h, off, size) }
