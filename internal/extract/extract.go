// Package extract copies the packets of capture files that pass a filter into another file.
package extract

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"capd/internal/read"
	"capd/internal/text"
	"capd/pcap"
	"capd/store"
)

// A Copy copies packets.
type Copy struct {
	Filter      *read.Filter
	Application string // that the file's header names

	Packets uint64 // that were read
	Passed  uint64 // of these

	out  *os.File // nil: only count
	enc  *pcap.Encoder
	link pcap.LinkType // of enc
	buf  []byte
}

// Create makes the file to copy to, which must not exist. Without it packets are counted.
func (c *Copy) Create(path string) error {
	h, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, store.DefaultFileMode)
	if err != nil {
		return &createError{err}
	}
	c.out = h
	return nil
}

// Run copies the packets of a file, and ends the file that was made. One into which nothing was put by a failure is
// removed.
func (c *Copy) Run(src *read.File) error {
	err := c.packets(src)
	if c.out == nil {
		return err
	}
	err = errors.Join(err, c.out.Close())
	if c.enc == nil {
		err = errors.Join(err, os.Remove(c.out.Name()))
	}
	return err
}

func (c *Copy) packets(src *read.File) error {
	for {
		p, err := src.Next()
		if err == io.EOF {
			return c.flush(src)
		}
		if err != nil {
			if src.Seen() == 0 {
				return err
			}
			return errors.Join(err, c.flush(src))
		}
		c.Packets++
		passes, err := c.Filter.Match(src.Interface().LinkType, &p)
		if err != nil {
			return failed(src, err)
		}
		if !passes {
			continue
		}
		c.Passed++
		if c.out != nil {
			if err := c.put(src, p); err != nil {
				return failed(src, err)
			}
		}
	}
}

func failed(src *read.File, err error) error {
	return fmt.Errorf("filter %s: after %s: %w", text.Name(src.Path()), text.Count(src.Seen(), "packet"), err)
}

// flushAt is how many bytes are written at a time.
const flushAt = 1 << 20

// put encodes a packet in the format of the file that it is from.
func (c *Copy) put(src *read.File, p pcap.Packet) error {
	if err := c.begin(src); err != nil {
		return err
	}
	if len(c.buf)+c.enc.MaxRecord() > cap(c.buf) {
		if err := c.flush(src); err != nil {
			return err
		}
	}
	n, _ := c.enc.Encode(c.buf[len(c.buf):cap(c.buf)], []pcap.Packet{p})
	c.buf = c.buf[:len(c.buf)+n]
	return nil
}

// begin writes the header, as of the first interface. One file has one link
// type here.
func (c *Copy) begin(src *read.File) error {
	i := src.Interface()
	if c.enc == nil {
		c.enc = pcap.NewEncoder(pcap.Header{
			Format: src.Format(), LinkType: i.LinkType, Interface: i.Name, Filter: c.Filter.String(), Application: c.Application,
		})
		c.link = i.LinkType
		c.buf = append(make([]byte, 0, flushAt+c.enc.MaxRecord()), c.enc.Header()...)
	}
	if i.LinkType != c.link {
		return fmt.Errorf("packets of link types %s and %s can't go into one file: filter them apart", c.link, i.LinkType)
	}
	return nil
}

func (c *Copy) flush(src *read.File) error {
	if c.out == nil {
		return nil
	}
	if err := c.begin(src); err != nil { // a file without packets has a header
		return err
	}
	_, err := c.out.Write(c.buf)
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
