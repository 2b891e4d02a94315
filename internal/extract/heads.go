package extract

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"capd/internal/read"
	"capd/internal/text"
	"capd/pcap"
)

// heads are the headers of the files that go into one. Sections of pcapng may follow each other; pcap has one header for
// all packets, so that byte order, units of time, link type and FCS must be the same.
type heads struct {
	path   string // of the first file
	format pcap.Format
	header []byte // of pcap, with the largest snaplen
	begun  bool   // the header is written: it does not change any more
}

// snaplenAt is where the header of pcap has its snaplen, of 4 bytes.
const snaplenAt = 16

// add takes another file's header.
func (h *heads) add(src *read.File, header []byte) error {
	switch {
	case h.path == "":
		h.path, h.format, h.header = src.Path(), src.Format(), bytes.Clone(header)
		return nil
	case src.Format() != h.format:
		return &mixedError{fmt.Errorf("%s is %s and %s is %s", text.Name(h.path), h.format, text.Name(src.Path()), src.Format())}
	case h.format == pcap.PCAPNG:
		return nil
	}
	larger := h.larger(header, src.BigEndian())
	switch {
	case !h.alike(header):
		return &mixedError{fmt.Errorf("%s and %s are pcap files of different byte order, units of time or link type", text.Name(h.path), text.Name(src.Path()))}
	case larger && h.begun:
		return &mixedError{fmt.Errorf("packets of %s may be longer than the header that was written says", text.Name(src.Path()))}
	case larger:
		copy(h.header[snaplenAt:], header[snaplenAt:snaplenAt+4])
	}
	return nil
}

// alike reports whether the header differs in nothing but the snaplen, and what nobody uses: the time zone and the accuracy.
func (h *heads) alike(header []byte) bool {
	const zoneAt, linkAt = 8, snaplenAt + 4
	return bytes.Equal(h.header[:zoneAt], header[:zoneAt]) && bytes.Equal(h.header[linkAt:], header[linkAt:])
}

// larger reports whether the header's snaplen is larger. 0 is none, and so the largest.
func (h *heads) larger(header []byte, big bool) bool {
	var order binary.ByteOrder = binary.LittleEndian
	if big {
		order = binary.BigEndian
	}
	last := func(b []byte) uint32 { return order.Uint32(b[snaplenAt:]) - 1 }
	return last(header) > last(h.header)
}

// A mixedError says why files can't go into one.
type mixedError struct{ error }

// Hints says what to do about it.
func (e *mixedError) Hints() []string {
	return []string{"filter them apart, then mergecap -a puts files of all kinds behind each other"}
}
