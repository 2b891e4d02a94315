//go:build !linux

package index

import "golang.org/x/sys/unix"

// Lower gives the process the lowest priority: what records goes first. It is not an error if the system does not allow that.
func Lower() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20) }
