// Package read gives the packets of capture files, whatever has become of the files: compressed, still growing, renamed
// meanwhile, or bytes of a pipe.
//
// A [File] gives the packets of one file in the file's order. What reads several files has a File for each.
package read

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"capd/crypt"
	"capd/internal/text"
	"capd/pcap"
	"capd/store"
)

// Options say how to read a file. The zero value reads it as it is now.
type Options struct {
	// Follow waits at the file's end for what is written to it, until the file loses its name or the context ends; nil does
	// not wait.
	Follow context.Context
	// Growing reads what is whole of a file that a recorder is writing, or has left behind. It ends once it has come as far as
	// the file was when it was opened, even if more has been written.
	Growing bool
	// Parts are all that is read of a regular file, in their order, besides what is before its first packet; nil: all of it. Only
	// NextRecord gives what is in them, and Whole reads all of the file after all. Of a file that another program has compressed, all is
	// read.
	Parts []Part
	// Identities decrypt files that are encrypted; none: they are not read.
	Identities crypt.Identities
	// Through wraps the reader of the file's bytes, as to count them; nil does not.
	Through func(io.Reader) io.Reader
}

// A File gives the packets of one file.
type File struct {
	path   string
	h      *os.File // nil: the bytes are not of a file of ours
	src    io.Reader
	grown  *grown  // nil: the file does not grow, or is followed
	parts  *parted // nil: all of the file is read
	open   Options
	parser *pcap.Reader // nil: the beginning was not read yet
	seen   uint64
}

// Open opens a file. Nothing is read before Next.
func Open(path string, o Options) (*File, error) {
	h, err := openFile(path)
	if err != nil {
		return nil, err
	}
	f := New(path, h, o)
	f.h = h
	if !regular(h) {
		return f, nil
	}
	c := &content{File: h, keys: o.Identities}
	if err := c.decrypt(); err != nil && (o.Follow == nil && !o.Growing || !errors.Is(err, crypt.ErrNoHeader)) {
		h.Close()
		return nil, err
	}
	switch {
	case o.Follow != nil:
		f.src = through(newFollower(o.Follow, c), o)
	case o.Parts != nil && c.r == nil:
		if f.parts, f.src = newParted(h, o); f.parts == nil {
			f.src = through(h, o)
		}
	case o.Growing:
		f.grown = &grown{h: c, limit: c.most()}
		f.src = through(f.grown, o)
	default:
		f.src = through(c.all(), o)
	}
	return f, nil
}

// New reads packets from bytes. The name is for errors.
func New(name string, src io.Reader, o Options) *File {
	return &File{path: name, src: through(src, o), open: o}
}

func through(src io.Reader, o Options) io.Reader {
	if o.Through == nil {
		return src
	}
	return o.Through(src)
}

// openFile opens a file that is no directory.
func openFile(path string) (*os.File, error) {
	h, err := os.Open(path)
	if err == nil {
		if info, err := h.Stat(); err == nil && info.IsDir() {
			h.Close()
			return nil, &openError{&fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}}
		}
		return h, nil
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		return nil, &openError{p}
	}
	return nil, err
}

func regular(h *os.File) bool {
	info, err := h.Stat()
	return err == nil && info.Mode().IsRegular()
}

// Size returns the bytes of a regular file as it is now; 0 is not known.
func (f *File) Size() int64 {
	if f.h == nil {
		return 0
	}
	if info, err := f.h.Stat(); err == nil && info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}

// Stat returns the size of the file as it is now, and when it was changed, in nanoseconds since 1970.
func (f *File) Stat() (size, modified int64) {
	if info, err := f.h.Stat(); err == nil {
		return info.Size(), info.ModTime().UnixNano()
	}
	return 0, 0
}

// More goes on behind the end that was met of a file that was opened as growing, up to where the file is now. It returns true if
// nothing can come behind that, because the file had lost its name before. Of other files the end is the end.
func (f *File) More() (last bool) {
	if f.grown == nil {
		return true
	}
	last = lost(f.h) // first: what was written before is there then
	f.grown.limit = f.Size()
	if f.parser != nil {
		f.parser.Jump(f.parser.Offset())
	}
	return last
}

