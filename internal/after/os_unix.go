//go:build unix

package after

import (
	"io/fs"
	"os"
	"syscall"
)

// killGroup kills every process of the group. There may be none.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// renameChecked renames where the system can't refuse to replace by itself.
// The directory is locked by us, so that nobody of ours comes in between.
func renameChecked(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}
