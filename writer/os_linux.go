package writer

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapRegion maps n bytes of a memfd, which another process can map too if it gets the descriptor:
// of the given one, or else of a new one. Where the system refuses a memfd, the memory is anonymous.
func mapRegion(n int, memfd *os.File) (*region, error) {
	r, err := mapAnonymous(n)
	if err != nil {
		return nil, err
	}
	var fd int
	if memfd != nil {
		fd, err = duplicate(memfd, int64(n))
	} else if fd, err = newMemfd(int64(n)); err != nil {
		return r, nil
	}
	if err != nil {
		r.close()
		return nil, err
	}
	// The memfd takes the place of the anonymous memory, because only with an address can it be
	// aligned to huge pages.
	_, err = unix.MmapPtr(fd, 0, unsafe.Pointer(&r.mem[0]), uintptr(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
	if err != nil {
		_ = unix.Close(fd)
		r.close()
		return nil, fmt.Errorf("map %d bytes of a memfd: %w", n, err)
	}
	r.fd = fd
	return r, nil
}

// file returns a duplicate of the memfd; nil if there is none.
func (r *region) file() (*os.File, error) {
	if r.fd < 0 {
		return nil, nil
	}
	fd, err := unix.FcntlInt(uintptr(r.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "capd-chunks"), nil
}

// duplicate returns another descriptor of a memfd, which has to have n bytes.
func duplicate(memfd *os.File, n int64) (int, error) {
	info, err := memfd.Stat()
	if err != nil {
		return -1, err
	}
	if info.Size() != n {
		return -1, fmt.Errorf("the memory of chunks has %d bytes, and not %d", info.Size(), n)
	}
	return unix.FcntlInt(memfd.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// newMemfd creates a memfd of n bytes, which takes no memory yet.
func newMemfd(n int64) (int, error) {
	// A larger file than the limit would end the process with SIGXFSZ.
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil || limit.Cur < uint64(n) {
		return -1, unix.EFBIG
	}
	fd, err := unix.MemfdCreate("capd", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("capd", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return -1, err
	}
	if err := unix.Ftruncate(fd, n); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// touch has the system allocate the pages of n bytes at off, which nobody uses, on huge pages where
// it has them: copies into them cause fewer TLB misses, and a direct write pins a few pages instead
// of thousands. After an error some of the pages may be missing, and a write to a missing page of a
// memfd can end the process.
func (r *region) touch(off, n int) error {
	mem := r.mem[off : off+n]
	huge := mem[:len(mem)&^(hugePage-1)]
	switch {
	case r.fd < 0:
		_ = unix.Madvise(huge, unix.MADV_HUGEPAGE)
	case len(huge) > 0:
		// A memfd gets huge pages only afterwards (Linux 6.1), and only where it has a page already.
		for at := off; at < off+len(huge); at += hugePage {
			if err := unix.Fallocate(r.fd, 0, int64(at), align); err != nil {
				return err
			}
		}
		_ = unix.Madvise(huge, unix.MADV_COLLAPSE)
	}
	err := unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// Before Linux 5.14.
	if r.fd >= 0 {
		if err := unix.Fallocate(r.fd, 0, int64(off), int64(n)); err != nil {
			return err
		}
	}
	writePages(mem)
	return nil
}

// release gives the pages of n bytes at off back to the system.
func (r *region) release(off, n int) error {
	if r.fd < 0 {
		return unix.Madvise(r.mem[off:off+n], unix.MADV_DONTNEED)
	}
	return unix.Fallocate(r.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
}
