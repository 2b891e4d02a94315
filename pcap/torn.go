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

// An ending is where a scanner's reader found no whole record.
type ending struct {
	*scanner
	r *Reader
}

// classify finds out what is at the reader's offset, where it found no whole
// record.
func (s *ending) classify() error {
	if s.size == 0 {
		s.found.Tail = Torn
		return nil
	}
	c, doubt, err := s.claim()
	if err != nil {
		return err
	}
	at := int64(0)
	if c != torn && s.r.dec.started {
		if at, err = s.resync(); err != nil {
			return err
		}
	}
	if at == 0 && c != damaged {
		s.found.Tail, s.found.Doubt = Torn, doubt
		if zeros, err := s.zerosFrom(s.r.off); err != nil || zeros {
			s.found.Tail = Zeros
			return err
		}
		return nil
	}
	s.found.Tail, s.found.Resync = Corrupt, at
	s.found.Reason = "record longer than the file"
	var corrupt *CorruptError
	if errors.As(s.r.err, &corrupt) {
		s.found.Reason = corrupt.Reason
	}
	if s.isOdd {
		s.withdraw(s.odd)
	}
	return nil
}

// claim judges the record at the reader's offset.
func (s *ending) claim() (c claim, doubt string, err error) {
	isTorn := errors.Is(s.r.err, io.ErrUnexpectedEOF)
	zeros, err := s.zerosFrom(s.r.off)
	switch {
	case err != nil:
		return 0, "", err
	case zeros && s.isDisagree:
		return unsure, doubtBefore, nil
	case zeros:
		return torn, "", nil
	case !s.r.dec.started:
		if isTorn || s.r.off+int64(s.r.extent) >= s.size {
			return torn, "", nil
		}
		zeros, err := s.zerosFrom(s.r.off + int64(s.r.extent))
		if zeros {
			return torn, "", err
		}
		return damaged, "", err
	case s.r.dec.format == PCAP:
		return s.claimPCAP()
	case isTorn:
		return s.claimBlock()
	default:
		return s.claimDamaged()
	}
}

// claimPCAP judges a record of PCAP.
func (s *ending) claimPCAP() (claim, string, error) {
	b, err := s.read(make([]byte, s.r.dec.head), s.r.off)
	switch {
	case err != nil:
		return 0, "", err
	case len(b) < s.r.dec.head && s.isDisagree:
		return unsure, doubtBefore, nil
	case len(b) < s.r.dec.head:
		return torn, "", nil
	}
	h, snaplen := s.r.dec.parseHeader(b), s.r.dec.ifaces[0].Snaplen
	if zeros, err := s.zerosFrom(s.r.off + int64(len(b))); err != nil || zeros {
		if h.length != 0 && !h.agrees(&s.r.dec.ifaces[0]) || s.isDisagree {
			return torn, doubtLengths, err
		}
		return torn, "", err // cut in the header or behind it
	}
	switch {
	case !errors.Is(s.r.err, io.ErrUnexpectedEOF) || h == header{}:
		return damaged, "", nil
	case h.agrees(&s.r.dec.ifaces[0]) && (h.captured <= snaplen || snaplen == 0 || s.beyond):
		if s.isDisagree && s.oddityOf(&s.r.dec, h) != 0 {
			return unsure, doubtBefore, nil // where the record before is said to end, may be another place
		}
		return torn, "", nil
	case h.captured < h.length && (h.captured <= snaplen || snaplen == 0) && !s.isOdd && s.oddityOf(&s.r.dec, h) == 0:
		return torn, doubtLengths, nil // as tools write that cut packets at other lengths
	}
	return unsure, doubtLengths, nil
}

// claimDamaged judges a block that can't be parsed, though the file's end does
// not cut it.
func (s *ending) claimDamaged() (claim, string, error) {
	const header = 28
	end := s.r.off + int64(s.r.extent)
	head, err := s.read(make([]byte, header), s.r.off)
	if err != nil || len(head) < 12 {
		return torn, "", err
	}
	zeros, err := s.zerosFrom(end)
	if err != nil || !zeros {
		return damaged, "", err
	}
	if s.r.extent < 12 { // the length was cut, and is absurd
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
func (s *ending) claimBlock() (claim, string, error) {
	const header = 28
	d := &s.r.dec
	b, err := s.read(make([]byte, header), s.r.off)
	if err != nil || len(b) < header {
		return torn, "", err // no whole block is as short
	}
	if zeros, err := s.zerosFrom(s.r.off + header); err != nil || zeros {
		return torn, "", err
	}
	kind, end := d.u32(b), s.r.off+int64(d.u32(b[4:]))-4 // of what is between the lengths
	opts := s.r.off
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
		if end == s.r.off+12+int64(pad4(int(min(captured, maxBlock)))) {
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
func (s *ending) optionsFit(d *decoder, kind uint32, opts, end int64) (bool, error) {
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
