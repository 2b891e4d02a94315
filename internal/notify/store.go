package notify

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// mostFiles is how many descriptors one message can carry (SCM_MAX_FD of Linux).
const mostFiles = 253

// maxName is the longest name of stored descriptors (sd_pid_notify_with_fds(3)).
const maxName = 255

// StoreMax returns how many descriptors the manager keeps for the service
// ($FDSTORE). That is not known before systemd 254: ask HasRoom.
func (m *Manager) StoreMax() (most int, known bool) {
	if m == nil {
		return 0, true
	}
	return m.storeMax, m.storeMax > 0
}

// Store puts duplicates of the files into the manager's store. The next process
// of the service gets them from Inherited, under that name, which has 1 to 255
// printable characters of ASCII without a colon. They stay in the store whatever
// happens to them, until Remove. The manager drops what is too much for its
// store without saying so, and what it has already: see HasRoom. Without a
// manager, the error wraps errors.ErrUnsupported.
func (m *Manager) Store(name string, files ...*os.File) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("store %q: %w", name, err)
	}
	for some := range slices.Chunk(files, mostFiles) {
		// FDPOLL=0: otherwise the manager drops a packet socket when its interface
		// goes down.
		if err := m.sendFiles("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, some); err != nil {
			return fmt.Errorf("store %q: %w", name, err)
		}
	}
	return nil
}

// Remove removes all descriptors of that name from the manager's store.
func (m *Manager) Remove(name string) error {
	err := checkName(name)
	if err == nil {
		err = m.sendFiles("FDSTOREREMOVE=1\nFDNAME="+name, nil)
	}
	if err != nil {
		return fmt.Errorf("remove %q from the store: %w", name, err)
	}
	return nil
}

// Barrier returns when the manager has processed all messages so far, or with an
// error after the timeout.
func (m *Manager) Barrier(timeout time.Duration) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("wait for the service manager: %w", err)
	}
	defer r.Close()
	err = m.sendFiles("BARRIER=1", []*os.File{w})
	_ = w.Close()
	if err == nil {
		_ = r.SetReadDeadline(time.Now().Add(timeout))
		_, err = r.Read(make([]byte, 1)) // ends when the manager closes the other end
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("wait for the service manager: %w", err)
	}
	return nil
}

// roomName is the name of what HasRoom stores for a moment.
const roomName = "capd-room"

// HasRoom reports whether the manager keeps one more descriptor. If so, it kept
// all that were stored before: it is asked by storing one, which is removed then.
// It waits as Barrier does.
func (m *Manager) HasRoom(timeout time.Duration) (bool, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return false, fmt.Errorf("ask the service manager for room: %w", err)
	}
	defer r.Close()
	err = m.Store(roomName, w)
	_ = w.Close()
	if err == nil {
		err = m.Barrier(timeout)
	}
	if err != nil {
		return false, err
	}
	open := false
	raw, err := r.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			_, readErr := unix.Read(int(fd), make([]byte, 1))
			open = readErr == unix.EAGAIN // at the end of a closed pipe there is no error
			return true
		})
	}
	if err != nil {
		return false, fmt.Errorf("ask the service manager for room: %w", err)
	}
	return open, m.Remove(roomName)
}

// checkName returns what is wrong with a name; systemd ignores the message then.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a name has 1 to %d characters", maxName)
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == ':' {
			return fmt.Errorf("a name has no character %q", c)
		}
	}
	return nil
}

// sendFiles sends a message with descriptors.
func (m *Manager) sendFiles(text string, files []*os.File) error {
	if m == nil {
		return fmt.Errorf("no service manager: %w", errors.ErrUnsupported)
	}
	return withDescriptors(files, nil, func(fds []int) error {
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		raw, err := m.conn.SyscallConn()
		if err != nil {
			return err
		}
		_ = m.conn.SetWriteDeadline(time.Now().Add(patience))
		waited := raw.Write(func(fd uintptr) bool {
			err = unix.Sendmsg(int(fd), []byte(text), rights, nil, 0) // package net sends none to a connection
			return err != unix.EAGAIN
		})
		return errors.Join(waited, err)
	})
}

// withDescriptors calls f with the descriptors of the files, which stay open and
// as they are meanwhile.
func withDescriptors(files []*os.File, fds []int, f func(fds []int) error) error {
	if len(files) == 0 {
		return f(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	control := raw.Control(func(fd uintptr) { err = withDescriptors(files[1:], append(fds, int(fd)), f) })
	return errors.Join(control, err)
}

// storeMax returns the size of the manager's store from the environment; 0 if it
// does not say it.
func storeMax() int {
	n, err := strconv.Atoi(os.Getenv("FDSTORE"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}
