package read

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// How often a follower looks, and how long it takes damage for something that
// is still being written.
const (
	followEvery    = 100 * time.Millisecond
	followPatience = 10 * time.Second
)

// A follower reads a capture file as it grows, whole records at a time. It waits
// at the end of the file until the file has lost its name, as a .partial does when
// it is finished, or the context ends.
type follower struct {
	stopped  context.Context
	h        *content
	off      int64
	frontier frontier
	damaged  time.Time // since when the frontier stands before damage; zero: it does not
	last     bool      // nothing more is written
}

func newFollower(stopped context.Context, h *content) *follower {
	return &follower{stopped: stopped, h: h}
}

func (f *follower) Read(b []byte) (int, error) {
	for f.stopped.Err() == nil {
		// The name is looked at first: what was written before the file lost it can
		// be read after that.
		f.last = f.last || lost(f.h.File)
		if f.off >= f.frontier.End {
			if err := f.frontier.advance(f.h); err != nil {
				return 0, err
			}
		}
		switch left := f.frontier.End - f.off; {
		case left > 0:
			n, err := f.h.ReadAt(b[:min(int64(len(b)), left)], f.off)
			f.off += int64(n)
			if n > 0 {
				err = nil
			}
			return n, err
		case f.last, f.isDamaged():
			// Whether the rest is damaged or torn is for the parser to say.
			n, err := f.h.ReadAt(b, f.off)
			f.off += int64(n)
			return n, err
		}
		select {
		case <-f.stopped.Done():
		case <-time.After(followEvery):
		}
	}
	return 0, io.EOF
}

// lost reports whether a file has lost its name, to another file or for good.
func lost(h *os.File) bool {
	there, err := os.Stat(h.Name())
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	mine, err := h.Stat()
	return err == nil && !os.SameFile(there, mine)
}

// isDamaged says whether waiting for a whole record is in vain. A file's first
// bytes are written at once.
func (f *follower) isDamaged() bool {
	switch {
	case !f.frontier.Damaged:
		f.damaged = time.Time{}
	case f.damaged.IsZero():
		f.damaged = time.Now()
	}
	return f.frontier.Damaged && (f.frontier.End == 0 || time.Since(f.damaged) > followPatience)
}
