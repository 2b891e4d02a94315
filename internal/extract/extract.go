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
	"os"
	"sync/atomic"

	"capd/crypt"
	"capd/internal/read"
	"capd/internal/text"
	"capd/pcap"
)

// A Copy copies packets of one or more files, each whole and in turn, into one.
type Copy struct {
	Filter      *read.Filter
	Application string           // that a comment names, in a pcapng file that lacks packets of the old
	Identities  crypt.Identities // that decrypt the files

	Packets uint64 // that were read
	Passed  uint64 // of these

	sink
	heads   heads
	comment string // empty: every packet passes
	stopped atomic.Bool
}

// ErrStopped is returned by Add after Stop.
var ErrStopped = errors.New("interrupted")

// Create makes the file to copy to. Without it, or To, packets are counted.
func (c *Copy) Create(path string) error {
	if err := c.create(path); err != nil {
		return err
	}
	c.To(c.made)
	return nil
}

// To sets where to copy to.
func (c *Copy) To(w io.Writer) {
	c.to(w)
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
	src, err := read.Open(path, read.Options{Identities: c.Identities})
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
	if err := c.room(len(record)); err != nil {
		return err
	}
	if c.comment == "" || src.Format() == pcap.PCAP {
		c.buf = append(c.buf, record...)
	} else {
		c.buf = src.Translator().AppendChanged(c.buf, record, c.comment)
	}
	return nil
}
