package writer_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"capd/internal/testdisk"
	"capd/ledger"
	"capd/store"
	"capd/writer"
)

// TestWritesAreTrue: that a file system accepts O_DIRECT is not taken for writes past the page cache.
func TestWritesAreTrue(t *testing.T) {
	image := func(name string, options ...string) func(*testing.T) string {
		return func(t *testing.T) string { return testdisk.Image(t, name, 512<<20, options...) }
	}
	tmpfs := func(t *testing.T) string { return testdisk.Tmpfs(t, 64<<20) }
	for name, c := range map[string]struct {
		dir  func(*testing.T) string
		want []store.Writes
	}{
		"ext4":                 {image("ext4"), []store.Writes{store.WritesDirect}},
		"ext4, data=journal":   {image("ext4", "data=journal"), []store.Writes{store.WritesCached}},
		"xfs":                  {image("xfs"), []store.Writes{store.WritesDirect}},
		"btrfs":                {image("btrfs"), []store.Writes{store.WritesCached, store.WritesDirect}}, // by the version of Linux
		"btrfs, no checksums":  {image("btrfs", "nodatasum"), []store.Writes{store.WritesDirect}},
		"tmpfs":                {tmpfs, []store.Writes{store.WritesCached, store.WritesRefused}}, // the same
		"overlayfs over tmpfs": {func(t *testing.T) string { return testdisk.Overlay(t, tmpfs(t)) }, []store.Writes{store.WritesCached, store.WritesRefused}},
		"overlayfs over ext4":  {func(t *testing.T) string { return testdisk.Overlay(t, image("ext4")(t)) }, []store.Writes{store.WritesDirect}},
		"FUSE":                 {func(t *testing.T) string { return testdisk.New(t).Dir }, []store.Writes{store.WritesUnknown}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := c.dir(t)
			space, err := store.Prove(dir, 0o640)
			if err != nil || !slices.Contains(c.want, space.Writes) {
				t.Fatalf("%+v, %v", space, err)
			}
			if left, err := os.ReadDir(dir); err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".capd") }) {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if strings.HasPrefix(name, "btrfs") || name == "FUSE" {
				return // they drop from the page cache what they have written through it, or have none
			}
			b := newBenchIn(t, dir, writer.Options{ChunkSize: 64 << 10, PoolSize: 1 << 20})
			b.write(4096, 1024)
			path := ""
			b.await("four MiB", func() bool {
				b.pass(time.Millisecond)
				path = b.Stats().File
				return b.Stats().Written > 3800 && path != ""
			})
			if cached, all := cachedPages(t, path); (cached < all/2) != (space.Writes == store.WritesDirect) {
				t.Errorf("%s, and %d of %d pages are in the page cache", space.Writes, cached, all)
			}
			b.account(b.close())
		})
	}
}

