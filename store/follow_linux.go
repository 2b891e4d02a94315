package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// inotify is a watcher that uses inotify(7).
type inotify struct {
	file *os.File
	buf  [64 << 10]byte
}

var errWatchEnded = errors.New("the directory is gone")

func watch(dir string) (watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	const mask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return &inotify{file: os.NewFile(uintptr(fd), "inotify")}, nil
}

func (w *inotify) next() (gone map[string]bool, all bool, err error) {
	n, err := w.file.Read(w.buf[:])
	if err != nil {
		return nil, false, err
	}
	gone, all, ended := parseEvents(w.buf[:n])
	if ended {
		return nil, false, errWatchEnded
	}
	return gone, all, nil
}

func (w *inotify) close() error { return w.file.Close() }
