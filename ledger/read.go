package ledger

import (
	"bufio"
	"capd/store"
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
	File string // name in the directory
	Line int    // from 1 on
	Torn bool   // the file ends within the line: it may be about to be written
	Err  error
}

// Error says where and why.
func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

// Read returns the entries of all ledgers of the directory that keep
// accepts, nil accepts all, oldest first. It may run while another process
// records. A line that can't be read is a *LineError and the next one follows;
// after any other error there is none. Lines of unknown kinds are returned as
// they are, unknown fields passed over.
func Read(dir string, keep func(*Entry) bool) iter.Seq2[Entry, error] {
	return ReadWith(dir, ReadOptions{Keep: keep})
}

// A ReadOptions says what to do while ledgers are read. Its functions may be nil.
type ReadOptions struct {
	Keep  func(*Entry) bool // whether to return the entry
	Begin func(bytes int64) // told how many bytes there are to read
	Read  func(bytes int)   // told how many more have been read
}

// ReadWith is Read that tells how far it has come.
func ReadWith(dir string, s ReadOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		files, err := openAll(dir)
		defer func() {
			for _, h := range files {
				h.Close()
			}
		}()
		if err != nil {
			yield(Entry{}, fmt.Errorf("read ledger: %w", err))
			return
		}
		if s.Begin != nil {
			s.Begin(sizeOf(files))
		}
		for _, h := range files {
			var src io.Reader = h
			if s.Read != nil {
				src = telling{h, s.Read}
			}
			if !readFile(src, filepath.Base(h.Name()), s.Keep, yield) {
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

// telling is a reader that tells how much was read.
type telling struct {
	io.Reader
	read func(int)
}

func (t telling) Read(b []byte) (int, error) {
	n, err := t.Reader.Read(b)
	t.read(n)
	return n, err
}

// openAll opens all ledgers, the present one last. That is opened first and
// the directory read then: when it becomes an old one meanwhile, it is in both.
func openAll(dir string) ([]*os.File, error) {
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
	old, err := oldNames(dir)
	if err != nil {
		add(present)
		return files, err
	}
	for _, name := range old {
		h, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no longer needed
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

// readFile yields one ledger's entries and reports whether to go on.
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

// Spans reads the directory's old ledgers, oldest first, for
// Spent. They do not change any more: what is known of one may be kept.
func Spans(dir string) ([]Span, error) {
	old, err := oldNames(dir)
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	var spans []Span
	for _, name := range old {
		span := Span{Ledger: name, Last: make(map[store.Lane]uint64)}
		h, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return spans, fmt.Errorf("read ledger: %w", err)
		}
		readFile(h, name, nil, func(e Entry, lineErr error) bool {
			if n, parseErr := store.ParseName(e.Name); parseErr == nil {
				span.Last[n.Of()] = max(span.Last[n.Of()], n.Sequence)
			}
			var damaged *LineError
			if lineErr != nil && !errors.As(lineErr, &damaged) {
				err = lineErr
			}
			return err == nil
		})
		h.Close()
		if err != nil {
			return spans, err
		}
		spans = append(spans, span)
	}
	return spans, nil
}
