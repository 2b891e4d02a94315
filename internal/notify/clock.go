//go:build !netbsd

package notify

import "golang.org/x/sys/unix"

const clockMonotonic = unix.CLOCK_MONOTONIC
