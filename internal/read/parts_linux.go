package read

import (
	"os"

	"golang.org/x/sys/unix"
)

// readsParts keeps the system from reading ahead behind a part.
func readsParts(h *os.File) { _ = unix.Fadvise(int(h.Fd()), 0, 0, unix.FADV_RANDOM) }

// willRead has the system begin to read.
func willRead(h *os.File, off, n int64) { _ = unix.Fadvise(int(h.Fd()), off, n, unix.FADV_WILLNEED) }
