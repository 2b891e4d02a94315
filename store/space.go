package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Space describes the file system of a directory.
type Space struct {
	FileSystem string // such as ext4; the magic number of an unknown type
	Direct     bool   // files can be written with O_DIRECT
	Free       uint64 // bytes that an ordinary user may still write
	Total      uint64 // bytes
	FreeFiles  uint64 // files that an ordinary user may still create; see Files
	Files      uint64 // limit for the number of files; 0: the file system has no such limit
}

// Prove tries in the directory everything that recording does: create, write, rename, delete. It
// creates a missing directory if the parent exists. The error is an *UnfitError.
func Prove(dir string, mode fs.FileMode) (Space, error) {
	s, err := prove(dir, mode)
	if err != nil {
		return s, &UnfitError{ExplainFull(dir, err)}
	}
	return s, nil
}

func prove(dir string, mode fs.FileMode) (Space, error) {
	if err := os.Mkdir(dir, 0o750); err == nil {
		GiveDirectory(dir)
	} else if !errors.Is(err, fs.ErrExist) {
		return Space{}, fmt.Errorf("create directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return Space{}, err
	}
	if !info.IsDir() {
		return Space{}, &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
	}
	s, err := space(dir)
	if err != nil {
		return s, fmt.Errorf("file system of %s: %w", dir, err)
	}
	s.Direct, err = proveFile(dir, mode)
	return s, err
}

func proveFile(dir string, mode fs.FileMode) (direct bool, err error) {
	path := filepath.Join(dir, fmt.Sprintf(".capd-check-%d", os.Getpid()))
	moved := path + "-renamed"
	defer os.Remove(path)
	defer os.Remove(moved)
	const flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	err = writePage(OpenDirect(path, flags, mode))
	if direct = err == nil; !direct {
		// Some file systems open the file and refuse the write.
		if !RefusesDirect(err) {
			return false, err
		}
		if err := writePage(os.OpenFile(path, flags, mode)); err != nil {
			return false, err
		}
	}
	if err := Rename(path, moved); err != nil {
		return direct, err
	}
	return direct, os.Remove(moved)
}

// writePage writes a page to a file that was opened, and closes it.
func writePage(h *os.File, err error) error {
	if err != nil {
		return err
	}
	_, err = h.Write(alignedPage())
	return errors.Join(err, h.Close())
}

// pageSize is the alignment in bytes that O_DIRECT requires of addresses, lengths and offsets: the
// largest logical block size in use.
const pageSize = 4096

// alignedPage returns a page of zeros at an address that is aligned for O_DIRECT.
func alignedPage() []byte {
	mem := make([]byte, 2*pageSize)
	skip := int(-uintptr(unsafe.Pointer(&mem[0])) % pageSize)
	return mem[skip : skip+pageSize : skip+pageSize]
}

// FreeSpace describes the directory's file system, without the fields for which Prove has to write.
func FreeSpace(dir string) (Space, error) {
	s, err := space(dir)
	if err != nil {
		return s, fmt.Errorf("file system of %s: %w", dir, err)
	}
	return s, nil
}