// WholeUpTo says that a file, which was opened as growing, is known to have whole records up to an offset, as its recorder says. It is read
// up to there without looking for where that is, until More is called. 0 says nothing.
func (f *File) WholeUpTo(offset int64) {
	if f.grown != nil && f.grown.h.r == nil && offset > 0 {
		f.grown.limit = offset
		f.grown.frontier.know(offset)
	}
}

// AtEnd reports whether an error of NextRecord says that a growing file has no more whole records yet.
func (f *File) AtEnd(err error) bool { return err == io.EOF && f.parser != nil }

// Is reports whether a path leads to the file that was opened.
func (f *File) Is(path string) bool {
	there, err := os.Stat(path)
	if err != nil || f.h == nil {
		return false
	}
	mine, err := f.h.Stat()
	return err == nil && os.SameFile(there, mine)
}

// Same reports whether another File was opened of the same file, by whatever name.
func (f *File) Same(other *File) bool {
	if f.h == nil || other.h == nil {
		return false
	}
	mine, err := f.h.Stat()
	if err != nil {
		return false
	}
	its, err := other.h.Stat()
	return err == nil && os.SameFile(mine, its)
}

// Path returns the name that the file was opened by.
func (f *File) Path() string { return f.path }

// Close closes the file.
func (f *File) Close() error {
	if f.h == nil {
		return nil
	}
	return f.h.Close()
}

// Next returns the next packet, as pcap.Reader does, and io.EOF after the last. Other errors name the file and how many
// packets came before.
func (f *File) Next() (pcap.Packet, error) {
	if err := f.begin(); err != nil {
		return pcap.Packet{}, f.failed(err)
	}
	p, err := f.parser.Next()
	if err != nil {
		return p, f.failed(err)
	}
	f.seen++
	return p, nil
}

func (f *File) failed(err error) error {
	if err == io.EOF {
		return err
	}
	return fmt.Errorf("read %s: after %s: %w", text.Name(f.path), text.Count(f.Seen(), "packet"), err)
}

// begin reads what is before the first packet.
func (f *File) begin() error {
	if f.parser != nil {
		return nil
	}
	src, err := f.src, error(nil)
	if f.parts == nil {
		src, err = plain(f.path, f.src, f.open.Identities)
	}
	if err != nil {
		return err
	}
	f.parser, err = pcap.NewReader(src)
	if err != nil {
		f.parser = nil
		if f.grown != nil && f.grown.off == 0 && errors.Is(err, io.ErrUnexpectedEOF) {
			return io.EOF // its first bytes are not on the disk yet
		}
	}
	return err
}

// Seen returns how many packets Next and NextRecord have returned.
func (f *File) Seen() uint64 { return f.seen }

// Interface returns the interface of the last packet. Before the first there is none but a pcap file's.
func (f *File) Interface() pcap.Interface {
	if f.parser == nil {
		return pcap.Interface{}
	}
	return f.parser.Interface()
}

// InterfaceID returns the number of that interface in the file.
func (f *File) InterfaceID() int { return f.parser.InterfaceID() }

// Format returns the file's format, once Next was called.
func (f *File) Format() pcap.Format { return f.parser.Format() }

// An openError says why a capture file can't be opened.
type openError struct{ *fs.PathError }

func (e *openError) Unwrap() error { return e.PathError }

// Hints says what to do about it.
func (e *openError) Hints() []string {
	finished, state := store.Cut(e.Path)
	switch {
	case errors.Is(e, fs.ErrNotExist) && state == store.Recording:
		for _, s := range store.WithData() {
			if info, err := os.Stat(finished + s.Ext()); err == nil && info.Size() > 0 {
				return []string{"it is finished by now: " + text.Name(finished+s.Ext())}
			}
		}
	case errors.Is(e, fs.ErrPermission):
		return []string{"recordings belong to the user and group that record: join the group, or use sudo"}
	case errors.Is(e, syscall.EISDIR):
		return []string{"name a capture file in it; capd list DIR says which there are of capd's"}
	}
	return nil
}
