package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"capd/internal/hint"

	"golang.org/x/sys/unix"
)

// LockName is the name of the lock file of a directory. It does not parse as a capture file's.
const LockName = ".capd.lock"

// DefaultFileMode is the mode of the files that capd makes in a directory.
const DefaultFileMode = 0o640

// A lock that another process holds is tried lockTries times, with a pause between the tries.
const (
	lockTries = 20
	lockPause = 10 * time.Millisecond
)

// A Lock keeps other recorders out of a directory until it is released or the process ends, even by
// a crash.
type Lock struct {
	dir  string
	at   unix.Stat_t // of the directory
	file *os.File
}

// ErrInUse is wrapped by LockDirectory's error when another process records into the directory.
var ErrInUse = hint.New("another capd records here", "two recorders need two directories")

// LockDirectory reserves the directory for this process.
func LockDirectory(dir string) (*Lock, error) {
	h, err := openLock(dir)
	if err != nil {
		return nil, &UnfitError{fmt.Errorf("lock directory: %w", err)}
	}
	err = unix.Flock(int(h.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for range lockTries { // InUse of another process may hold the lock for a moment
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(lockPause)
		err = unix.Flock(int(h.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer h.Close()
		holder, _ := io.ReadAll(io.LimitReader(h, 20))
		return nil, fmt.Errorf("lock directory %s: %w: pid %s", dir, ErrInUse, strings.TrimSpace(string(holder)))
	}
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("lock directory %s: %w", dir, err)
	}
	if err := writePid(h); err != nil {
		h.Close()
		return nil, fmt.Errorf("lock directory %s: %w", dir, err)
	}
	var at unix.Stat_t
	if err := again(func() error { return unix.Stat(dir, &at) }); err != nil {
		h.Close()
		return nil, fmt.Errorf("lock directory %s: %w", dir, err)
	}
	return &Lock{dir, at, h}, nil
}

// ErrReplaced is wrapped by the error of Lock.Here.
var ErrReplaced = errors.New("the directory is not at its path any more")

// Here returns an error, which wraps ErrReplaced, if the locked directory is not at
// its path any more: its file system was unmounted, another one was mounted over it,
// or it was renamed or deleted. It asks the file system, and may take as long as that
// does.
func (l *Lock) Here() error {
	var now unix.Stat_t // and no fs.FileInfo, because each new file asks several times
	if err := again(func() error { return unix.Stat(l.dir, &now) }); err != nil {
		return fmt.Errorf("%w: %w", ErrReplaced, &fs.PathError{Op: "stat", Path: l.dir, Err: err})
	}
	if now.Dev == l.at.Dev && now.Ino == l.at.Ino {
		return nil
	}
	// A file system in user space may number its directories anew.
	named, err := os.Lstat(filepath.Join(l.dir, LockName))
	if mine, err2 := l.file.Stat(); err == nil && err2 == nil && os.SameFile(named, mine) {
		return nil
	}
	return fmt.Errorf("%w: another one is there", ErrReplaced)
}

// openLock opens the lock's file. A link that is in its place is not followed.
func openLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, LockName)
	h, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, DefaultFileMode)
	if err == nil {
		GiveToOwner(h)
	}
	return h, err
}

// Holder returns the process that took the directory's lock last, by its own word; 0 if none did.
func Holder(dir string) int {
	h, err := os.OpenFile(filepath.Join(dir, LockName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0
	}
	defer h.Close()
	text, _ := io.ReadAll(io.LimitReader(h, 20))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

func writePid(h *os.File) error {
	if err := h.Truncate(0); err != nil {
		return err
	}
	_, err := h.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// InUse reports whether a process holds the directory's lock. Others can still take the lock
// meanwhile. The error says why the answer is not known.
func InUse(dir string) (bool, error) {
	h, err := os.OpenFile(filepath.Join(dir, LockName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("test lock: %w", err)
	}
	defer h.Close()
	err = unix.Flock(int(h.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("test lock of %s: %w", dir, err)
	}
	return false, nil
}

// Reachable reports whether a process of this user could record into the directory
// if no sandbox confined it: Landlock does not restrict access(2).
func Reachable(dir string) bool {
	lock := unix.Access(filepath.Join(dir, LockName), unix.R_OK|unix.W_OK)
	return unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK) == nil && (lock == nil || errors.Is(lock, fs.ErrNotExist))
}

// Release gives the lock back. The lock file stays, because removing it would race with the next
// holder.
func (l *Lock) Release() error { return l.file.Close() }
