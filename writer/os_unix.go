package writer

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapMemory returns zeroed, page aligned memory outside of Go's heap, which the garbage collector
// neither counts nor scans.
func mapMemory(n int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes for a chunk: %w", n, err)
	}
	return mem, nil
}

// hugePage is the size in bytes of a huge page on most processors.
const hugePage = 2 << 20

// mapHuge maps n bytes that begin at a huge page boundary, and asks for huge pages where the system
// has them. Copies into them cause fewer TLB misses, and a direct write pins a few pages instead of
// thousands. It returns the whole mapping, for unmapMemory, and the aligned memory in it.
func mapHuge(n int) (mapping, mem []byte, err error) {
	mapping, err = mapMemory(n + hugePage)
	if err != nil {
		return nil, nil, err
	}
	skip := int(-uintptr(unsafe.Pointer(&mapping[0])) % hugePage)
	mem = mapping[skip : skip+n : skip+n]
	adviseHuge(mem)
	return mapping, mem, nil
}

func unmapMemory(mem []byte) error { return unix.Munmap(mem) }
