package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Prove does in the directory everything that recording does, so that a file system that refuses any of it is found before frames
// come. It creates a missing directory if the parent exists. The error is an *UnfitError.
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
	path := filepath.Join(dir, fmt.Sprintf(".capd-check-%d", os.Getpid()))
	p := &proof{path: path, renamed: path + "-renamed", mode: mode, fileSystem: s.FileSystem}
	_ = os.Remove(p.path)
	defer os.Remove(p.path)
	defer os.Remove(p.renamed)
	s.Writes = p.record()
	if p.err != nil {
		return s, p.err
	}
	return s, p.finish(dir)
}

// A proof is a file that is recorded as package writer does it, of a few pages.
type proof struct {
	path, renamed string
	mode          fs.FileMode
	fileSystem    string
	direct        *os.File // nil where direct writes are refused
	plain         *os.File // for bytes that are no whole pages
	size          int64
	err           error // the first one
}

// pageSize is the alignment in bytes that O_DIRECT requires of addresses, lengths and offsets: the
// largest logical block size in use.
const pageSize = 4096

// record creates the file and writes it: whole pages directly and in any order, as several are written at a time; a part of a
// page through a second descriptor, which the whole page overwrites later.
func (p *proof) record() (w Writes) {
	p.open()
	defer p.close()
	if p.direct != nil {
		_ = Preallocate(p.direct, 0, 4*pageSize) // recording goes on without, too
		_, err := p.direct.WriteAt(page(1), pageSize)
		switch {
		case RefusesDirect(err):
			p.fallBack()
		case err != nil:
			p.fail("write", err)
		}
	}
	if p.direct == nil {
		p.write("write", page(1), pageSize)
	}
	p.write("write before what is written", page(0), 0)
	p.part(2*pageSize, page(2)[:100])
	p.write("write again", page(2), 2*pageSize)
	p.part(3*pageSize, page(3)[:100])
	p.part(3*pageSize+100, page(3)[100:200])
	p.size = 3*pageSize + 200
	if h := p.handle(); h != nil && p.err == nil {
		p.fail("truncate", h.Truncate(p.size))
		p.fail("start writing", StartWrite(h, 0, 0))
		p.fail("sync", SyncData(h))
	}
	switch {
	case p.err != nil:
		return ""
	case p.direct == nil:
		return WritesRefused
	}
	return writesOf(p.direct, p.path, p.fileSystem)
}

func (p *proof) open() {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	h, err := OpenDirect(p.path, flags, p.mode)
	switch {
	case err == nil:
		p.direct = h
	case RefusesDirect(err):
		_ = os.Remove(p.path) // Linux creates the file before it refuses O_DIRECT
		p.plain, err = os.OpenFile(p.path, flags, p.mode)
		p.fail("", err)
	default:
		p.fail("", err)
	}
}

// fallBack goes on without direct writes.
func (p *proof) fallBack() {
	p.part(0, nil)
	p.fail("close", p.direct.Close())
	p.direct = nil
}

// part writes through the second descriptor.
func (p *proof) part(off int64, b []byte) {
	if p.err != nil {
		return
	}
	if p.plain == nil {
		h, err := os.OpenFile(p.path, os.O_WRONLY, 0)
		if err != nil {
			p.fail("open a second time, as for a part of a page", fmt.Errorf("%w: %w", err, errInOrder))
			return
		}
		p.plain = h
	}
	if len(b) > 0 {
		_, err := p.plain.WriteAt(b, off)
		p.fail("write a part of a page", err)
	}
}

func (p *proof) write(what string, b []byte, off int64) {
	if h := p.handle(); h != nil && p.err == nil {
		_, err := h.WriteAt(b, off)
		p.fail(what, err)
	}
}

// handle is the descriptor for whole pages.
func (p *proof) handle() *os.File {
	if p.direct != nil {
		return p.direct
	}
	return p.plain
}

// fail notes what was done when the first error came; the error alone says it where nothing is named.
func (p *proof) fail(what string, err error) {
	if err == nil || p.err != nil {
		return
	}
	if what != "" {
		err = fmt.Errorf("%s: %w", what, err)
	}
	if errors.Is(err, unix.ESPIPE) {
		err = fmt.Errorf("%w: %w", err, errInOrder)
	}
	p.err = err
}

func (p *proof) close() {
	for _, h := range []*os.File{p.direct, p.plain} {
		if h != nil {
			p.fail("close", h.Close())
		}
	}
}

// finish gives the file its name, reads it, and deletes it.
func (p *proof) finish(dir string) error {
	if err := Rename(p.path, p.renamed); err != nil {
		return err
	}
	if err := SyncDirectory(dir); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	var want []byte
	for n := range 4 {
		want = append(want, page(n)...)
	}
	switch got, err := os.ReadFile(p.renamed); {
	case err != nil:
		return err
	case !bytes.Equal(got, want[:p.size]):
		return fmt.Errorf("%s has other bytes than were written", dir)
	}
	return os.Remove(p.renamed)
}

// page returns a page at an address that is aligned for O_DIRECT. Each is filled with its number, from 1.
func page(n int) []byte {
	mem := make([]byte, 2*pageSize)
	skip := int(-uintptr(unsafe.Pointer(&mem[0])) % pageSize)
	p := mem[skip : skip+pageSize : skip+pageSize]
	for i := range p {
		p[i] = byte(n + 1)
	}
	return p
}
