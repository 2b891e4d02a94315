//go:build darwin || freebsd

package control

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// solLocal is SOL_LOCAL (sys/un.h).
const solLocal = 0

// peer returns the user of the process at the other end.
func peer(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var c *unix.Xucred
	outer := raw.Control(func(fd uintptr) { c, err = unix.GetsockoptXucred(int(fd), solLocal, unix.LOCAL_PEERCRED) })
	if err = errors.Join(outer, err); err != nil {
		return 0, fmt.Errorf("ask for the client's user: %w", err)
	}
	return int(c.Uid), nil
}
