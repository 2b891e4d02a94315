//go:build linux

package testdisk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Tmpfs mounts a file system in memory that holds size bytes and refuses
// nothing else, but for what options of tmpfs(5) say.
func Tmpfs(tb testing.TB, size int64, options ...string) string {
	tb.Helper()
	Need(tb)
	dir := tb.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, strings.Join(append(options, "size="+strconv.FormatInt(size, 10)), ",")); err != nil {
		tb.Fatalf("mount tmpfs: %v", err)
	}
	tb.Cleanup(func() { unmount(tb, dir) })
	return dir
}

// Image mounts an image file of size bytes that contains a file system: ext4, xfs or btrfs. Options are of mount(8).
func Image(tb testing.TB, fileSystem string, size int64, options ...string) string {
	tb.Helper()
	NeedRoot(tb)
	tool := "mkfs." + fileSystem
	if _, err := exec.LookPath(tool); err != nil {
		tb.Skip("needs " + tool)
	}
	image := filepath.Join(tb.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		tb.Fatal(err)
	}
	if out, err := exec.Command(tool, image).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", tool, err, out)
	}
	device := attach(tb, image)
	dir := tb.TempDir()
	if err := unix.Mount(device, dir, fileSystem, unix.MS_NOSUID|unix.MS_NODEV, strings.Join(options, ",")); err != nil {
		tb.Skipf("needs %s: mount: %v", fileSystem, err)
	}
	tb.Cleanup(func() { unmount(tb, dir) })
	return dir
}

// Overlay mounts a file system over the directory, which takes what is written.
func Overlay(tb testing.TB, under string) string {
	tb.Helper()
	NeedRoot(tb)
	var data []string
	for _, part := range []string{"lowerdir", "upperdir", "workdir"} {
		if err := os.Mkdir(filepath.Join(under, part), 0o700); err != nil {
			tb.Fatal(err)
		}
		data = append(data, part+"="+filepath.Join(under, part))
	}
	dir := tb.TempDir()
	if err := unix.Mount("overlay", dir, "overlay", unix.MS_NOSUID|unix.MS_NODEV, strings.Join(data, ",")); err != nil {
		tb.Skipf("needs overlayfs: %v", err)
	}
	tb.Cleanup(func() { unmount(tb, dir) })
	return dir
}

// Remount makes a file system read-only, or writable again.
func Remount(tb testing.TB, dir string, readOnly bool) {
	tb.Helper()
	flags := uintptr(unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", dir, "", flags, ""); err != nil {
		tb.Fatalf("remount %s: %v", dir, err)
	}
}

// attach binds the image to a loop device, which the kernel frees after the last user has closed
// it.
func attach(tb testing.TB, image string) (device string) {
	tb.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		tb.Skipf("needs loop devices: %v", err)
	}
	defer control.Close()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			tb.Skipf("needs loop devices: %v", err)
		}
		device = "/dev/loop" + strconv.Itoa(n)
		h, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			tb.Skipf("needs loop devices: %v", err)
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(h.Fd()), &config)
		if err == unix.EBUSY { // another process used the device first
			h.Close()
			continue
		}
		if err != nil {
			h.Close()
			tb.Skipf("needs loop devices: %v", err)
		}
		tb.Cleanup(func() { h.Close() }) // after the unmount
		return device
	}
}

func unmount(tb testing.TB, dir string) {
	tb.Helper()
	if err := unix.Unmount(dir, 0); err != nil {
		tb.Errorf("unmount %s: %v: the test left files open", dir, err)
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
}

// Mergerfs mounts a mergerfs over two directories. It opens files for direct
// writes, and refuses these.
func Mergerfs(tb testing.TB) string {
	tb.Helper()
	NeedRoot(tb)
	if _, err := exec.LookPath("mergerfs"); err != nil {
		tb.Skip("needs mergerfs")
	}
	dir := tb.TempDir()
	if out, err := exec.Command("mergerfs", "-o", "cache.files=off,category.create=mfs", tb.TempDir()+":"+tb.TempDir(), dir).CombinedOutput(); err != nil {
		tb.Skipf("needs FUSE: mergerfs: %v\n%s", err, out)
	}
	tb.Cleanup(func() { unmount(tb, dir) })
	return dir
}

// CutImagePower lets nothing more get to the disk of an Image, and forgets what the file system has not
// written to its journal.
func CutImagePower(tb testing.TB, dir string) {
	tb.Helper()
	h, err := os.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer h.Close()
	const shutdown, withoutJournal = 0x8004587d, 2 // XFS_IOC_GOINGDOWN, which others have too
	if err := unix.IoctlSetPointerInt(int(h.Fd()), shutdown, withoutJournal); err != nil {
		tb.Skipf("the file system can't be shut down: %v", err)
	}
}

// BootImage mounts an Image again after CutImagePower. Nothing in it may be open.
func BootImage(tb testing.TB, dir, fileSystem string) {
	tb.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[1] == dir {
			unmount(tb, dir)
			if err := unix.Mount(fields[0], dir, fileSystem, unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
				tb.Fatalf("mount: %v", err)
			}
			return
		}
	}
	tb.Fatalf("%s is not mounted", dir)
}
