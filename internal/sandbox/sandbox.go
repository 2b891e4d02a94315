//go:build unix

// Package sandbox irrevocably drops what the process does not need: the privileges of its user,
// capabilities, and access to parts of the file system. Child processes inherit the restrictions.
package sandbox

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"capd/internal/hint"
)

// A Policy says what the process needs from now on. Paths that do not exist when Enter is called
// stay inaccessible.
type Policy struct {
	Read  []string // files, and whole directories, to read and execute
	Write []string // directories in which everything may be read, created, written and deleted
	Files []string // files to read and write, such as /dev/null

	NetAdmin bool // keep CAP_NET_ADMIN, which the logs of Linux's packet filter take
}

// A Report is the result of Enter.
type Report struct {
	Capabilities []string // names of the remaining capabilities
	Landlock     int      // version of Landlock that restricts file access; 0: not restricted
}

// ErrUnsupported is returned by Enter if the system can't restrict file access. The rest of the
// policy is in effect.
var ErrUnsupported = hint.New("the system has no Landlock, or does not let capd use it", `sandbox = "auto" does without what the system lacks`)

// Enter applies the policy to all threads of the process. Open files stay open.
func Enter(p Policy) (Report, error) { return enter(p) }

// An Account is a user to which the process can switch.
type Account struct {
	Name     string
	UID, GID int
	NetAdmin bool // Become keeps CAP_NET_ADMIN
	groups   []int
}

// Lookup returns the account of the user.
func Lookup(name string) (Account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return Account{}, err
	}
	return accountOf(u)
}

// LookupID returns the account of the user with the number.
func LookupID(uid string) (Account, error) {
	u, err := user.LookupId(uid)
	if err != nil {
		return Account{}, err
	}
	return accountOf(u)
}

func accountOf(u *user.User) (Account, error) {
	name := u.Username
	names, err := u.GroupIds()
	if err != nil {
		return Account{}, fmt.Errorf("groups of user %s: %w", name, err)
	}
	a := Account{Name: name}
	for i, text := range append([]string{u.Uid, u.Gid}, names...) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return Account{}, fmt.Errorf("user %s: id %q is not a number", name, text)
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

// Current reports whether the process already runs as the account's user.
func (a Account) Current() bool { return os.Geteuid() == a.UID && os.Getuid() == a.UID }

// Become irrevocably switches the process to the account. On Linux it keeps the capabilities that
// recording needs.
func (a Account) Become() error {
	return a.become(beforeBecoming, func() error { return afterBecoming(a.NetAdmin) })
}

// Relinquish is Become, but keeps no capability: the kernel drops them with the change of user.
func (a Account) Relinquish() error {
	return a.become(func() error { return nil }, func() error { return nil })
}

func (a Account) become(before, after func() error) error {
	if a.Current() {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("become user %s: only root can: %w", a.Name, os.ErrPermission)
	}
	if err := before(); err != nil {
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
	if err := after(); err != nil {
		return fmt.Errorf("become user %s: set capabilities: %w", a.Name, err)
	}
	return nil
}

// PassCapabilities makes a program that the calling thread execs in the place of this one keep the capabilities. The
// goroutine must be bound to its thread. That calls Resume.
func PassCapabilities() error { return passCapabilities() }

// Resume takes back from programs that this one starts what PassCapabilities has passed to it.
func Resume() error { return resume() }
