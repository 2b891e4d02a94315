package writer

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages (madvise(2)). Errors are ignored: it is only advice.
func adviseHuge(mem []byte) { _ = unix.Madvise(mem, unix.MADV_HUGEPAGE) }

// populate has the system allocate the memory's pages, as a write to each would. Kernels before
// 5.14 refuse it.
func populate(mem []byte) error { return unix.Madvise(mem, unix.MADV_POPULATE_WRITE) }
