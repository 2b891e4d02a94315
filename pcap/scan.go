package pcap

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// A Tail says what follows the last whole record of a file.
type Tail uint8

// Tails.
const (
	Clean   Tail = iota // nothing
	Torn                // the beginning of a record, then nothing or zeros
	Zeros               // zeros only: space that was preallocated
	Corrupt             // other bytes that are no record
)

// String returns the tail's name in lower case.
func (t Tail) String() string {
	names := [...]string{"clean", "torn", "zeros", "corrupt"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("Tail(%d)", uint8(t))
}

// Scanned is what Scan finds.
type Scanned struct {
	Format      Format
	Interfaces  []Interface // of all sections
	From        int64       // where counting began: the checkpoint, or 0
	Packets     uint64      // since From
	Bytes       uint64      // captured of these packets, without headers
	First, Last time.Time   // earliest and latest of these packets; zero if there are none
	End         int64       // where the last whole record ends; 0 if not even the header is whole
	Tail        Tail        // what follows End
	Reason      string      // why a Corrupt tail is no record
	Resync      int64       // where plausible records go on in a Corrupt tail; 0 if nowhere near
}

// Scan finds the end of the last whole record of a file of the size, to cut it
// there. It reads from the checkpoint on, if one is given: the offset of a
// record in the first section, behind its interfaces. A checkpoint beyond the
// end, or where no whole record begins, is ignored. The error is one of
// reading; damage is no error.
//
// Scan is stricter than a Reader: it wants lengths that a network's packet can
// have. Records of PCAP for no bytes at all count as torn if they are the last:
// the time of any packet, followed by zeros, looks the same.
func Scan(r io.ReaderAt, size int64, from ...int64) (Scanned, error) {
	if len(from) > 0 && from[0] > 0 && from[0] <= size {
		s, err := scanFrom(r, size, from[0])
		// Damage right at the checkpoint may mean that it is none.
		if err != nil || s.End > from[0] || s.Tail == Clean || s.Tail == Zeros {
			return s, err
		}
	}
	return scanFrom(r, size, 0)
}

func scanFrom(src io.ReaderAt, size, from int64) (Scanned, error) {
	s := scanner{src: src, size: size}
	r, err := newReader(io.NewSectionReader(src, 0, size), 0, decoder{strict: true}, scanBuffer(size))
	if from > 0 && err == nil {
		r, err = seek(r, src, size, from)
		s.found.From = r.off
	}
	if err == nil {
		s.pcapng = r.dec.format == PCAPNG
		err = s.run(r)
	}
	switch {
	case err == io.EOF:
		err = nil
	case isDamage(err):
		err = s.classify(r)
	}
	s.commit()
	s.withdrawEmpty()
	s.found.Format = r.dec.format
	s.found.Interfaces = r.dec.ifaces
	return s.found, err
}

// scanBuffer returns a size of reads that suits a disk.
func scanBuffer(size int64) int { return int(max(min(size, 1<<20), 4096)) }

// seek reads what comes before the packets and goes on at the offset.
func seek(r *Reader, src io.ReaderAt, size, from int64) (*Reader, error) {
	end := r.off
	for r.dec.format == PCAPNG && end < from {
		before := r.dec
		if packet, err := r.advance(); err != nil || packet {
			r.dec = before
			break
		}
		end = r.off
	}
	from = max(from, end)
	return newReader(io.NewSectionReader(src, from, size-from), from, r.dec, scanBuffer(size))
}

// A scanner collects what is in a file.
type scanner struct {
	src    io.ReaderAt
	size   int64
	pcapng bool
	found  Scanned

	// The packet met last is counted only when what follows is known: it
	// may turn out to be the damaged one.
	pending      Packet
	pendingStart int64
	isPending    bool

	// What was found before the records of PCAP without a length that are the
	// last so far, if any.
	solid   Scanned
	isEmpty bool

	first, last uint64 // times in nanoseconds
	steps       int    // left to the search for records after damage
}

// run reads records until an error.
func (s *scanner) run(r *Reader) error {
	for {
		s.found.End = r.off
		packet, err := r.advance()
		if err != nil {
			return err
		}
		s.commit()
		if packet {
			s.pending, s.pendingStart, s.isPending = r.dec.packet, s.found.End, true
		}
	}
}

// commit counts the pending packet.
func (s *scanner) commit() {
	if !s.isPending {
		return
	}
	s.isPending = false
	p := &s.pending
	switch {
	case p.Length != 0 || s.pcapng:
		s.isEmpty = false
	case !s.isEmpty:
		s.solid, s.isEmpty = s.found, true
		s.solid.End = s.pendingStart
	}
	ns := uint64(p.Sec)*uint64(time.Second) + uint64(p.Nsec)
	if s.found.Packets == 0 || ns < s.first {
		s.first, s.found.First = ns, p.Time()
	}
	if s.found.Packets == 0 || ns > s.last {
		s.last, s.found.Last = ns, p.Time()
	}
	s.found.Packets++
	s.found.Bytes += uint64(len(p.Data))
}

// withdraw takes the pending packet for no record.
func (s *scanner) withdraw() {
	s.isPending = false
	s.found.End = s.pendingStart
}

// withdrawEmpty withdraws the last records of PCAP that have a time but no
// length, as none that was on a wire: that is the beginning of one, followed by
// zeros.
func (s *scanner) withdrawEmpty() {
	if !s.isEmpty {
		return
	}
	s.solid.Tail, s.solid.Reason, s.solid.Resync = s.found.Tail, s.found.Reason, s.found.Resync
	s.found = s.solid
	if s.found.Tail != Corrupt {
		s.found.Tail = Torn
	}
}

// classify finds out what is at the reader's offset, where it found no whole
// record.
func (s *scanner) classify(r *Reader) error {
	if s.size == 0 {
		s.found.Tail = Torn
		return nil
	}
	zeros, err := s.zerosFrom(r.off)
	if err != nil {
		return err
	}
	if zeros {
		s.found.Tail = Zeros
		return nil
	}
	torn := r.off+int64(r.extent) >= s.size
	if !torn {
		if torn, err = s.zerosFrom(r.off + int64(r.extent)); err != nil {
			return err
		}
	}
	if err := s.resync(r); err != nil {
		return err
	}
	if torn && s.found.Resync == 0 {
		s.found.Tail = Torn
		return nil
	}
	s.found.Tail = Corrupt
	s.found.Reason = "record longer than the file"
	var corrupt *CorruptError
	if errors.As(r.err, &corrupt) {
		s.found.Reason = corrupt.Reason
	}
	return nil
}

// zerosFrom says whether there are only zeros from off to the end.
func (s *scanner) zerosFrom(off int64) (bool, error) {
	buf := make([]byte, max(min(s.size-off, 64<<10), 0))
	for off < s.size {
		b, err := s.read(buf, off)
		if err != nil {
			return false, err
		}
		if !allZero(b) {
			return false, nil
		}
		off += int64(len(b))
	}
	return true, nil
}

// read reads what there is of b at off, at least one byte.
func (s *scanner) read(b []byte, off int64) ([]byte, error) {
	n, err := s.src.ReadAt(b[:min(int64(len(b)), s.size-off)], off)
	if n == 0 {
		return nil, fmt.Errorf("read at byte %d: %w", off, err)
	}
	return b[:n], nil
}

// Bounds of the search for records after damage.
const (
	resyncWindow = 1 << 20      // bytes
	resyncChain  = 3            // records in a row that prove each other
	resyncGap    = 24 * 60 * 60 // seconds between packets
	resyncSteps  = 1 << 22      // records tried: chains in hostile bytes may overlap
)

// resync looks for records after the damage at the reader's offset. If it
// finds them to begin inside the pending packet of PCAP, that one's length is
// the damage: nothing but the next record confirms it.
func (s *scanner) resync(r *Reader) error {
	from := r.off + 1
	if s.isPending && r.dec.format == PCAP {
		from = s.pendingStart + 1
	}
	if from >= s.size || !r.dec.started {
		return nil
	}
	window, err := s.read(make([]byte, min(r.off+resyncWindow, s.size)-from), from)
	if err != nil {
		return err
	}
	s.steps = resyncSteps
	for i := range window {
		at := from + int64(i)
		if at == r.off || !s.chain(&r.dec, window[i:], at, r.off) {
			continue
		}
		s.found.Resync = at
		if at < r.off {
			s.withdraw()
		}
		return nil
	}
	return nil
}

// chain says whether b, which begins at the offset at, is a row of plausible
// records that goes on after the damage or to the end of the file.
func (s *scanner) chain(dec *decoder, b []byte, at, damage int64) bool {
	d := *dec
	d.ifaces = slices.Clip(d.ifaces) // what the copy appends is its own
	before := s.pending.Sec
	for n := 0; s.steps > 0; s.steps-- {
		size, packet, reason := d.step(b)
		if reason != "" || len(b) < size || packet && d.format == PCAP && !follows(before, &d.packet) {
			return false
		}
		before = d.packet.Sec
		b, at = b[size:], at+int64(size)
		if at > damage {
			n++
		}
		if n >= resyncChain || n > 0 && at == s.size {
			return true
		}
	}
	return false
}

// follows says whether a record of PCAP may come after one of the time, if that
// is not 0. Other than a block, it has no mark that says it is one.
func follows(before uint32, p *Packet) bool {
	gap := int64(p.Sec) - int64(before)
	return len(p.Data) > 0 && (before == 0 || -resyncGap < gap && gap < resyncGap)
}
