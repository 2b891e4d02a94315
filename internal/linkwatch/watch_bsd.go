//go:build darwin || freebsd || netbsd || openbsd

package linkwatch

import (
	"fmt"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

// open opens a routing socket, route(4).
func open() (int, error) {
	fd, err := unix.Socket(unix.AF_ROUTE, unix.SOCK_RAW, unix.AF_UNSPEC)
	if err != nil {
		return 0, fmt.Errorf("routing socket: %w", err)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("routing socket: %w", err)
	}
	return fd, nil
}

// concerns reports whether the message is about interfaces or their addresses. It returns true for
// malformed messages too.
func concerns(buf []byte) bool {
	messages, err := route.ParseRIB(route.RIBTypeRoute, buf)
	if err != nil || len(messages) == 0 {
		return true
	}
	for _, m := range messages {
		switch m.(type) {
		case *route.InterfaceMessage, *route.InterfaceAnnounceMessage, *route.InterfaceAddrMessage:
			return true
		}
	}
	return false
}
