package pcap

import (
	"fmt"
	"io"
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
	Interfaces  []Interface // of the first section
	From        int64       // where counting began: the checkpoint, or 0
	Packets     uint64      // since From
	Bytes       uint64      // captured of these packets, without headers
	First, Last time.Time   // earliest and latest known time of these packets; zero if there is none
	End         int64       // where the last whole record ends; 0 if not even the header is whole
	Tail        Tail        // what follows End
	Reason      string      // why a Corrupt tail is no record
	Resync      int64       // where plausible records go on in a Corrupt tail; 0 if nowhere near

	// Doubt says why what follows End may be something else than what a
	// writer left that was stopped in the middle of a record. It is empty if
	// nothing speaks against that.
	Doubt string
	// Empty is how many records of PCAP follow End that have no bytes, or more
	// of them, zeros only, than they say the packet had, if they are all that
	// does. Other tools take them for packets.
	Empty uint64
}

// Scan finds the end of the last whole record of a file of the size, to cut it
// there. It reads from the checkpoint on, if one is given: the offset of a
// record in the first section. Packets of interfaces that the section names
// before it, but behind its first packet, are taken for the first one's. A checkpoint beyond the
// end, or where no whole record begins, is ignored. The error is one of
// reading; damage is no error.
//
// A record is whole for Scan where it is for a Reader: where it says that it
// ends, another one begins. An odd value in it, as a time that can't be, changes
// nothing. What is plausible is asked only where that ends before the file does:
//
//   - A record that the file's end cuts is torn. If the lengths in its header
//     agree with each other, nothing in it is looked at, as it may carry a
//     capture file. If they do not, and plausible records go on within what it
//     claims, it is damage.
//   - Records go on behind damage where several in a row are plausible, or all
//     up to the file's end are.
//   - A record of PCAP before the damage, which has nothing but the next one to
//     confirm its length, is withdrawn if its lengths do not agree and such a
//     row begins inside it and goes on behind it; or if nothing in its header
//     is plausible.
//
// One thing is left to who knows more: records of PCAP without bytes count as
// torn if they are the last (Empty), as the time of any packet, followed by
// zeros, looks the same.
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
	r, err := newReader(io.NewSectionReader(src, 0, size), 0, decoder{}, scanBuffer(size))
	if from > 0 && err == nil {
		r, err = seek(r, src, size, from)
		s.found.From = r.off
	}
	err = s.scan(r, err)
	return s.result(r), err
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
	r.dec.skipped = from > end
	from = max(from, end)
	return readerAt(src, size, from, r.dec)
}

// readerAt returns a reader from an offset on of a file of which dec has seen
// what comes before.
func readerAt(src io.ReaderAt, size, from int64, dec decoder) (*Reader, error) {
	return newReader(io.NewSectionReader(src, from, size-from), from, dec, scanBuffer(size-from))
}

// A scanner collects what is in a file.
type scanner struct {
	src   io.ReaderAt
	size  int64
	whole bool // search the whole file for records behind damage
	found Scanned
	tally

	// Of PCAP: marks before the records met last.
	empty    mark // those of no bytes but zeros that may be the beginning of another, if isEmpty
	disagree mark // those whose lengths do not agree, if isDisagree
	odd      mark // those that are not plausible, if isOdd

	isEmpty, isDisagree, isOdd bool

	habit

	sections []int64 // where sections that say their length begin; nil: nobody asks
}

// A habit is what the records of PCAP so far have in common.
type habit struct {
	beyond bool   // one has more than the file's snaplen
	before uint32 // time of the last packet that has one
	oddity oddity // of the record met last
	alike  int    // how many before it have no other
}

// A tally is what was counted. Times are in nanoseconds; 0 is none.
type tally struct {
	packets, bytes, first, last uint64
	sec                         uint32 // time of the last packet with data that is not far from the others
}

// A mark is where a record begins, and the tally before it.
type mark struct {
	at int64
	tally
}

// scan reads records up to where there are no more, and finds out why. The
// error is the one of what was read before.
func (s *scanner) scan(r *Reader, err error) error {
	if err == nil {
		err = s.run(r)
	}
	s.found.End = r.off
	switch {
	case err == io.EOF:
		err = nil
	case IsDamage(err):
		err = (&ending{s, r}).classify()
	}
	if err != nil {
		return err
	}
	return s.withdrawEmpty(r)
}

