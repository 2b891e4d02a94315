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

	"golang.org/x/sys/unix"

	"capd/internal/hint"
)

// LockName is the file that says that a directory is in use. Its name does not
// parse as a capture file's.
const LockName = ".capd.lock"

// DefaultFileMode is the mode of the files that capd makes in a directory.
const DefaultFileMode = 0o640

// How often, and after which pause, a lock that another holds is tried again.
const (
	lockTries = 20
	lockPause = 10 * time.Millisecond
)

// A Lock keeps other recorders out of a directory, until it is released or the
// process ends, however it ends.
type Lock struct{ file *os.File }

// ErrInUse is what LockDirectory's error wraps when another process records
// into the directory.
var ErrInUse = hint.New("another capd records here", "two recorders need two directories")

// LockDirectory takes the directory for this process alone.
func LockDirectory(dir string) (*Lock, error) {
	h, err := openLock(dir)
	if err != nil {
		return nil, &UnfitError{fmt.Errorf("lock directory: %w", err)}
	}
	err = unix.Flock(int(h.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for range lockTries { // InUse of another process has it for a moment
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
	return &Lock{h}, nil
}

// openLock opens the lock's file. What root makes here, as by a check before the
// service's first start, belongs to the directory's owner: else that one could
// not record. A link that is in its place is not followed.
func openLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, LockName)
	h, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, DefaultFileMode)
	if errors.Is(err, fs.ErrExist) {
		return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, DefaultFileMode)
	}
	if err != nil || os.Geteuid() != 0 {
		return h, err
	}
	var owner unix.Stat_t
	if err := unix.Stat(dir, &owner); err == nil {
		// Refused where the owner is none of this user namespace, as in a container.
		_ = h.Chown(int(owner.Uid), int(owner.Gid))
	}
	return h, nil
}

func writePid(h *os.File) error {
	if err := h.Truncate(0); err != nil {
		return err
	}
	_, err := h.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// InUse reports whether a process holds the directory's lock. It keeps nobody
// from taking it. The error says why that can't be known.
func InUse(dir string) (bool, error) {
	h, err := os.OpenFile(filepath.Join(dir, LockName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for the lock: %w", err)
	}
	defer h.Close()
	err = unix.Flock(int(h.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for the lock of %s: %w", dir, err)
	}
	return false, nil
}

// Release gives the directory back. The lock's file stays: to remove it would
// race with the next holder.
func (l *Lock) Release() error { return l.file.Close() }
