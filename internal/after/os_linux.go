package after

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// From linux/ioprio.h.
const (
	ioprioWhoGroup   = 2
	ioprioClassIdle  = 3
	ioprioClassShift = 13
)

// idleDisk lets the process group, 0 for the caller's own, use the disk only
// while nobody else does.
func idleDisk(group int) error {
	if _, _, e := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoGroup, uintptr(group), ioprioClassIdle<<ioprioClassShift); e != 0 {
		return fmt.Errorf("set idle I/O class: %w", e)
	}
	return nil
}

// dropPrivilege makes the calling thread pass none of the capabilities on that
// let capd record.
func dropPrivilege() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	return nil
}

// separate gives a process a group of its own. It dies with the thread that
// started it, even if capd is killed.
func separate() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitExit returns when the process has ended. It does not reap it, so that
// the number of its process group is not given to another meanwhile.
func awaitExit(cmd *exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			_ = cmd.Wait()
		}
		return
	}
}

// killMarked kills the processes that have the word in their environment, and
// returns how many there were. It finds those that left the process group.
func killMarked(word string) int {
	proc, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	found := 0
	for _, s := range names {
		pid, err := strconv.Atoi(s)
		if err != nil {
			continue
		}
		p, err := os.FindProcess(pid) // holds a pidfd: it stays this process
		if err != nil {
			continue
		}
		if env, err := os.ReadFile("/proc/" + s + "/environ"); err == nil && bytes.Contains(env, []byte(word)) {
			_ = p.Kill()
			found++
		}
		_ = p.Release()
	}
	return found
}

// dropCache drops a range of the file, to its end if n is 0, from the page
// cache.
func dropCache(f *os.File, off, n int64) {
	_ = unix.Fadvise(int(f.Fd()), off, n, unix.FADV_DONTNEED) // advice
}

// writeBehind waits until the range is on the disk and drops it from the page
// cache, before it is so full that others wait for the disk.
func writeBehind(f *os.File, off, n int64) error {
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	err := unix.SyncFileRange(int(f.Fd()), off, n, wait)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	dropCache(f, off, n)
	return nil
}

// rename gives the file its final name and never replaces another.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return renameChecked(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
