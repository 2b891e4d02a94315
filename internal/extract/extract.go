// Package extract copies the packets of capture files that pass a filter into another file.
//
// The records of a file are copied as they are: of pcapng all blocks but the packets that do not pass, so that
// interfaces, comments, names, secrets and statistics stay; of pcap the header and the packets' records. A filter that
// lets every packet pass makes an equal file.
package extract

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"capd/internal/read"
	"capd/internal/text"
	"capd/pcap"
	"capd/store"
)

// A Copy copies packets of one or more files, each whole and in turn, into one.
type Copy struct {
	Filter      *read.Filter
	Application string // that a comment names, in a pcapng file that lacks packets of the old

	Packets uint64 // that were read
	Passed  uint64 // of these

	out     io.Writer // nil: only count
	made    *os.File  // by Create; nil: out is not ours
	heads   heads
	comment string // empty: every packet passes
	buf     []byte
	whole   int64 // bytes written, all of whole records
	stopped atomic.Bool
}

// ErrStopped is returned by Add after Stop.
var ErrStopped = errors.New("interrupted")

// Make makes a file to write packets to, which must not exist.
func Make(path string) (*os.File, error) {
	h, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, store.DefaultFileMode)
	if err != nil {
		return nil, &createError{err}
	}
	return h, nil
}

// Create makes the file to copy to. Without it, or To, packets are counted.
func (c *Copy) Create(path string) error {
	h, err := Make(path)
	if err != nil {
		return err
	}
	store.GiveToOwner(h)
	c.made = h
	c.To(h)
	return nil
}

// To sets where to copy to.
func (c *Copy) To(w io.Writer) {
	c.out, c.buf = w, make([]byte, 0, flushAt)
	if !c.Filter.TakesAll() {
		c.comment = fmt.Sprintf("%s kept the packets that match %q; statistics are as they were before", c.Application, c.Filter)
	}
}

// Expect looks at the files that Add will be called for, as far as they can be read twice, and says whether they can go
// into one.
func (c *Copy) Expect(paths []string) error {
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue // Add says what is wrong
		}
		if err := c.expect(path); err != nil {
			return err
		}
	}
	return nil
}

func (c *Copy) expect(path string) error {
	src, err := read.Open(path, read.Options{})
	if err != nil {
		return err
	}
	defer src.Close()
	header, err := src.Header()
	if err != nil {
		return err
	}
	return c.heads.add(src, header)
}

// Add copies the packets of a file.
func (c *Copy) Add(src *read.File) error {
	header, err := src.Header()
	if err != nil {
		return err
	}
	if c.out != nil {
		if err := c.begin(src, header); err != nil {
			return err
		}
	}
	for {
		if c.stopped.Load() {
			return failed(src, ErrStopped)
		}
		record, p, err := src.NextRecord()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if p != nil {
			c.Packets++
			passes, err := c.Filter.Match(src, p)
			if err != nil {
				return failed(src, err)
			}
			if !passes {
				continue
			}
			c.Passed++
		}
		if c.out != nil {
			if err := c.put(src, record); err != nil {
				return failed(src, err)
			}
		}
	}
}

func failed(src *read.File, err error) error {
	return fmt.Errorf("filter %s: after %s: %w", text.Name(src.Path()), text.Count(src.Seen(), "packet"), err)
}

// Stop makes Add end at the next record. Any goroutine may call it.
func (c *Copy) Stop() { c.stopped.Store(true) }

// Close writes what is left, given how Add ended. After a failure, a file that was made is removed if no packet is in it,
// and after Stop in any case.
func (c *Copy) Close(failure error) error {
	err := errors.Join(failure, c.flush())
	if c.made == nil {
		return err
	}
	err = errors.Join(err, c.made.Close())
	switch {
	case errors.Is(err, ErrStopped):
		return c.Discard(err)
	case err != nil && (c.Passed == 0 || c.whole == 0):
		err = errors.Join(err, os.Remove(c.made.Name()))
	}
	return err
}

// Discard removes the file that was made, and says so in the error. Add may still hang, as on a pipe.
func (c *Copy) Discard(why error) error {
	if c.made == nil {
		return why
	}
	if err := os.Remove(c.made.Name()); err != nil {
		return errors.Join(why, err)
	}
	return fmt.Errorf("%w: %s is removed, as it would lack packets", why, text.Name(c.made.Name()))
}

// flushAt is how many bytes are written at a time.
const flushAt = 256 << 10

// begin puts what a file begins with: a section of pcapng for each, and of pcap the header that all share.
func (c *Copy) begin(src *read.File, header []byte) error {
	first := !c.heads.begun
	c.heads.begun = true
	if err := c.heads.add(src, header); err != nil {
		return err
	}
	if src.Format() == pcap.PCAPNG {
		return c.put(src, header)
	}
	if first {
		c.buf = append(c.buf, c.heads.header...)
	}
	return nil
}

// put puts a record.
func (c *Copy) put(src *read.File, record []byte) error {
	if len(c.buf)+len(record) > flushAt {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if c.comment == "" || src.Format() == pcap.PCAP {
		c.buf = append(c.buf, record...)
	} else {
		c.buf = src.AppendChanged(c.buf, record, c.comment)
	}
	return nil
}

func (c *Copy) flush() error {
	if c.out == nil || len(c.buf) == 0 {
		return nil
	}
	_, err := c.out.Write(c.buf)
	if err == nil {
		c.whole += int64(len(c.buf))
	} else if c.made != nil {
		err = errors.Join(err, c.made.Truncate(c.whole)) // it ends with a whole record
	}
	c.buf = c.buf[:0]
	return err
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
