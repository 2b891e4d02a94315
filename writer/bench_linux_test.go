package writer

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"capd/store"

	"golang.org/x/sys/unix"
)

// BenchmarkFloor measures the processor time that the kernel alone needs to write 1 MiB with
// O_DIRECT: either continuously into one file, or each MiB into a file of its own that is created,
// synced and renamed. The second case is the lower bound for BenchmarkRotate.
func BenchmarkFloor(b *testing.B) {
	const size = 1 << 20
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Munmap(mem) })
	for i := range mem {
		mem[i] = byte(i * 7)
	}
	open := func(path string) (int, error) {
		return unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0o600)
	}
	measure := func(b *testing.B, write func() error) {
		before := processorTime()
		b.SetBytes(size)
		for b.Loop() {
			if err := write(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/MiB")
	}
	b.Run("one file", func(b *testing.B) {
		fd, err := open(filepath.Join(b.TempDir(), "one"))
		if err != nil {
			b.Skip("needs O_DIRECT: ", err)
		}
		defer unix.Close(fd)
		off := int64(0)
		measure(b, func() error {
			if off%(64*size) == 0 {
				_ = unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, 64*size)
			}
			_, err := unix.Pwrite(fd, mem, off)
			off += size
			return err
		})
	})
	b.Run("a file each", func(b *testing.B) {
		dir, n := b.TempDir(), 0
		measure(b, func() error {
			path := filepath.Join(dir, fmt.Sprint(n))
			n++
			fd, err := open(path + store.Partial)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if _, err := unix.Pwrite(fd, mem, 0); err != nil {
				return err
			}
			if err := unix.Fdatasync(fd); err != nil {
				return err
			}
			return os.Rename(path+store.Partial, path)
		})
	})
}

// processorTime is what the process has used, in nanoseconds.
func processorTime() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) != nil {
		return 0
	}
	return t.Nano()
}

// BenchmarkTouch measures how fast chunks of 4 MiB get memory: the fastest growth of a pool. Memory
// that the host of a virtual machine has to find first takes ten times as long and more.
func BenchmarkTouch(b *testing.B) {
	const chunk, chunks = 4 << 20, 64
	for name, mapMemory := range map[string]func(int) (*region, error){"memfd": func(n int) (*region, error) { return mapRegion(n, nil) }, "anonymous": mapAnonymous} {
		b.Run(name, func(b *testing.B) {
			r, err := mapMemory(chunk * chunks)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(r.close)
			before, n := processorTime(), 0
			b.SetBytes(chunk)
			for b.Loop() {
				off := n % chunks * chunk
				if n >= chunks {
					if err := r.release(off, chunk); err != nil {
						b.Fatal(err)
					}
				}
				if err := r.touch(off, chunk); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/chunk")
		})
	}
}
