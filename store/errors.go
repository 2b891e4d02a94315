package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"capd/internal/hint"
)

// An UnfitError is the reason why nothing can be written to a directory.
type UnfitError struct{ Err error }

func (e *UnfitError) Error() string { return e.Err.Error() }
func (e *UnfitError) Unwrap() error { return e.Err }

// Hints suggests what to do.
func (e *UnfitError) Hints() []string {
	var path *fs.PathError
	switch {
	case errors.Is(e, syscall.EROFS):
		return []string{"the file system is mounted read-only"}
	case errors.Is(e, syscall.ENOTDIR):
		return []string{"-d and directory = name a directory, not a file"}
	case errors.Is(e, ErrNoInodes), errors.Is(e, errInOrder):
		return nil // has its own
	case errors.Is(e, syscall.ENOSPC), errors.Is(e, syscall.EDQUOT):
		return []string{"the file system, or your share of it, is full"}
	case errors.Is(e, fs.ErrPermission):
		if errors.As(e, &path) {
			if whose := foreign(path.Path); whose != "" {
				return []string{whose}
			}
		}
		return []string{fmt.Sprintf("this is user %d: the directory must be writable for it", os.Geteuid())}
	case errors.As(e, &path) && path.Op == "mkdir" && errors.Is(e, fs.ErrNotExist):
		return []string{"create the directory above it first: capd makes only the last one of a path"}
	}
	return nil
}

// ErrNoInodes is wrapped by the errors of files that could not be made for want
// of an inode. The system's own error says that no space is left, however many
// bytes are free.
var ErrNoInodes = hint.New("the file system has no inode left, though bytes are free",
	"every file takes an inode, however small: delete files of whatever kind, or record fewer and larger ones (rotate_size, rotate_interval)",
	"min_free keeps inodes free as it keeps bytes")

// errInOrder is wrapped by the errors of file systems on which a file can only be written from its begin to its end, in one go.
var errInOrder = hint.New("the file system does not let a file be written in any order, and be opened again meanwhile",
	"rclone does with --vfs-cache-mode writes")

// ExplainFull returns the error of making a file in the directory; one that wraps
// ErrNoInodes, too, if that is why.
func ExplainFull(dir string, err error) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	if s, spaceErr := space(dir); spaceErr != nil || s.Files == 0 || s.FreeFiles > 0 || s.Free == 0 {
		return err
	}
	return fmt.Errorf("%w: %w", err, ErrNoInodes)
}

// An UnreadableError is the reason why a directory of recordings can't be read.
type UnreadableError struct{ Err error }

func (e *UnreadableError) Error() string { return e.Err.Error() }
func (e *UnreadableError) Unwrap() error { return e.Err }

// Hints suggests what to do.
func (e *UnreadableError) Hints() []string {
	switch {
	case errors.Is(e, fs.ErrNotExist), errors.Is(e, syscall.ENOTDIR):
		return []string{"name the directory that capd records into: directory in capd.toml, -d of capd run"}
	case errors.Is(e, fs.ErrPermission):
		return []string{fmt.Sprintf("this is user %d: recordings are for capd's user and group", os.Geteuid())}
	}
	return nil
}
