package writer

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openDirect opens a file whose writes go past the page cache.
func openDirect(path string, flags int, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, flags|unix.O_DIRECT, mode)
}

// refusesDirect reports whether the error is a file system's word that it has
// no O_DIRECT (open(2)).
func refusesDirect(err error) bool { return errors.Is(err, unix.EINVAL) }

// preallocate reserves space without changing the file's size, so that a
// reader never meets the zeros.
func preallocate(f *os.File, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// writeBehind starts writing a range to the disk, and drops the range before
// from the page cache: a recorder reads nothing back, and without it the cache
// fills, evicts others and stalls the writer when it overflows.
func writeBehind(f *os.File, off, n int64) error {
	fd := int(f.Fd())
	if err := unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE); err != nil {
		return ignoreRefusal(err)
	}
	if off < n {
		return nil
	}
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	if err := unix.SyncFileRange(fd, off-n, n, wait); err != nil {
		return ignoreRefusal(err)
	}
	return ignoreRefusal(unix.Fadvise(fd, off-n, n, unix.FADV_DONTNEED))
}

func ignoreRefusal(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// startSync begins what syncData waits for, so that several files share the
// wait. An error is left to syncData.
func startSync(f *os.File) { _ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) }

// syncData waits until the file's bytes and size are on the disk.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// rename gives the file its final name and never replaces another.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return renameChecked(from, to)
	}
	return err
}

// adviseHuge asks for huge pages (madvise(2)); what the kernel says is no
// matter.
func adviseHuge(mem []byte) { _ = unix.Madvise(mem, unix.MADV_HUGEPAGE) }

// populate has the system give the memory its pages, as a write to each would.
// Kernels before 5.14 refuse it.
func populate(mem []byte) error { return unix.Madvise(mem, unix.MADV_POPULATE_WRITE) }
