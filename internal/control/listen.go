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

	"golang.org/x/sys/unix"

	"capd/internal/hint"
)

// Auto is the socket's path that leaves it to capd: see Listen.
const Auto = "auto"

// ErrInUse is returned for a socket on which another program listens.
var ErrInUse = hint.New("another capd listens there", `two capds need two sockets: control.socket in capd.toml; "auto" finds a free one`)

// maxAuto is how many capds find a socket by themselves in one directory.
const maxAuto = 64

// A Listener is a socket that no other capd can take while it is open.
type Listener struct {
	*net.UnixListener
	path string
	lock *os.File
}

// Path returns where the socket is.
func (l *Listener) Path() string { return l.path }

// Close removes the socket and gives its name back. The lock's file stays: to
// remove it would race with the next one to take it.
func (l *Listener) Close() error {
	err := l.UnixListener.Close()
	return errors.Join(err, l.lock.Close())
}

// Listen makes a socket for its owner and a group, a name or number; empty is
// the process's own. What a dead capd left at the path is replaced; of a living
// one the error wraps ErrInUse.
//
// With Auto the socket is capd.sock in the service manager's directory for us,
// or in the user's; where a capd has it already, capd-2.sock and so on.
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

// directories returns where sockets are looked for: the service's, and the one
// of capds that this user runs by hand.
func directories() []string {
	run := "/var/run"
	if runtime.GOOS == "linux" {
		run = "/run"
	}
	return []string{filepath.Join(run, "capd"), handDirectory(run)}
}

// handDirectory is not the service's: service managers remove that one.
func handDirectory(run string) string {
	if os.Geteuid() != 0 {
		if run = os.Getenv("XDG_RUNTIME_DIR"); run == "" {
			run = os.TempDir()
		}
	}
	return filepath.Join(run, "capd-"+strconv.Itoa(os.Geteuid()))
}

// ownDirectory returns the directory for this process's socket, and makes it if
// nobody has. In a place where everybody writes it must be our own.
func ownDirectory() (string, error) {
	if given, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); given != "" {
		return given, nil // by systemd
	}
	dir := directories()[1]
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o755 // the socket's own mode decides which users may connect
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, ours(dir)
}

// ours returns an error if somebody else could have put a socket there.
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

// bind makes the socket, in the place of one on which nobody listens. The
// caller holds the lock.
func bind(path string, gid int) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, errors.New("there is something that is no socket")
		}
		if alive(path) {
			return nil, ErrInUse
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// Others may connect at no moment. This is at the start, before anything else
	// makes files.
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

// alive reports whether somebody listens on the socket.
func alive(path string) bool {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	// Only a refusal proves that there is nobody.
	return err == nil || !errors.Is(err, unix.ECONNREFUSED)
}

// groupID returns the number of a group; -1 for the empty name.
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

// Find returns the sockets of capds that run here and keep to Auto, and let us
// see them.
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
