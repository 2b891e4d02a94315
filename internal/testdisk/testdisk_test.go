//go:build linux

package testdisk_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"capd/internal/testdisk"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	code := testdisk.MainAsRoot(m)
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited too long")
		}
	}
}

func create(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	h, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// TestFaults: each kind of request fails as its fault says, and works before and after.
func TestFaults(t *testing.T) {
	d := testdisk.New(t)
	path := filepath.Join(d.Dir, "file")
	h := create(t, path, 0)
	dir, err := os.Open(d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for op, do := range map[testdisk.Op]func() error{
		testdisk.Create: func() error {
			return os.WriteFile(filepath.Join(d.Dir, "other"), nil, 0o600)
		},
		testdisk.Open:     func() error { _, err := os.ReadFile(path); return err },
		testdisk.Write:    func() error { _, err := h.WriteAt([]byte("bytes"), 0); return err },
		testdisk.Sync:     h.Sync,
		testdisk.SyncDir:  dir.Sync,
		testdisk.Truncate: func() error { return h.Truncate(3) },
		testdisk.Allocate: func() error {
			return unix.Fallocate(int(h.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20)
		},
		testdisk.Rename: func() error {
			return unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		},
		testdisk.Close: func() error {
			h, err := os.Open(path)
			if err != nil {
				return err
			}
			return h.Close()
		},
	} {
		// Without a fault, renaming a file to itself is refused.
		want := error(nil)
		if op == testdisk.Rename {
			want = syscall.EEXIST
		}
		_ = os.Remove(filepath.Join(d.Dir, "other"))
		before := d.Count(op)
		d.Set(op, testdisk.Fault{After: 1, Times: 2, Err: syscall.EDQUOT})
		for i, want := range []error{want, syscall.EDQUOT, syscall.EDQUOT, want} {
			_ = os.Remove(filepath.Join(d.Backing, "other"))
			if op == testdisk.Rename && want == syscall.EDQUOT {
				continue // the kernel refuses the request itself
			}
			if err := do(); !errors.Is(err, want) {
				t.Errorf("%s, request %d: %v, want %v", op, i, err, want)
			}
		}
		if got := d.Count(op) - before; got != 4 && op != testdisk.Rename {
			t.Errorf("%s: %d requests", op, got)
		}
		d.Heal()
	}
	d.Set(testdisk.Rename, testdisk.Fault{Err: syscall.EROFS})
	if err := os.Rename(path, path+"2"); !errors.Is(err, syscall.EROFS) {
		t.Errorf("rename: %v", err)
	}
	d.Set(testdisk.Remove, testdisk.Fault{Err: syscall.EROFS})
	if err := os.Remove(path); !errors.Is(err, syscall.EROFS) {
		t.Errorf("remove: %v", err)
	}
}

// TestStall: requests wait until the fault is removed.
func TestStall(t *testing.T) {
	d := testdisk.New(t)
	h := create(t, filepath.Join(d.Dir, "file"), 0)
	d.Set(testdisk.Write, testdisk.Fault{Stall: true})
	done := make(chan error)
	for range 3 {
		go func() { _, err := h.WriteAt([]byte("bytes"), 0); done <- err }()
	}
	// The kernel allows only one write to a file at a time.
	await(t, func() bool { return d.Stalled(testdisk.Write) == 1 })
	select {
	case <-done:
		t.Error("a write ended")
	default:
	}
	d.Heal(testdisk.Write)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// page returns memory that is aligned for direct writes.
func page(n int) []byte {
	b := make([]byte, n+4096)
	off := 4096 - int(uintptr(unsafe.Pointer(&b[0]))%4096)
	return b[off : off+n]
}

func TestShortWrite(t *testing.T) {
	d := testdisk.New(t)
	for _, flags := range []int{0, unix.O_DIRECT} {
		h := create(t, filepath.Join(d.Dir, "file"), flags)
		d.Set(testdisk.Write, testdisk.Fault{Times: 1, Short: 1000})
		if n, err := unix.Pwrite(int(h.Fd()), page(8192), 0); n != 1000 || err != nil {
			t.Errorf("flags %#x: %d, %v", flags, n, err)
		}
		if _, err := h.WriteAt(page(100), 1000); flags != 0 && !errors.Is(err, syscall.EINVAL) {
			t.Errorf("unaligned: %v", err)
		}
		os.Remove(h.Name())
	}
}

// TestRefusesDirect: if O_DIRECT is refused, the file is created nevertheless, as on Linux.
func TestRefusesDirect(t *testing.T) {
	d := testdisk.New(t)
	d.Set(testdisk.OpenDirect, testdisk.Fault{Err: syscall.EINVAL})
	path := filepath.Join(d.Dir, "file")
	_, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_DIRECT, 0o600)
	if !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestCutPower: only what was synced is preserved.
func TestCutPower(t *testing.T) {
	for _, names := range []testdisk.Names{testdisk.SyncedNames, testdisk.AllNames} {
		d := testdisk.New(t)
		write := func(name, text string, sync bool) {
			t.Helper()
			h := create(t, filepath.Join(d.Dir, name), 0)
			if _, err := h.WriteString(text); err != nil {
				t.Fatal(err)
			}
			if sync {
				if err := h.Sync(); err != nil {
					t.Fatal(err)
				}
				if _, err := h.WriteString(" and more"); err != nil {
					t.Fatal(err)
				}
			}
		}
		write("a", "synced", true)
		write("b", "not", false)
		dir, err := os.Open(d.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := dir.Sync(); err != nil {
			t.Fatal(err)
		}
		dir.Close()
		write("c", "file only", true)
		if err := os.Rename(filepath.Join(d.Dir, "a"), filepath.Join(d.Dir, "z")); err != nil {
			t.Fatal(err)
		}
		d.Set(testdisk.Create, testdisk.Fault{Stall: true})
		stalled := make(chan error)
		go func() { stalled <- os.WriteFile(filepath.Join(d.Dir, "d"), nil, 0o600) }()
		await(t, func() bool { return d.Stalled(testdisk.Create) == 1 })
		d.CutPower(t, names)
		if err := <-stalled; !errors.Is(err, syscall.EIO) {
			t.Errorf("stalled: %v", err)
		}
		want := map[string]string{"a": "synced", "b": ""}
		if names == testdisk.AllNames {
			want = map[string]string{"z": "synced", "b": "", "c": "file only"}
		}
		entries, _ := os.ReadDir(d.Backing)
		if len(entries) != len(want) {
			t.Errorf("%v: %v", names, entries)
		}
		for name, text := range want {
			if b, err := os.ReadFile(filepath.Join(d.Backing, name)); err != nil || string(b) != text {
				t.Errorf("%v: %s: %q, %v", names, name, b, err)
			}
		}
	}
}

func TestTmpfs(t *testing.T) {
	dir := testdisk.Tmpfs(t, 1<<20)
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	testdisk.Remount(t, dir, true)
	if err := os.WriteFile(filepath.Join(dir, "file2"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Error(err)
	}
}

func TestImage(t *testing.T) {
	for _, name := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(name, func(t *testing.T) {
			dir := testdisk.Image(t, name, 320<<20)
			h := create(t, filepath.Join(dir, "file"), unix.O_DIRECT)
			if _, err := h.Write(page(8192)); err != nil {
				t.Error(err)
			}
			h.Close()
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil || st.Blocks*uint64(st.Bsize) > 320<<20 {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
}

// TestNothingLeaks: mounts are not visible outside.
func TestNothingLeaks(t *testing.T) {
	d := testdisk.New(t)
	if err := os.WriteFile(filepath.Join(d.Dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join("/proc", "self", "..", strconv.Itoa(os.Getppid()), "root", d.Dir, "file")
	if _, err := os.Stat(outside); err == nil {
		t.Errorf("%s is there", outside)
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
}

// stuck makes the test process wait for a stalled write, so that it can be killed there.
const stuck = "CAPD_TESTDISK_STUCK"

// TestKilled: a process that waits for its own file system can be killed.
func TestKilled(t *testing.T) {
	testdisk.Need(t)
	if os.Getenv(stuck) != "" {
		d := testdisk.New(t)
		d.Set(testdisk.Write, testdisk.Fault{Stall: true})
		h := create(t, filepath.Join(d.Dir, "file"), 0)
		go h.Write([]byte("bytes"))
		await(t, func() bool { return d.Stalled(testdisk.Write) == 1 })
		fmt.Println("stuck")
		select {}
	}
	c := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	c.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "CAPD_") }), stuck+"=1", "TMPDIR="+t.TempDir())
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if s, err := lines.ReadString('\n'); err != nil || s != "stuck\n" {
		t.Fatalf("%q, %v", s, err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The process inside keeps the pipe open until it has ended.
	timer := time.AfterFunc(20*time.Second, func() { out.Close() })
	defer timer.Stop()
	if _, err := lines.ReadString('\n'); err != io.EOF {
		t.Errorf("not gone: %v", err)
	}
	_ = c.Wait()
}

// TestCounts: listings and opens are counted; syncing a directory is not a listing.
func TestCounts(t *testing.T) {
	testdisk.Need(t)
	d := testdisk.New(t)
	path := filepath.Join(d.Dir, "file")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syncDirectory(d.Dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		if all, err := os.ReadDir(d.Dir); err != nil || len(all) != 1 {
			t.Fatalf("%v, %v", all, err)
		}
	}
	if list, open := d.Count(testdisk.List), d.Opened("file"); list != 2 || open != 2 {
		t.Errorf("%d listings, %d openings", list, open)
	}
}

func syncDirectory(dir string) error {
	h, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(h.Sync(), h.Close())
}
