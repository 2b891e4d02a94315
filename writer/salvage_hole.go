//go:build freebsd || darwin

package writer

import (
	"os"

	"golang.org/x/sys/unix"
)

// nextHole returns where the file's first hole at or after the offset begins;
// its size if there is none, or none can be found.
func nextHole(h *os.File, off, size int64) int64 {
	hole, err := unix.Seek(int(h.Fd()), off, unix.SEEK_HOLE)
	if err != nil || hole > size {
		return size
	}
	return hole
}

func seekHole(h *os.File, off, size int64) int64 { return nextHole(h, off, size) }