// run reads records until an error.
func (s *scanner) run(r *Reader) error {
	if s.sections != nil && r.dec.section == sizedSection {
		s.sections = append(s.sections, 0) // the file's header is read already
	}
	for {
		r.dec.section = noSection
		start := r.off
		packet, err := r.advance()
		switch {
		case err != nil:
			return err
		case packet:
			s.count(start, &r.dec)
		case s.sections != nil && r.dec.section == sizedSection:
			s.sections = append(s.sections, start)
		}
	}
}

// count counts the packet that begins at the offset.
func (s *scanner) count(start int64, d *decoder) {
	p := &d.packet
	if d.format == PCAP {
		s.mark(start, d)
	}
	if p.HasTime() {
		s.before = p.Sec
		ns := uint64(p.Sec)*uint64(time.Second) + uint64(p.Nsec)
		if s.first == 0 || ns < s.first {
			s.first = ns
		}
		s.last = max(s.last, ns)
		if s.oddity&oddFar == 0 && len(p.Data) > 0 {
			s.sec = p.Sec
		}
	}
	s.packets++
	s.bytes += uint64(len(p.Data))
}

// mark keeps what is needed to take back the record of PCAP that begins at the
// offset.
func (s *scanner) mark(start int64, d *decoder) {
	h := d.header
	s.beyond = s.beyond || h.captured > d.ifaces[0].Snaplen
	if h.captured == h.length && h.captured > 0 { // as nearly all
		s.isEmpty, s.isDisagree, s.isOdd, s.oddity = false, false, false, 0
		return
	}
	m := mark{start, s.tally}
	// A header that was cut in its lengths, then zeros, is such a record too.
	if h.length != 0 && h.captured <= h.length || !allZero(d.packet.Data) {
		s.isEmpty = false
	} else if !s.isEmpty {
		s.empty, s.isEmpty = m, true
	}
	odd := s.oddityOf(d, h)
	if h.agrees(&d.ifaces[0]) && (h.captured > 0 || odd == oddEmpty) {
		s.isDisagree, s.isOdd, s.oddity = false, false, 0
		return
	}
	if !s.isDisagree {
		s.disagree, s.isDisagree = m, true
	}
	s.markOdd(m, odd)
}

// oddityOf returns what is odd about the record that comes next.
func (s *scanner) oddityOf(d *decoder, h header) oddity {
	odd := h.oddity(&d.ifaces[0])
	if !near(s.sec, h.sec) && !near(s.before, h.sec) {
		odd |= oddFar
	}
	return odd
}

// markOdd takes over the oddity of a record. What several in a row have is the
// file's habit.
func (s *scanner) markOdd(m mark, odd oddity) {
	switch {
	case odd == 0:
		s.alike, s.isOdd = 0, false
	case odd&^(s.oddity&oddHabits) == 0:
		if s.alike++; s.alike >= resyncChain-1 {
			s.isOdd = false
		}
	default:
		s.alike = 0
		if !s.isOdd {
			s.odd, s.isOdd = m, true
		}
	}
	s.oddity = odd
}

// withdraw takes what was found from the mark on for no records.
func (s *scanner) withdraw(m mark) {
	s.found.End, s.tally = m.at, m.tally
	s.isEmpty, s.isOdd, s.isDisagree = s.isEmpty && s.empty.at < m.at, false, false
}

// withdrawEmpty withdraws the last records of PCAP that have a time but no
// length, or less than was captured, and zeros only: that is the beginning of
// one, followed by zeros.
func (s *scanner) withdrawEmpty(r *Reader) error {
	if !s.isEmpty || s.found.Tail == Corrupt {
		return nil
	}
	if zeros, err := s.zerosFrom(s.found.End); err != nil || !zeros {
		return err // they were written, as more was
	}
	if n := s.packets - s.empty.packets; s.found.End == s.size && n <= maxEmpty {
		s.found.Empty = n
	}
	s.found.Tail, s.found.Doubt = Torn, ""
	if s.isDisagree && s.disagree.at < s.empty.at {
		s.found.Doubt = doubtBefore
	}
	s.withdraw(s.empty)
	zeros, err := s.zerosFrom(s.found.End)
	if zeros {
		s.found.Tail = Zeros
	}
	return err
}

// result completes what was found.
func (s *scanner) result(r *Reader) Scanned {
	f := &s.found
	f.Packets, f.Bytes = s.packets, s.bytes
	if s.last != 0 {
		f.First, f.Last = time.Unix(0, int64(s.first)), time.Unix(0, int64(s.last))
	}
	f.Format = r.dec.format
	f.Interfaces = r.dec.ifaces
	if r.dec.first != nil {
		f.Interfaces = r.dec.first
	}
	return *f
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
