package notify

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// firstInherited is the first descriptor that a service manager passes
// (sd_listen_fds(3)).
const firstInherited = 3

// Inherited returns the socket that the service manager listens on for metrics;
// nil without one. A process that may not open sockets of the network itself can
// still answer on it. Those that capd starts do not get it.
func Inherited() (net.Listener, error) {
	pid, n := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	count, err := strconv.Atoi(n)
	if err != nil || count < 1 || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	return listener(firstInherited, count)
}

// listener returns the first of count descriptors, which has to be the only one.
func listener(first, count int) (net.Listener, error) {
	for fd := first; fd < first+count; fd++ {
		unix.CloseOnExec(fd)
	}
	if count != 1 {
		return nil, fmt.Errorf("the service manager passes %d sockets: capd takes one, for metrics", count)
	}
	f := os.NewFile(uintptr(first), "metrics")
	defer f.Close() // the listener has a copy
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take over the service manager's socket: %w", err)
	}
	return l, nil
}
