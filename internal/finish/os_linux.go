package finish

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/ioprio.h.
const (
	ioprioWhoGroup   = 2
	ioprioClassIdle  = 3
	ioprioClassShift = 13
)

// idleDisk lets the process group use the disk only while nobody else does.
// Group 0 is the caller's own.
func idleDisk(group int) error {
	if _, _, e := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoGroup, uintptr(group), ioprioClassIdle<<ioprioClassShift); e != 0 {
		return fmt.Errorf("set idle I/O class: %w", e)
	}
	return nil
}

// idle lets the process use a processor only while nobody else wants it, as far as
// the system allows that: unlike a process of the lowest priority it delays no
// thread that becomes runnable.
func idle() {
	// A thread that is made meanwhile has what the one had that makes it, and may be missing in the list: it is in the next.
	for changed := true; changed; {
		changed = false
		threads, _ := os.ReadDir("/proc/self/task")
		for _, t := range threads {
			if id, err := strconv.Atoi(t.Name()); err == nil && idleThread(id) {
				changed = true
			}
		}
	}
}

// idleThread gives a thread the policy SCHED_IDLE, and reports whether it had
// another.
func idleThread(id int) bool {
	const schedIdle = 5 // linux/sched.h
	if policy, _, e := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(id), 0, 0); e != 0 || policy == schedIdle {
		return false
	}
	var priority int32
	_, _, e := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(id), schedIdle, uintptr(unsafe.Pointer(&priority)))
	return e == 0
}

// dropPrivilege keeps processes that the calling thread starts from inheriting
// the capabilities that let capd record.
func dropPrivilege() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	return nil
}

// separate gives a process a group of its own. The process dies with the thread
// that started it, even if capd is killed.
func separate() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitExit returns when the process has ended. It does not reap the process,
// so that no other process group can get its number meanwhile.
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

// killMarked kills the processes that have the word in their environment, even
// those that left the process group, and returns how many it found.
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
		p, err := os.FindProcess(pid) // holds a pidfd, so that it can't come to mean another process
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
