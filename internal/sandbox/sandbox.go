//go:build unix

// Package sandbox takes from the process what it does not need, for good: its
// user's powers, capabilities, and the parts of the file system that are none
// of its business. What it starts inherits that.
package sandbox

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"capd/internal/hint"
)

// A Policy says what the process needs from now on. Paths that are not there
// when it is entered stay out of reach.
type Policy struct {
	Read  []string // files, and directories with all in them, to read and execute
	Write []string // directories in which all may be read, made, written and deleted
	Files []string // files to read and write, such as /dev/null
}

// A Report says what Enter has done.
type Report struct {
	Capabilities []string // that are left
	Landlock     int      // version of the kernel's Landlock that holds the files; 0: none does
}

// ErrUnsupported is returned by Enter where the system can't hold the process
// to files. All else of the policy holds then.
var ErrUnsupported = hint.New("the system has no Landlock, or does not let capd use it", `sandbox = "auto" does without what the system lacks`)

// Enter holds the process to the policy, in all of its threads. What is open
// already stays open.
func Enter(p Policy) (Report, error) { return enter(p) }

// An Account is a user that the process can become.
type Account struct {
	Name     string
	UID, GID int
	groups   []int
}

// Lookup finds the account of that name.
func Lookup(name string) (Account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return Account{}, err
	}
	names, err := u.GroupIds()
	if err != nil {
		return Account{}, fmt.Errorf("groups of user %s: %w", name, err)
	}
	a := Account{Name: name}
	for i, text := range append([]string{u.Uid, u.Gid}, names...) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return Account{}, fmt.Errorf("user %s: id %q is no number", name, text)
		}
		switch i {
		case 0:
			a.UID = n
		case 1:
			a.GID = n
		default:
			a.groups = append(a.groups, n)
		}
	}
	return a, nil
}

// Current reports whether the process runs as the account's user already.
func (a Account) Current() bool { return os.Geteuid() == a.UID && os.Getuid() == a.UID }

// Become makes the process the account's, for good. On Linux it keeps the
// capabilities that recording needs.
func (a Account) Become() error {
	if a.Current() {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("become user %s: only root can: %w", a.Name, os.ErrPermission)
	}
	if err := beforeBecoming(); err != nil {
		return fmt.Errorf("become user %s: keep capabilities: %w", a.Name, err)
	}
	if err := syscall.Setgroups(a.groups); err != nil {
		return fmt.Errorf("become user %s: set groups: %w", a.Name, err)
	}
	if err := syscall.Setgid(a.GID); err != nil {
		return fmt.Errorf("become user %s: set group %d: %w", a.Name, a.GID, err)
	}
	if err := syscall.Setuid(a.UID); err != nil {
		return fmt.Errorf("become user %s: set user %d: %w", a.Name, a.UID, err)
	}
	if err := afterBecoming(); err != nil {
		return fmt.Errorf("become user %s: take capabilities up again: %w", a.Name, err)
	}
	return nil
}
