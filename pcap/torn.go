package pcap

import (
	"errors"
	"io"
)

// A claim is what is to be thought of a record that is not whole.
type claim uint8

const (
	damaged claim = iota // its bytes are wrong, whatever follows
	unsure               // the file's end cuts it, if what it says of its length is true
	torn                 // the file's end cuts it
)

// Reasons to doubt that the end of a file is only torn.
const (
	doubtLengths = "the lengths in its last record do not agree"
	doubtBefore  = "the lengths in the record before do not agree"
	doubtZeros   = "zeros may stand for the end of its last record"
)

// maxOptions is how many bytes of options, of which none is in the file, a block
// may claim to have.
const maxOptions = 16 << 10

// classify finds out what is at the reader's offset, where it found no whole
// record.
func (s *scanner) classify(r *Reader) error {
	if s.size == 0 {
		s.found.Tail = Torn
		return nil
	}
	c, doubt, err := s.claim(r)
	if err != nil {
		return err
	}
	at := int64(0)
	if c != torn && r.dec.started {
		if at, err = s.resync(r); err != nil {
			return err
		}
	}
	if at == 0 && c != damaged {
		s.found.Tail, s.found.Doubt = Torn, doubt
		if zeros, err := s.zerosFrom(r.off); err != nil || zeros {
			s.found.Tail = Zeros
			return err
		}
		return nil
	}
	s.found.Tail, s.found.Resync = Corrupt, at
	s.found.Reason = "record longer than the file"
	var corrupt *CorruptError
	if errors.As(r.err, &corrupt) {
		s.found.Reason = corrupt.Reason
	}
	if s.isOdd {
		s.withdraw(s.odd)
	}
	return nil
}

// claim judges the record at the reader's offset.
func (s *scanner) claim(r *Reader) (c claim, doubt string, err error) {
	isTorn := errors.Is(r.err, io.ErrUnexpectedEOF)
	zeros, err := s.zerosFrom(r.off)
	switch {
	case err != nil:
		return 0, "", err
	case zeros && s.isDisagree:
		return unsure, doubtBefore, nil
	case zeros:
		return torn, "", nil
	case !r.dec.started:
		if isTorn || r.off+int64(r.extent) >= s.size {
			return torn, "", nil
		}
		zeros, err := s.zerosFrom(r.off + int64(r.extent))
		if zeros {
			return torn, "", err
		}
		return damaged, "", err
	case r.dec.format == PCAP:
		return s.claimPCAP(r)
	case isTorn:
		return s.claimBlock(r)
	default:
		return s.claimDamaged(r)
	}
}

// claimPCAP judges a record of PCAP.
func (s *scanner) claimPCAP(r *Reader) (claim, string, error) {
	b, err := s.read(make([]byte, r.dec.head), r.off)
	switch {
	case err != nil:
		return 0, "", err
	case len(b) < r.dec.head && s.isDisagree:
		return unsure, doubtBefore, nil
	case len(b) < r.dec.head:
		return torn, "", nil
	}
	h, snaplen := r.dec.parseHeader(b), r.dec.ifaces[0].Snaplen
	if zeros, err := s.zerosFrom(r.off + int64(len(b))); err != nil || zeros {
		if h.length != 0 && !r.dec.agrees(h) || s.isDisagree {
			return torn, doubtLengths, err
		}
		return torn, "", err // cut in the header or behind it
	}
	switch {
	case !errors.Is(r.err, io.ErrUnexpectedEOF) || h == header{}:
		return damaged, "", nil
	case r.dec.agrees(h) && (h.captured <= snaplen || snaplen == 0 || s.beyond):
		if s.isDisagree && s.oddityOf(&r.dec, h) != 0 {
			return unsure, doubtBefore, nil // where the record before is said to end, may be another place
		}
		return torn, "", nil
	case h.captured < h.length && (h.captured <= snaplen || snaplen == 0) && !s.isOdd && s.oddityOf(&r.dec, h) == 0:
		return torn, doubtLengths, nil // as tools write that cut packets at other lengths
	}
	return unsure, doubtLengths, nil
}

