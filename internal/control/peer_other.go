//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd

package control

import (
	"errors"
	"net"
)

// peer is not known here.
func peer(*net.UnixConn) (uid int, err error) { return 0, errors.ErrUnsupported }
