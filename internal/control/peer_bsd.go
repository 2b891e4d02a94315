//go:build netbsd || openbsd

package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peer returns the user of the process at the other end. Both systems answer with three numbers of 32 bits; golang.org/x/sys
// has no type for them, but one that has room.
func peer(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var answer *unix.IPv6Mreq
	outer := raw.Control(func(fd uintptr) { answer, err = unix.GetsockoptIPv6Mreq(int(fd), peerLevel, peerOption) })
	if err = errors.Join(outer, err); err != nil {
		return 0, fmt.Errorf("ask for the client's user: %w", err)
	}
	return int(binary.NativeEndian.Uint32(answer.Multiaddr[peerUID:])), nil
}
