package notify

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstInherited is the first descriptor that a service manager passes
// (sd_listen_fds(3)).
const firstInherited = 3

// metricsName is FileDescriptorName= of capd-metrics.socket.
const metricsName = "metrics"

// unnamed is the name that systemd gives to descriptors without one.
const unnamed = "unknown"

// Files are the descriptors that the service manager passes, by name: sockets
// that it listens on, and what an earlier process put into its store. Those of
// one name are in no order.
type Files map[string][]*os.File

// Inherited returns the descriptors that the service manager passes to this
// process, the first time that it is called. Programs that capd starts do not get
// them.
func Inherited() Files {
	pid, n, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	count, err := strconv.Atoi(n)
	if err != nil || pid != strconv.Itoa(os.Getpid()) {
		return nil
	}
	return files(firstInherited, count, strings.Split(names, ":"))
}

// files returns the descriptors from first on. Without a name for each, none has
// one.
func files(first, count int, names []string) Files {
	all := make(Files)
	for i := range count {
		fd, name := first+i, unnamed
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			break // there are fewer than the environment says
		}
		unix.CloseOnExec(fd)
		if len(names) == count && names[i] != "" {
			name = names[i]
		}
		all[name] = append(all[name], os.NewFile(uintptr(fd), name))
	}
	return all
}

// Listener takes out the socket that the service manager listens on for metrics;
// nil without one. A process that may not open sockets of the network itself can
// still answer on it. The socket may have any name if it is the only one.
func (f Files) Listener() (net.Listener, error) {
	listening := make(Files)
	count := 0
	for name, all := range f {
		for _, one := range all {
			if listens(one) {
				listening[name] = append(listening[name], one)
				count++
			}
		}
		f[name] = slices.DeleteFunc(all, func(one *os.File) bool { return slices.Contains(listening[name], one) })
		if len(f[name]) == 0 {
			delete(f, name)
		}
	}
	defer listening.Close() // the listener has a copy
	if count > 1 && len(listening[metricsName]) != 1 {
		return nil, fmt.Errorf("the service manager passes %d sockets: capd takes one, for metrics", count)
	}
	for name, all := range listening {
		if count > 1 && name != metricsName {
			continue
		}
		l, err := net.FileListener(all[0])
		if err != nil {
			return nil, fmt.Errorf("take over the service manager's socket: %w", err)
		}
		return l, nil
	}
	return nil, nil
}

// listens reports whether the file is a socket that accepts connections.
func listens(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	accepts := 0
	err = raw.Control(func(fd uintptr) { accepts, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN) })
	return err == nil && accepts != 0
}

// Close closes all files.
func (f Files) Close() {
	for _, all := range f {
		for _, one := range all {
			_ = one.Close()
		}
	}
}
