package store

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// GiveToOwner gives a file that this process has just made to the owner of its
// directory. What root makes in the directory of a service, as by a check or a
// run by hand, would else keep the service from it. The opener must not have
// followed a link.
func GiveToOwner(h *os.File) {
	if os.Geteuid() != 0 {
		return
	}
	uid, gid, ok := ownerAbove(h.Name())
	var own unix.Stat_t
	if !ok || unix.Fstat(int(h.Fd()), &own) != nil {
		return
	}
	if own.Size == 0 && own.Nlink == 1 && own.Mode&unix.S_IFMT == unix.S_IFREG && own.Uid == 0 {
		// Refused where the owner is none of this user namespace, as in a container.
		_ = h.Chown(uid, gid)
	}
}

// GiveDirectory is GiveToOwner for a directory that was just made.
func GiveDirectory(path string) {
	if uid, gid, ok := ownerAbove(path); os.Geteuid() == 0 && ok {
		_ = os.Lchown(path, uid, gid)
	}
}

// ownerAbove returns to whom the directory belongs that the path is in, unless
// that is root.
func ownerAbove(path string) (uid, gid int, ok bool) {
	var above unix.Stat_t
	if unix.Stat(filepath.Dir(path), &above) != nil {
		return 0, 0, false
	}
	return int(above.Uid), int(above.Gid), above.Uid != 0
}

// foreign says whose file it is that may not be written; empty if it is not known
// to be another's.
func foreign(path string) string {
	var own unix.Stat_t
	if unix.Lstat(path, &own) != nil || int(own.Uid) == os.Geteuid() {
		return ""
	}
	return fmt.Sprintf("%s belongs to user %d, and this is user %d: chown it, or let that user record", path, own.Uid, os.Geteuid())
}
