package writer

import (
	"os"

	"golang.org/x/sys/unix"
)

// nextHole returns where the file's first hole at or after the offset begins;
// its size if there is none, or none can be found. Space that is reserved but
// not written is a hole, unless someone has read it: pages in the cache pass
// for data. So they are dropped first.
func nextHole(h *os.File, off, size int64) int64 {
	fd := int(h.Fd())
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
	hole, err := unix.Seek(fd, off, unix.SEEK_HOLE)
	if err != nil || hole > size {
		return size
	}
	return hole
}