// cachedPages returns how many pages of a file are in the page cache, and how many it has.
func cachedPages(t *testing.T, path string) (cached, all int) {
	t.Helper()
	h, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		t.Fatal(err)
	}
	mem, err := syscall.Mmap(int(h.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(mem) }()
	pages := make([]byte, (len(mem)+4095)/4096)
	if _, _, errno := syscall.Syscall(syscall.SYS_MINCORE, uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range pages {
		cached += int(p & 1)
	}
	return cached, len(pages)
}

// TestSequentialDisk: a file system on which a file can only be written in one go, as rclone mounts without a cache, is found before
// a frame is recorded.
func TestSequentialDisk(t *testing.T) {
	disk := testdisk.New(t)
	disk.Sequential.Store(true)
	if _, err := store.Prove(disk.Dir, 0o640); err == nil || !strings.Contains(err.Error(), "does not let a file be written in any order") {
		t.Errorf("%v", err)
	}
	disk.Sequential.Store(false)
	for op, what := range map[testdisk.Op]string{
		testdisk.Create: "", testdisk.Write: "write: ", testdisk.Open: "open a second time, as for a part of a page: ", testdisk.Sync: "sync: ",
		testdisk.SyncDir: "sync directory: ", testdisk.Rename: "rename ", testdisk.Truncate: "truncate: ", testdisk.Close: "close: ",
	} {
		disk.Set(op, testdisk.Fault{Err: syscall.EPERM})
		_, err := store.Prove(disk.Dir, 0o640)
		if err == nil || !strings.HasPrefix(err.Error(), what) || !errors.Is(err, syscall.EPERM) {
			t.Errorf("%s refused: %v", op, err)
		}
		disk.Heal()
	}
	if _, err := store.Prove(disk.Dir, 0o640); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(disk.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

var realFileSystems = []string{"ext4", "xfs", "btrfs"}

// TestRealFileSystems records with rotation on real file systems: writes bypass the page cache, and
// a finished file has no blocks beyond its size.
func TestRealFileSystems(t *testing.T) {
	for _, name := range realFileSystems {
		t.Run(name, func(t *testing.T) {
			dir := testdisk.Image(t, name, 512<<20)
			space, err := store.Prove(dir, 0o640)
			// Btrfs writes its checksums' bytes through the page cache, from Linux 6.14 on.
			if err != nil || space.Writes != store.WritesDirect && name != "btrfs" || space.FileSystem != name {
				t.Fatalf("%+v, %v", space, err)
			}
			for _, size := range []int64{0, 3 << 20, 5<<20 + 12345} {
				sub := filepath.Join(dir, "d")
				if err := os.Mkdir(sub, 0o700); err != nil {
					t.Fatal(err)
				}
				b := newBenchIn(t, sub, writer.Options{RotateSize: size, ChunkSize: 1 << 20, PoolSize: 4 << 20})
				for range 200 {
					b.write(64, 1200)
					b.pass(10 * time.Millisecond)
				}
				direct := false
				b.await("O_DIRECT", func() bool {
					b.write(64, 1200)
					b.pass(10 * time.Millisecond)
					direct = direct || openDirect(t, sub)
					return direct
				})
				files := b.close()
				b.account(files)
				if s := b.Stats(); s.Lost > 0 || s.Failures > 0 {
					t.Errorf("%+v", s)
				}
				for _, f := range files {
					compact(t, f)
				}
				if err := os.RemoveAll(sub); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// compact checks that a finished file has its size and no blocks beyond it.
func compact(t *testing.T, f writer.File) {
	t.Helper()
	info, err := os.Stat(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	const block = 4096
	taken := info.Sys().(*syscall.Stat_t).Blocks * 512
	need := (f.Size + block - 1) / block * block
	need += block // ext4 may need one block more for the extent tree
	if info.Size() != f.Size || taken > need {
		t.Errorf("%s of %d bytes, reported %d, takes %d, needs %d", f.Name, info.Size(), f.Size, taken, need)
	}
}

// openDirect reports whether this process has a file of the directory open with O_DIRECT.
func openDirect(t *testing.T, dir string) bool {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		path, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err != nil || !strings.HasPrefix(path, dir+"/") {
			continue
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		if err != nil {
			continue
		}
		var flags int
		for line := range strings.Lines(string(info)) {
			if s, ok := strings.CutPrefix(line, "flags:"); ok {
				flags = octal(strings.TrimSpace(s))
			}
		}
		if flags&syscall.O_DIRECT != 0 {
			return true
		}
	}
	return false
}

func octal(s string) (n int) {
	for _, c := range s {
		n = n*8 + int(c-'0')
	}
	return n
}

// TestFullFileSystems fills real file systems and empties them again.
func TestFullFileSystems(t *testing.T) {
	for _, name := range realFileSystems {
		t.Run(name, func(t *testing.T) {
			dir := testdisk.Image(t, name, 320<<20)
			ballast(t, filepath.Join(dir, "ballast"), 24<<20)
			sub := filepath.Join(dir, "d")
			if err := os.Mkdir(sub, 0o700); err != nil {
				t.Fatal(err)
			}
			// There is room for the packets, but not for the preallocation.
			b := newBenchIn(t, sub, writer.Options{ChunkSize: 256 << 10, PoolSize: 1 << 20})
			for range 30 {
				b.write(64, 1024)
			}
			files := b.close()
			b.account(files)
			if len(files) != 1 || files[0].Err != nil {
				t.Errorf("%+v", files)
			}
			compact(t, files[0])
			if err := os.Remove(files[0].Path); err != nil {
				t.Fatal(err)
			}
			b = newBenchIn(t, sub, writer.Options{RotateSize: 5 << 20, ChunkSize: 256 << 10, PoolSize: 1 << 20})
			fillUp(t, b, 64)
		})
	}
}

// ballast fills a file system up to about free bytes.
func ballast(t *testing.T, path string, free uint64) {
	t.Helper()
	space, err := store.Prove(filepath.Dir(path), 0o640)
	if err != nil {
		t.Fatal(err)
	}
	h, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := syscall.Fallocate(int(h.Fd()), 0, 0, int64(space.Free-free)); err != nil {
		t.Fatal(err)
	}
}

// TestReadOnlyFileSystem: the kernel remounts a damaged file system read-only.
func TestReadOnlyFileSystem(t *testing.T) {
	dir := testdisk.Tmpfs(t, 16<<20)
	b := newBenchIn(t, dir, writer.Options{RotateSize: 50000})
	b.write(100, 1000)
	b.Rotate(ledger.ReasonSignal)
	b.await("two files", func() bool { s := b.Stats(); return s.Files == 3 })
	testdisk.Remount(t, dir, true)
	b.await("failure", func() bool { b.write(10, 1000); b.pass(time.Second); return b.Stats().Suspended })
	b.write(10, 1000)
	testdisk.Remount(t, dir, false)
	b.recover()
	b.account(b.close())
	if s := b.Stats(); s.Lost < 10 || s.Failures == 0 {
		t.Errorf("%+v", s)
	}
}

// TestMergerfs: it opens files with O_DIRECT and refuses to write to them, unless
// it is told otherwise. Recording goes through the page cache, without a loss.
func TestMergerfs(t *testing.T) {
	dir := testdisk.Mergerfs(t)
	space, err := store.Prove(dir, 0o640)
	if err != nil || space.Writes == store.WritesDirect || space.FileSystem != "fuse" {
		t.Fatalf("%+v, %v", space, err)
	}
	for _, direct := range []bool{true, false} {
		sub := filepath.Join(dir, "d")
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		b := newBenchIn(t, sub, writer.Options{RotateSize: 3 << 20, ChunkSize: 1 << 20, PoolSize: 4 << 20, NoDirect: !direct})
		for range 200 {
			b.write(64, 1200)
			b.pass(10 * time.Millisecond)
		}
		files := b.close()
		b.account(files)
		if s := b.Stats(); s.Lost > 0 || s.Failures > 0 || len(files) < 4 {
			t.Errorf("direct %v: %d files, %+v", direct, len(files), s)
		}
		if err := os.RemoveAll(sub); err != nil {
			t.Fatal(err)
		}
	}
}
