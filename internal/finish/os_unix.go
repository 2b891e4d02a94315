//go:build unix

package finish

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// lowest is the nice value of the lowest priority (setpriority(2)).
const lowest = 19

// lower gives all processes of the group the lowest priority for processor and
// disk; their children inherit it. Group 0 is the caller's own.
func lower(group int) error {
	nice := unix.Setpriority(unix.PRIO_PGRP, group, lowest)
	if nice != nil {
		nice = fmt.Errorf("set nice value: %w", nice)
	}
	return errors.Join(nice, idleDisk(group))
}

// killGroup kills every process of the group. The group may be empty.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }
