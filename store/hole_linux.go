package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// NextHole returns where the file's first hole at or after the offset begins;
// its size if there is none, or none can be found. Space that is reserved but
// not written is a hole, unless someone has read it: pages in the cache pass
// for data. So they are dropped first.
func NextHole(h *os.File, off, size int64) int64 {
	_ = unix.Fadvise(int(h.Fd()), 0, 0, unix.FADV_DONTNEED)
	return SeekHole(h, off, size)
}

// SeekHole is NextHole as the cache has it, which it leaves alone.
func SeekHole(h *os.File, off, size int64) int64 {
	hole, err := unix.Seek(int(h.Fd()), off, unix.SEEK_HOLE)
	if err != nil || hole > size {
		return size
	}
	return hole
}
