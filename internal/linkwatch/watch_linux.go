package linkwatch

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// open opens a socket of rtnetlink(7) that hears of links. What the kernel sends
// when a link moves to another namespace are a deletion here and a new link
// there.
func open() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("join netlink group: %w", err)
	}
	return fd, nil
}

func concerns(buf []byte) bool { return netlinkConcerns(buf) }