// claimDamaged judges a block that can't be parsed, though the file's end does
// not cut it.
func (s *scanner) claimDamaged(r *Reader) (claim, string, error) {
	const header = 28
	end := r.off + int64(r.extent)
	head, err := s.read(make([]byte, header), r.off)
	if err != nil || len(head) < 12 {
		return torn, "", err
	}
	zeros, err := s.zerosFrom(end)
	if err != nil || !zeros {
		return damaged, "", err
	}
	if r.extent < 12 { // the length was cut, and is absurd
		return torn, "", nil
	}
	trailer, err := s.read(make([]byte, 4), end-4)
	switch {
	case err != nil:
		return 0, "", err
	case !cutShort(trailer, head[4:8]):
		return damaged, "", nil
	case end == s.size:
		return torn, doubtZeros, nil
	}
	return torn, "", nil
}

// cutShort says whether b is the beginning of whole, then zeros, and not all
// of whole.
func cutShort(b, whole []byte) bool {
	for n := range whole {
		if b[n] != whole[n] {
			return allZero(b[n:])
		}
	}
	return false
}

// claimBlock judges a block that the file's end cuts, if its length is true.
func (s *scanner) claimBlock(r *Reader) (claim, string, error) {
	const header = 28
	d := &r.dec
	b, err := s.read(make([]byte, header), r.off)
	if err != nil || len(b) < header {
		return torn, "", err // no whole block is as short
	}
	if zeros, err := s.zerosFrom(r.off + header); err != nil || zeros {
		return torn, "", err
	}
	kind, end := d.u32(b), r.off+int64(d.u32(b[4:]))-4 // of what is between the lengths
	opts := r.off
	switch kind {
	case blockEPB, blockOPB:
		id, captured := d.u32(b[8:]), d.u32(b[20:])
		if kind == blockOPB {
			id = uint32(d.u16(b[8:]))
		}
		iface, reason := d.lookup(id)
		if reason != "" || captured > iface.limit() {
			return unsure, doubtLengths, nil
		}
		opts += header + int64(pad4(int(captured)))
	case blockSPB:
		captured := d.u32(b[8:])
		if len(d.ifaces) > 0 && d.ifaces[0].Snaplen != 0 {
			captured = min(captured, d.ifaces[0].Snaplen)
		}
		if end == r.off+12+int64(pad4(int(min(captured, maxBlock)))) {
			return torn, "", nil
		}
		return unsure, doubtLengths, nil
	case blockDSB:
		opts += 16 + int64(pad4(int(min(d.u32(b[12:]), maxBlock))))
	case blockSHB:
		opts += 24
	case blockIDB:
		opts += 16
	case blockISB:
		opts += 20
	case blockNRB:
		opts += 8
	default:
		return unsure, "nothing confirms the length of its last block", nil
	}
	ok, err := s.optionsFit(d, kind, opts, end)
	if err == nil && ok {
		return torn, "", nil
	}
	return unsure, doubtLengths, err
}

// optionsFit says whether what there is from opts on up to the end of a block
// are options.
func (s *scanner) optionsFit(d *decoder, kind uint32, opts, end int64) (bool, error) {
	if opts >= min(end, s.size) {
		return opts <= end && end-opts <= maxOptions, nil
	}
	b, err := s.read(make([]byte, min(end-opts, 128<<10)), opts)
	if err != nil {
		return false, err
	}
	n, ok := d.optionsEnd(kind, b)
	if kind == blockNRB && ok && n < len(b) { // that were the names
		var more int
		more, ok = d.optionsEnd(blockSHB, b[n:])
		n += more
	}
	return ok && opts+int64(n) <= end && allZero(b[min(n, len(b)):]), nil
}
