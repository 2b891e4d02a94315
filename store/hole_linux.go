package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// NextHole returns where the file's first hole at or after the offset begins, or size if there is
// none or holes can't be found. Space that is reserved but not written is a hole, unless somebody
// has read it: pages in the cache count as data. Therefore NextHole drops the file from the cache
// first.
func NextHole(h *os.File, off, size int64) int64 {
	_ = unix.Fadvise(int(h.Fd()), 0, 0, unix.FADV_DONTNEED)
	return SeekHole(h, off, size)
}

// SeekHole is NextHole without dropping the file from the cache.
func SeekHole(h *os.File, off, size int64) int64 {
	hole, err := unix.Seek(int(h.Fd()), off, unix.SEEK_HOLE)
	if err != nil || hole > size {
		return size
	}
	return hole
}
