package index

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Lower gives the process the lowest priority, of processor and disk: what records goes first. It is not an error if the
// system does not allow that.
func Lower() {
	const ( // linux/ioprio.h
		whoProcess = 1
		idle       = 3 << 13
	)
	threads, _ := os.ReadDir("/proc/self/task") // each has its own; those to come have that of the one that makes them
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, 19)
			_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, uintptr(id), idle)
		}
	}
}
