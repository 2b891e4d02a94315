package pcap

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Repaired is what Repair finds.
type Repaired struct {
	Scanned          // Packets to Last are those of all regions; the rest says how the last of them ends
	Regions []Region // in the file's order
	Gaps    []Gap    // between them, and behind
}

// A Region is a part of a file that is whole records.
type Region struct {
	Begin, End int64

	// Sized says that it begins with the header of a section of pcapng that
	// says the section's length.
	Sized bool
}

// A Gap is a part of a file that is left out.
type Gap struct {
	Offset, Bytes int64
	Records       int    // how many it was; 0: unknown
	Reason        string // why the first is none
}

// maxRegions bounds the memory for what a file may be made of.
const maxRegions = 1 << 20

// Repair finds all whole records of a file of the size, those behind damage too.
// It resumes where several records in a row, or all up to the end of the file,
// prove each other, so that none is invented. Records of PCAP for no bytes that
// are the last count as such.
//
// An error is one of reading. Damage is none, but if a file has more of it, or
// more sections, than can be remembered, the rest is left out.
func Repair(src io.ReaderAt, size int64) (Repaired, error) {
	var all Repaired
	dec, from := decoder{}, int64(0)
	var t tally
	for {
		s := scanner{src: src, size: size, whole: true, tally: t, sections: []int64{}}
		s.found.End = from
		r, err := newReader(io.NewSectionReader(src, from, size-from), from, dec, resumeBuffer(from, size))
		if err = s.scan(r, err); err != nil {
			return Repaired{Scanned: s.result(r)}, err
		}
		if s.found.Empty > 0 {
			s.packets += s.found.Empty
			s.found.End, s.found.Tail, s.found.Doubt, s.found.Empty = size, Clean, "", 0
		}
		all.Scanned = s.result(r)
		all.add(from, s.found.End, s.sections)
		gap := Gap{Offset: s.found.End, Bytes: size - s.found.End, Reason: s.found.Reason}
		if s.found.Resync != 0 && len(all.Regions) < maxRegions {
			gap.Bytes = s.found.Resync - gap.Offset
			gap.Records, err = s.recordsIn(gap, &r.dec)
		}
		if err != nil {
			return all, err
		}
		if gap.Bytes > 0 {
			all.Gaps = append(all.Gaps, gap)
		}
		if gap.Offset+gap.Bytes >= size {
			return all, nil
		}
		dec, from, t = r.dec, s.found.Resync, s.tally
	}
}

// resumeBuffer returns a size of reads: there may be much damage, with little
// between.
func resumeBuffer(from, size int64) int {
	if from > 0 {
		return 64 << 10
	}
	return scanBuffer(size)
}

// add adds what is whole from one offset to another, where sections that say
// their length begin in between.
func (r *Repaired) add(from, to int64, sections []int64) {
	begin, sized := from, false
	for _, at := range sections {
		if at >= to {
			break
		}
		if at > begin {
			r.Regions = append(r.Regions, Region{begin, at, sized})
		}
		begin, sized = at, true
	}
	if to > begin {
		r.Regions = append(r.Regions, Region{begin, to, sized})
	}
}

// recordsIn returns 1 if the gap is one record by what that says of itself, and
// 0 if it can't be known.
func (s *scanner) recordsIn(g Gap, d *decoder) (int, error) {
	at, n := g.Offset+8, 8 // lengths of PCAP
	if d.format == PCAPNG {
		at, n = g.Offset+g.Bytes-4, 4
	}
	if g.Bytes < 16 || g.Bytes > maxBlock {
		return 0, nil
	}
	b := make([]byte, 16)
	if _, err := s.src.ReadAt(b[:n], at); err != nil {
		return 0, fmt.Errorf("read at byte %d: %w", at, err)
	}
	if d.format == PCAPNG && int64(d.u32(b)) == g.Bytes {
		return 1, nil
	}
	data := uint32(g.Bytes) - uint32(d.head)
	if d.format == PCAP && (d.u32(b) == data || d.u32(b[4:]) == data) {
		return 1, nil
	}
	return 0, nil
}

// SectionLength is where the header of a section of pcapng has the section's
// length, and UnknownLength what stands there, in either byte order, for one
// that it does not say.
const SectionLength = 16

// UnknownLength returns the bytes of a section's length that is not known.
func UnknownLength() []byte { return binary.LittleEndian.AppendUint64(nil, math.MaxUint64) }

// SectionSize returns the size of the section header block that b begins with;
// 0 if b does not. Its first 12 bytes suffice.
func SectionSize(b []byte) int {
	d := decoder{}
	if len(b) < 12 || binary.LittleEndian.Uint32(b) != blockSHB || !d.setOrder(b[8:]) {
		return 0
	}
	if n := d.u32(b[4:]); 28 <= n && n <= maxBlock {
		return int(n)
	}
	return 0
}

// Commented returns a section header block with a comment more, and a length of
// the section that is not known.
func Commented(section []byte, comment string) []byte {
	const opts = 24
	d := decoder{}
	d.setOrder(section[8:])
	var order binary.AppendByteOrder = binary.LittleEndian
	if d.big {
		order = binary.BigEndian
	}
	comment = cut(comment, MaxComment)
	b := append(section[:SectionLength:SectionLength], UnknownLength()...)
	b = order.AppendUint16(order.AppendUint16(b, optComment), uint16(len(comment)))
	b = append(b, comment...)
	b = append(b, make([]byte, pad4(len(comment))-len(comment))...)
	rest := section[opts : len(section)-4]
	if b = append(b, rest...); len(rest) == 0 {
		b = order.AppendUint32(b, optEnd)
	}
	size := order.AppendUint32(nil, uint32(len(b)+4))
	copy(b[4:], size)
	return append(b, size...)
}
