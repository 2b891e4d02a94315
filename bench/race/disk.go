//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Parameters of the plain writer that measures the disk's speed.
const (
	diskChunk    = 4 << 20 // bytes
	diskInFlight = 4
	diskAhead    = 1 << 30 // bytes preallocated
	diskMost     = 8 << 30 // largest number of bytes written
)

// A DiskLimit is the speed at which a plain O_DIRECT writer can write to the disk.
type DiskLimit struct {
	BytesPerSecond float64
	CPUShare       float64 // share of one core that the writer uses
	Bytes          int64
}

// Errors for unsuitable folders. tmpfs accepts O_DIRECT since Linux 6.6.
var (
	errNoDirect = errors.New("the file system does not take O_DIRECT: choose a folder on a disk with -dir")
	errMemory   = errors.New("tmpfs is memory: choose a folder on a disk with -dir")
)

// measureDisk writes to a file in dir for the duration d, and removes the file.
func measureDisk(dir string, d time.Duration) (DiskLimit, error) {
	path := filepath.Join(dir, "disk-limit")
	if fileSystem(dir) == "tmpfs" {
		return DiskLimit{}, errMemory
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_DIRECT, 0o600)
	if errors.Is(err, unix.EINVAL) {
		return DiskLimit{}, errors.Join(errNoDirect, ignoreMissing(os.Remove(path)))
	}
	if err != nil {
		return DiskLimit{}, err
	}
	chunk, err := newChunk()
	if err != nil {
		return DiskLimit{}, errors.Join(err, f.Close(), os.Remove(path))
	}
	defer unix.Munmap(chunk)
	before, begin := selfCPU(), time.Now()
	w := diskWriter{fd: int(f.Fd()), chunk: chunk, end: begin.Add(d)}
	err = w.run()
	took := time.Since(begin)
	cpu := selfCPU() - before
	if err = errors.Join(err, f.Close(), os.Remove(path)); err != nil {
		return DiskLimit{}, fmt.Errorf("measure disk: %w", err)
	}
	n := w.written.Load()
	return DiskLimit{float64(n) / took.Seconds(), cpu.Seconds() / took.Seconds(), n}, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

type diskWriter struct {
	fd      int
	chunk   []byte // shared by all writers, which only read it
	end     time.Time
	offset  atomic.Int64
	written atomic.Int64

	mu        sync.Mutex
	allocated int64
}

func (w *diskWriter) run() error {
	errs := make(chan error, diskInFlight)
	for range diskInFlight {
		go func() { errs <- w.writeChunks() }()
	}
	var err error
	for range diskInFlight {
		err = errors.Join(err, <-errs)
	}
	return err
}

func (w *diskWriter) writeChunks() error {
	for {
		off := w.offset.Add(diskChunk) - diskChunk
		if off >= diskMost {
			return nil
		}
		if err := w.allocate(off + diskChunk); err != nil {
			return err
		}
		n, err := unix.Pwrite(w.fd, w.chunk, off)
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if w.written.Add(int64(n)); time.Now().After(w.end) {
			return nil
		}
	}
}

// newChunk returns aligned memory with incompressible bytes.
func newChunk() ([]byte, error) {
	chunk, err := unix.Mmap(-1, 0, diskChunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map chunk: %w", err)
	}
	random := rand.NewChaCha8([32]byte{})
	random.Read(chunk)
	return chunk, nil
}

// allocate preallocates space up to the offset. Errors of file systems without preallocation are
// ignored.
func (w *diskWriter) allocate(upTo int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if upTo <= w.allocated {
		return nil
	}
	err := unix.Fallocate(w.fd, unix.FALLOC_FL_KEEP_SIZE, w.allocated, diskAhead)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("allocate: %w", err)
	}
	w.allocated += diskAhead
	return nil
}

// selfCPU returns the processor time that this process has used.
func selfCPU() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// needRoom returns an error if the file system of dir has less than that many bytes free.
func needRoom(dir string, bytes int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return err
	}
	if free := int64(s.Bavail) * s.Bsize; free < bytes {
		return fmt.Errorf("one heat may take %.1f GiB and there are %.1f free: choose another -dir, fewer -seconds, a lower rate",
			gibibytes(bytes), gibibytes(free))
	}
	return nil
}

func gibibytes(n int64) float64 { return float64(n) / (1 << 30) }

// extent returns a file's size and its allocated bytes on disk.
func extent(path string) (size, allocated int64, err error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return s.Size, s.Blocks * 512, nil
}

// flush writes out what earlier heats left in the page cache, so that the next heat does not wait
// for it.
func flush(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync file system: %w", err)
	}
	return nil
}
