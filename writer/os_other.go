//go:build unix && !linux

package writer

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func mapRegion(n int, memfd *os.File) (*region, error) {
	if memfd != nil {
		return nil, errors.ErrUnsupported
	}
	return mapAnonymous(n)
}

// file returns nil: the memory ends with the process.
func (r *region) file() (*os.File, error) { return nil, nil }

// touch has the system allocate the pages of n bytes at off, which nobody uses.
func (r *region) touch(off, n int) error {
	writePages(r.mem[off : off+n])
	return nil
}

// release gives the pages of n bytes at off back to the system.
func (r *region) release(off, n int) error {
	return unix.Madvise(r.mem[off:off+n], unix.MADV_FREE)
}
