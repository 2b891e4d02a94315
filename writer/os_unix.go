package writer

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size in bytes of a huge page on most processors.
const hugePage = 2 << 20

// A region is zeroed memory outside of Go's heap, which the garbage collector neither counts nor
// scans. It begins at a huge page's boundary. The system allocates its pages only when they are
// touched.
type region struct {
	mapping []byte // all that is mapped
	mem     []byte // the aligned part of it
	fd      int    // the memfd whose bytes from 0 on mem is; -1: the memory is anonymous
}

func mapAnonymous(n int) (*region, error) {
	mapping, err := unix.Mmap(-1, 0, n+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes for chunks: %w", n, err)
	}
	skip := int(-uintptr(unsafe.Pointer(&mapping[0])) % hugePage)
	return &region{mapping: mapping, mem: mapping[skip : skip+n : skip+n], fd: -1}, nil
}

// writePages writes to each page, so that the system allocates it.
func writePages(mem []byte) {
	for i := 0; i < len(mem); i += os.Getpagesize() {
		mem[i] = 0
	}
}

func (r *region) close() {
	_ = unix.Munmap(r.mapping)
	if r.fd >= 0 {
		_ = unix.Close(r.fd)
	}
}
