package linkwatch

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// open opens an rtnetlink(7) socket that receives messages about links. When a link moves to
// another namespace, the kernel sends a deletion in the old one and a new link in the new one.
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
