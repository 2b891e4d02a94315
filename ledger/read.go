package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A LineError says that a line of a ledger can't be read.
type LineError struct {
	File string // name of the ledger in its directory
	Line int    // from 1 on
	Torn bool   // the file ends within the line: another process may be writing it
	Err  error
}

// Error says which line, and why.
func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

// Read returns the entries of all ledgers of the directory that keep accepts,
// oldest first; a nil keep accepts all. It may run while another process
// records. The error of a line that can't be read is a *LineError, and the next
// line follows; after any other error nothing follows. Lines of unknown kinds
// are returned, and unknown fields passed over.
func Read(dir string, keep func(*Entry) bool) iter.Seq2[Entry, error] {
	return ReadWith(dir, ReadOptions{Keep: keep})
}

// ReadOptions say what to do while ledgers are read. Their functions may be nil.
type ReadOptions struct {
	Keep  func(*Entry) bool // reports whether to return the entry
	Begin func(bytes int64) // is called with the number of bytes that will be read
	Read  func(bytes int)   // is called with the number of bytes of each read

	// Names are those in the directory, of ledgers and of other files. If nil, the
	// directory is listed, as it has to be where another process records.
	Names []string

	NoLines bool // Ask returns no lines; so it reads the ledger once

	ledger func(name string) // is called before the entries of each ledger
}

// ReadWith is Read with options.
func ReadWith(dir string, opt ReadOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		files, err := openAll(dir, opt.Names)
		defer func() {
			for _, h := range files {
				h.Close()
			}
		}()
		if err != nil {
			yield(Entry{}, fmt.Errorf("read ledger: %w", err))
			return
		}
		if opt.Begin != nil {
			opt.Begin(sizeOf(files))
		}
		for _, h := range files {
			name := filepath.Base(h.Name())
			if opt.ledger != nil {
				opt.ledger(name)
			}
			var src io.Reader = h
			if opt.Read != nil {
				src = countingReader{h, opt.Read}
			}
			if !readFile(src, name, opt.Keep, yield) {
				return
			}
		}
	}
}

func sizeOf(files []*os.File) (n int64) {
	for _, h := range files {
		if info, err := h.Stat(); err == nil {
			n += info.Size()
		}
	}
	return n
}

// A countingReader calls read with the number of bytes of each Read.
type countingReader struct {
	io.Reader
	read func(int)
}

func (r countingReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.read(n)
	return n, err
}

// openAll opens all ledgers, the present one last in the result. It opens that
// one first and lists the directory then: if the present ledger becomes an old
// one in between, openAll finds the file under both names, and drops one.
func openAll(dir string, names []string) ([]*os.File, error) {
	present, err := os.OpenFile(filepath.Join(dir, FileName), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var files []*os.File
	add := func(h *os.File) {
		if h != nil {
			files = append(files, h)
		}
	}
	if names == nil {
		if names, err = listNames(dir); err != nil {
			add(present)
			return files, err
		}
	}
	for _, name := range oldNames(names) {
		h, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the recording process removed it
		}
		if err != nil {
			add(present)
			return files, err
		}
		add(h)
		if present != nil && sameFile(present, h) {
			present.Close()
			present = nil
		}
	}
	add(present)
	return files, nil
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	y, err2 := b.Stat()
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// readFile yields the entries of one ledger and reports whether to go on.
func readFile(src io.Reader, name string, keep func(*Entry) bool, yield func(Entry, error) bool) bool {
	r := bufio.NewReaderSize(src, maxLine)
	d := newDecoder()
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		damage := error(nil)
		if errors.Is(err, bufio.ErrBufferFull) {
			damage = errors.New("line too long")
			for errors.Is(err, bufio.ErrBufferFull) {
				line, err = r.ReadSlice('\n')
			}
		}
		if err != nil && err != io.EOF {
			yield(Entry{}, fmt.Errorf("read ledger: %w", err))
			return false
		}
		if len(line) == 0 {
			return true
		}
		if err == nil {
			line = line[:len(line)-1]
		}
		if damage == nil && len(line) == 0 {
			continue
		}
		if damage == nil {
			damage = d.decode(line)
		}
		switch {
		case damage != nil:
			if !yield(Entry{}, &LineError{File: name, Line: n, Torn: err == io.EOF, Err: damage}) {
				return false
			}
		case keep == nil || keep(&d.entry):
			if !yield(d.entry, nil) {
				return false
			}
		}
		if err == io.EOF {
			return true
		}
	}
}
