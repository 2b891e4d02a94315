package store

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writesOf finds out where a direct write to the file goes, of which a page is on the disk. That O_DIRECT is accepted says little:
// tmpfs, ext4 with data=journal and btrfs with checksums write through the page cache all the same.
func writesOf(f *os.File, path, fileSystem string) Writes {
	var st unix.Statx_t
	told := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st) == nil && st.Mask&unix.STATX_DIOALIGN != 0
	switch {
	case told && (st.Dio_mem_align == 0 || st.Dio_offset_align == 0):
		return WritesCached
	case fileSystem == fuse: // its server decides, of which the kernel knows nothing
		return WritesUnknown
	}
	switch w := observe(f, path); {
	case w != WritesUnknown:
		return w
	case told:
		return WritesDirect
	case fileSystem == "tmpfs":
		return WritesCached
	}
	return WritesUnknown
}

// observe maps the first page, so that it is in the page cache, and writes it directly. A write past the page cache drops the page
// from there; one through the cache finds it, and leaves it, even if it cleans up behind itself, because it is mapped.
func observe(f *os.File, path string) Writes {
	h, err := os.Open(path)
	if err != nil {
		return WritesUnknown
	}
	defer h.Close()
	mem, err := unix.Mmap(int(h.Fd()), 0, pageSize, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return WritesUnknown
	}
	defer func() { _ = unix.Munmap(mem) }()
	if cached, err := resident(mem); err != nil || !cached {
		return WritesUnknown
	}
	if _, err := f.WriteAt(page(0), 0); err != nil {
		return WritesUnknown
	}
	switch cached, err := resident(mem); {
	case err != nil:
		return WritesUnknown
	case cached:
		return WritesCached
	}
	return WritesDirect
}

// resident reports whether the page is in the page cache, or mapped.
func resident(page []byte) (bool, error) {
	var state byte
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&page[0])), uintptr(len(page)), uintptr(unsafe.Pointer(&state)))
	if errno != 0 {
		return false, errno
	}
	return state&1 != 0, nil
}
