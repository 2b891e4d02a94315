package writer

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages (madvise(2)); what the kernel says is no
// matter.
func adviseHuge(mem []byte) { _ = unix.Madvise(mem, unix.MADV_HUGEPAGE) }

// populate has the system give the memory its pages, as a write to each would.
// Kernels before 5.14 refuse it.
func populate(mem []byte) error { return unix.Madvise(mem, unix.MADV_POPULATE_WRITE) }
