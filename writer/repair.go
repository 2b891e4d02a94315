package writer

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"capd/pcap"
	"capd/store"
)

// SalvageReport says what Salvage took over.
type SalvageReport struct {
	Packets   uint64
	Cut       int64      // bytes that were left out
	Why       string     // the first of them were; empty if the file is whole
	Damaged   bool       // other bytes were left out than a torn record and zeros at the end
	Gaps      []pcap.Gap // what was left out
	Commented bool       // the copy says in a comment that it is not all of the file
}

// Salvage copies what is whole of a capture file, by whatever tool, to a new
// file: its header and all records, those behind damage too. It resumes there
// where records prove themselves, so that none is invented (pcap.Repair). It
// replaces no file.
//
// Nothing is added and no byte changed, but in pcapng: the copy of a damaged
// file says in a comment of its first section that it is one, and a section that
// lost bytes no longer states its length.
//
// The file is read twice. If read is not nil, it is called with how many bytes
// more have been read, to show how far that is.
func Salvage(src, dst string, read func(n int)) (SalvageReport, error) {
	h, err := store.OpenRegular(src, os.O_RDONLY)
	if err != nil {
		return SalvageReport{}, &SalvageError{src, err}
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return SalvageReport{}, &SalvageError{src, err}
	}
	found, err := pcap.Repair(&toldReader{src: h, read: read}, info.Size())
	if err == nil {
		err = begins(h, &found.Scanned, found.Regions)
	}
	if err != nil {
		return SalvageReport{}, &SalvageError{src, err}
	}
	c := salvageCopy{src: &toldReader{src: h, read: read}, regions: found.Regions}
	r := c.report(&found, info.Name())
	if err := copyTo(dst, c.write, info.Mode().Perm()); err != nil {
		return r, &SalvageError{src, err}
	}
	return r, nil
}

// begins says why a file is no capture file, if its header is not whole.
func begins(h *os.File, found *pcap.Scanned, regions []pcap.Region) error {
	if len(regions) > 0 && regions[0].Begin == 0 {
		return nil
	}
	f := foundEnd{Scanned: *found}
	return fmt.Errorf("%s: not the beginning of a capture file: %s", h.Name(), cmp.Or(f.Reason, f.why(), "empty"))
}

// A salvageCopy writes what is whole of a file.
type salvageCopy struct {
	src     io.ReaderAt
	regions []pcap.Region
	comment string
	cut     bool
}

// report says what the copy of the file will have, and so will the copy.
func (c *salvageCopy) report(found *pcap.Repaired, name string) SalvageReport {
	r := SalvageReport{Packets: found.Packets, Gaps: found.Gaps}
	for i := range r.Gaps {
		g := &r.Gaps[i]
		why := ""
		if g.Reason != "" {
			r.Damaged = true
			why = fmt.Sprintf("corrupt at byte %d: %s", g.Offset, g.Reason)
		} else {
			f := foundEnd{Scanned: found.Scanned}
			g.Reason = f.why()
		}
		r.Cut += g.Bytes
		r.Why = cmp.Or(r.Why, why, g.Reason)
	}
	c.cut = r.Cut > 0
	if r.Damaged && found.Format == pcap.PCAPNG {
		r.Commented = true
		c.comment = fmt.Sprintf("capd salvage: %s was damaged, and %d of its bytes at %s are left out here; the first: %s",
			filepath.Base(name), r.Cut, places(len(r.Gaps)), r.Why)
	}
	return r
}

func places(n int) string {
	if n == 1 {
		return "1 place"
	}
	return fmt.Sprintf("%d places", n)
}

func (c *salvageCopy) write(w io.Writer) error {
	for i, region := range c.regions {
		at, err := region.Begin, error(nil)
		switch {
		case i == 0 && c.comment != "":
			at, err = c.writeCommented(w)
		case region.Sized && c.cut:
			at += pcap.SectionLength
			if err = c.bytes(w, region.Begin, at); err == nil {
				var n int
				n, err = w.Write(pcap.UnknownLength())
				at += int64(n)
			}
		}
		if err == nil {
			err = c.bytes(w, at, region.End)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bytes copies the bytes from one offset to another.
func (c *salvageCopy) bytes(w io.Writer, from, to int64) error {
	_, err := io.Copy(w, io.NewSectionReader(c.src, from, to-from))
	return err
}

// writeCommented writes the header of the file's first section with the comment,
// and says where it ends.
func (c *salvageCopy) writeCommented(w io.Writer) (end int64, err error) {
	head := make([]byte, 12)
	if _, err := c.src.ReadAt(head, 0); err != nil {
		return 0, err
	}
	section := make([]byte, pcap.SectionSize(head))
	if _, err := c.src.ReadAt(section, 0); err != nil {
		return 0, err
	}
	_, err = w.Write(pcap.Commented(section, c.comment))
	return int64(len(section)), err
}

// SalvageInPlace cuts the torn record, or the zeros, that a capture file ends
// with, by whatever tool. A file that has damage is left alone, and one of which
// the end may be that: the error is a DamagedError. The file is read once; read
// is as with Salvage.
func SalvageInPlace(path string, read func(n int)) (SalvageReport, error) {
	h, err := store.OpenRegular(path, os.O_RDWR)
	if err != nil {
		return SalvageReport{}, &SalvageError{path, err}
	}
	defer h.Close()
	r, err := cutTorn(h, read)
	if err != nil {
		return r, &SalvageError{path, err}
	}
	return r, nil
}

// cutTorn cuts a torn end.
func cutTorn(h *os.File, read func(n int)) (SalvageReport, error) {
	info, err := h.Stat()
	if err != nil {
		return SalvageReport{}, err
	}
	f := foundEnd{size: info.Size()}
	if f.Scanned, err = pcap.Scan(&toldReader{src: h, read: read}, f.size); err != nil {
		return SalvageReport{}, scanError(h, err)
	}
	r := SalvageReport{Packets: f.Packets}
	switch {
	case f.End == 0:
		return r, begins(h, &f.Scanned, nil)
	case f.Tail == pcap.Corrupt:
		r.Damaged = true
		return r, &DamagedError{h.Name(), f.why()}
	case f.Empty > 0: // whole, for other tools
		r.Packets += f.Empty
		return r, nil
	case f.Doubt != "":
		return r, &DamagedError{h.Name(), fmt.Sprintf("%s at byte %d, or damage: %s", f.why(), f.End, f.Doubt)}
	case f.End == f.size:
		return r, nil
	}
	r.Cut, r.Why = f.size-f.End, f.why()
	r.Gaps = []pcap.Gap{{Offset: f.End, Bytes: r.Cut, Reason: r.Why}}
	if err := h.Truncate(f.End); err != nil {
		return r, err
	}
	return r, store.SyncData(h)
}

// A toldReader tells of each part of a file that is read for the first time.
type toldReader struct {
	src  io.ReaderAt
	read func(n int) // nil: nobody asks
	done int64
}

func (r *toldReader) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.src.ReadAt(b, off)
	if end := off + int64(n); r.read != nil && end > r.done {
		r.read(int(end - r.done))
		r.done = end
	}
	return n, err
}

// copyTo makes a file of what is written, or none.
func copyTo(path string, write func(io.Writer) error, mode fs.FileMode) (err error) {
	h, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	store.GiveToOwner(h)
	defer func() {
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	defer h.Close()
	w := bufio.NewWriterSize(h, 256<<10)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := store.SyncData(h); err != nil {
		return &fs.PathError{Op: "sync", Path: path, Err: err}
	}
	return h.Close()
}
