package extract

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"capd/store"
)

// flushAt is how many bytes are written at a time.
const flushAt = 256 << 10

// A sink writes whole records, many at a time. The zero value throws them away.
type sink struct {
	out   io.Writer // nil: only count
	made  *os.File  // by Create; nil: out is not ours
	buf   []byte
	whole int64 // bytes written, all of whole records

	broken error // of the first write that failed
}

// Make makes a file to write packets to, which must not exist.
func Make(path string) (*os.File, error) {
	h, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, store.DefaultFileMode)
	if err != nil {
		return nil, &createError{err}
	}
	return h, nil
}

// create makes the file to write to.
func (s *sink) create(path string) error {
	h, err := Make(path)
	if err != nil {
		return err
	}
	store.GiveToOwner(h)
	s.made = h
	s.to(h)
	return nil
}

func (s *sink) to(w io.Writer) { s.out, s.buf = w, make([]byte, 0, flushAt) }

// room makes room for a record of n bytes in buf.
func (s *sink) room(n int) error {
	if len(s.buf)+n > flushAt {
		return s.flush()
	}
	return nil
}

func (s *sink) flush() error {
	if s.out == nil || len(s.buf) == 0 {
		return nil
	}
	_, err := s.out.Write(s.buf)
	if err == nil {
		s.whole += int64(len(s.buf))
	} else if s.made != nil {
		err = errors.Join(err, s.made.Truncate(s.whole)) // it ends with a whole record
	}
	if s.broken == nil {
		s.broken = err
	}
	s.buf = s.buf[:0]
	return err
}

// Promptly returns a reader that writes what was gathered before it reads more, which may take any time: who reads the copy
// need not wait for that.
func (s *sink) Promptly(src io.Reader) io.Reader { return promptReader{src, s} }

type promptReader struct {
	src io.Reader
	s   *sink
}

func (r promptReader) Read(b []byte) (int, error) {
	if err := r.s.flush(); err != nil {
		return 0, err
	}
	return r.src.Read(b)
}

// A createError says why the file could not be made.
type createError struct{ error }

func (e *createError) Unwrap() error { return e.error }

// Hints says what to do about it.
func (e *createError) Hints() []string {
	switch {
	case errors.Is(e, fs.ErrExist):
		return []string{"no file is replaced: name another with -w, or move this one away first"}
	case errors.Is(e, fs.ErrNotExist):
		return []string{"create the directory of the file first"}
	}
	return (&store.UnfitError{Err: e.error}).Hints()
}
