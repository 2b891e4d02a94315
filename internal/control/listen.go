package control

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"capd/internal/hint"

	"golang.org/x/sys/unix"
)

// Auto is a socket path that lets capd choose the path: see Listen.
const Auto = "auto"

// ErrInUse is returned if another program listens on the socket.
var ErrInUse = hint.New("another capd listens there", `two capds need two sockets: control.socket in capd.toml; "auto" finds a free one`)

// maxAuto is how many capds can choose a socket in one directory.
const maxAuto = 64

// A Listener is a socket that no other capd can use while it is open.
type Listener struct {
	*net.UnixListener
	path string
	lock *os.File
}

// Path returns the path of the socket.
func (l *Listener) Path() string { return l.path }

// Close removes the socket and releases its lock. The lock file stays: removing it would race with
// the next capd that locks it.
func (l *Listener) Close() error {
	err := l.UnixListener.Close()
	return errors.Join(err, l.lock.Close())
}

// An OpenSocket is a socket that stays open while another program, or another run, takes the place of this one. Clients wait
// meanwhile. That one may not be able to make it anew, as another user than the one that did.
type OpenSocket struct {
	Path         string
	Socket, Lock *os.File
}

// Keep returns a duplicate of the socket, which is not removed by Close any more.
func (l *Listener) Keep() (*OpenSocket, error) {
	socket, err := l.File()
	if err != nil {
		return nil, err
	}
	fd, err := unix.FcntlInt(l.lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return &OpenSocket{l.path, socket, os.NewFile(uintptr(fd), l.lock.Name())}, nil
}

// Resume listens on the socket again.
func (k *OpenSocket) Resume() (*Listener, error) {
	defer k.Socket.Close()
	l, err := net.FileListener(k.Socket)
	if err != nil {
		_ = k.Lock.Close()
		return nil, fmt.Errorf("control socket %s: %w", k.Path, err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("control socket %s: another kind of socket was kept", k.Path)
	}
	u.SetUnlinkOnClose(true)
	return &Listener{UnixListener: u, path: k.Path, lock: k.Lock}, nil
}

// Listen creates a socket for its owner and a group, given by name or number; an empty group is
// that of the process. It replaces a socket that a crashed capd left. If a running capd listens on
// it, the error wraps ErrInUse.
//
// With Auto, the socket is capd.sock in the directory that the service manager made for the
// service, or else in the user's directory. If another capd uses that name, the socket is
// capd-2.sock and so on.
func Listen(path, group string) (*Listener, error) {
	if path != Auto {
		return listen(path, group)
	}
	dir, err := ownDirectory()
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	for n := 1; ; n++ {
		l, err := listen(filepath.Join(dir, autoName(n)), group)
		if n == maxAuto || !errors.Is(err, ErrInUse) {
			return l, err
		}
	}
}

func autoName(n int) string {
	if n == 1 {
		return "capd.sock"
	}
	return fmt.Sprintf("capd-%d.sock", n)
}

// directories returns where to look for sockets: the directory of the service, and that of capds
// that this user has started.
func directories() []string {
	run := "/var/run"
	if runtime.GOOS == "linux" {
		run = "/run"
	}
	return []string{filepath.Join(run, "capd"), userDirectory(run)}
}

// userDirectory differs from the service's directory, which service managers remove.
func userDirectory(run string) string {
	if os.Geteuid() != 0 {
		if run = os.Getenv("XDG_RUNTIME_DIR"); run == "" {
			run = os.TempDir()
		}
	}
	return filepath.Join(run, "capd-"+strconv.Itoa(os.Geteuid()))
}

// ownDirectory returns the directory for this process's socket, and creates it if necessary. Where
// every user may create files, the directory must belong to this user.
func ownDirectory() (string, error) {
	if given, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); given != "" {
		return given, nil // created by systemd
	}
	dir := directories()[1]
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o755 // the mode of the socket decides which users may connect
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, ours(dir)
}

// ours returns an error if another user could have created a socket in dir.
func ours(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a directory that only user %d may change", dir, os.Geteuid())
	}
	return nil
}

func listen(path, group string) (*Listener, error) {
	fail := func(err error) (*Listener, error) { return nil, fmt.Errorf("control socket %s: %w", path, err) }
	gid, err := groupID(group)
	if err != nil {
		return fail(err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fail(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return fail(err)
	}
	l, err := bind(path, gid)
	if err != nil {
		lock.Close()
		return fail(err)
	}
	return &Listener{UnixListener: l, path: path, lock: lock}, nil
}

// bind creates the socket. It replaces an existing one on which no process listens. The caller
// holds the lock.
func bind(path string, gid int) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, errors.New("the path exists and is not a socket")
		}
		if alive(path) {
			return nil, ErrInUse
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// The umask keeps other users from connecting before the mode is set. It applies to the whole
	// process, which creates no other files at this point of the start.
	mask := syscall.Umask(0o117)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(mask)
	if err != nil {
		return nil, cmp.Or(errors.Unwrap(err), err)
	}
	if gid >= 0 {
		if err := os.Lchown(path, -1, gid); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// alive reports whether a process listens on the socket.
func alive(path string) bool {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	// Only ECONNREFUSED proves that no process listens.
	return err == nil || !errors.Is(err, unix.ECONNREFUSED)
}

// groupID returns the number of a group, or -1 for the empty name.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if n, err := strconv.Atoi(group); err == nil && n >= 0 {
		return n, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("group %q: there is no such group", group)
	}
	return strconv.Atoi(g.Gid)
}

// Find returns the sockets of running capds that use Auto and that this user may access.
func Find() []string {
	var found []string
	all := directories()
	if ours(all[1]) != nil {
		all = all[:1]
	}
	for _, dir := range all {
		names, err := filepath.Glob(filepath.Join(dir, "capd*.sock"))
		if err != nil {
			continue
		}
		for _, name := range names {
			if alive(name) && !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
	}
	return found
}
