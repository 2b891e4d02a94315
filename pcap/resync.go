package pcap

import (
	"cmp"
	"io"
	"slices"
)

// Bounds of the search for records behind damage.
const (
	resyncFirst  = 512 << 10 // bytes looked at together at first: a packet and more
	resyncWindow = 2 << 20   // and then
	resyncChain  = 3         // records in a row that prove each other
	resyncApart  = 16        // that do so however far they are in time from what was before
	resyncOrder  = 60        // seconds by which packets may be out of order
	resyncTries  = 16        // rows tried in a window
)

// resync returns where plausible records go on behind the damage at the
// reader's offset, or 0. If they begin inside a record before, that one is
// withdrawn.
func (s *ending) resync() (at int64, err error) {
	from := s.r.off + 1
	if s.isDisagree {
		from = max(s.disagree.at+1, s.r.off-resyncWindow/2)
	}
	before := [2]uint32{s.sec, s.sec}
	if s.isDisagree {
		before[1] = s.disagree.sec
	}
	buf := make([]byte, 0)
	for size := int64(resyncFirst); ; size = resyncWindow {
		if from >= s.size {
			return 0, nil
		}
		n := min(size+max(s.r.off-from, 0), s.size-from)
		if int64(cap(buf)) < n {
			buf = make([]byte, n)
		}
		b := buf[:n]
		if _, err := io.ReadFull(io.NewSectionReader(s.src, from, n), b); err != nil {
			return 0, err
		}
		w := window{b: b, from: from, damage: s.r.off, last: from+n == s.size, before: before, oddity: s.oddity, dec: &s.r.dec}
		if w.ends, err = s.endsOf(); err != nil {
			return 0, err
		}
		at = w.search()
		switch {
		case at != 0 && at < s.r.off:
			return at, s.withdrawAround(at)
		case at != 0, w.last, size == resyncWindow && !s.whole:
			return at, nil
		case size == resyncWindow:
			from += n - resyncChain*(MaxSnaplen+64) // so that a row is in one window
		}
	}
}

// endsOf returns where the record at the reader's offset ends by each of the
// lengths in its header, and so does one of PCAP before, if those do not agree.
func (s *ending) endsOf() (ends []int64, err error) {
	d := &s.r.dec
	for _, at := range []int64{s.r.off, s.disagree.at} {
		if at != s.r.off && !s.isDisagree {
			break
		}
		b, err := s.read(make([]byte, pcapRecordSize), at)
		switch {
		case err != nil:
			return nil, err
		case len(b) < pcapRecordSize:
		case d.format == PCAPNG:
			ends = append(ends, at+int64(d.u32(b[4:])))
		default:
			h := d.parseHeader(b)
			snaplen := cmp.Or(d.ifaces[0].Snaplen, d.ifaces[0].limit())
			if h.captured <= snaplen {
				ends = append(ends, at+int64(d.head)+int64(h.captured))
			}
			if h.length <= d.ifaces[0].limit() {
				ends = append(ends, at+int64(d.head)+int64(min(h.length, snaplen)))
			}
		}
	}
	return ends, nil
}

// withdrawAround withdraws the record that the offset lies in, and all behind.
func (s *ending) withdrawAround(at int64) error {
	again, err := readerAt(s.src, s.size, s.disagree.at, s.r.dec)
	if err != nil {
		return err
	}
	s.withdraw(s.disagree)
	for {
		start := again.off
		if _, err := again.advance(); err != nil {
			return err
		}
		if again.off > at {
			s.found.End = start
			return nil
		}
		s.count(start, &again.dec)
	}
}

// A window is a part of a file in which rows of plausible records are searched.
type window struct {
	b      []byte
	from   int64     // offset of b in the file
	damage int64     // offset of the damage
	last   bool      // b ends where the file does
	before [2]uint32 // times that the first record may follow
	oddity oddity    // that the file's records have too
	dec    *decoder
	limit  uint32  // most bytes of a packet of PCAP
	ends   []int64 // of the damaged record, by its header

	reach []int32 // where the row ends in b that begins here; 0: none begins
	count []uint8 // its records, up to 255
}

// search returns the offset of a row of records that proves itself; 0 if there
// is none.
func (w *window) search() int64 {
	w.reach, w.count = make([]int32, len(w.b)), make([]uint8, len(w.b))
	if w.dec.format == PCAP {
		w.limit = w.dec.ifaces[0].limit()
	}
	for i := len(w.b) - 1; i >= 0; i-- {
		w.extend(i)
	}
	at := w.expected()
	if at < 0 {
		at = w.earliest()
	}
	if at < 0 {
		return 0
	}
	return w.from + int64(at)
}

// expected returns where a row begins at which the damaged record ends by what
// is left of its lengths, so that nothing of what it carries is taken for one;
// -1 if there is none.
func (w *window) expected() int {
	x := int(w.damage - w.from) // may be before b
	if w.dec.format == PCAPNG {
		for i := max(x+12, 4); i < len(w.b); i++ {
			if w.reach[i] != 0 && w.dec.u32(w.b[i-4:]) == uint32(i-x) && w.holds(i) {
				return i
			}
		}
	}
	for _, end := range w.ends {
		if i := int(end - w.from); 0 <= i && i < len(w.b) && w.holds(i) {
			return i
		}
	}
	return -1
}

// earliest returns where the first row begins, unless that may lie inside of
// what the damaged record carries; -1 if there is none.
func (w *window) earliest() int {
	best := w.next(0)
	for tries := 0; best >= 0 && tries < resyncTries; tries++ {
		end := int(w.reach[best])
		if end == len(w.b) {
			break
		}
		farther := -1
		for i := w.next(best + 1); i >= 0 && i < end; i = w.next(i + 1) {
			if int(w.reach[i]) > end {
				farther = i
				break
			}
		}
		switch {
		case farther >= 0:
			best = farther
		case w.carried(best, w.next(end)):
			best = w.next(end)
		default:
			return w.skipOlder(best)
		}
	}
	return w.skipOlder(best)
}

// skipOlder returns where the row that begins at i has come to the time of the
// damage, if it begins with older packets, which one of the damaged record may
// have carried. If all of it is older, the clock was set back.
func (w *window) skipOlder(i int) int {
	if i < 0 || w.dec.format == PCAPNG || w.before[0] == 0 {
		return i
	}
	limit := min(int64(w.reach[i]), w.damage+MaxSnaplen-w.from)
	for at := i; int64(at) < limit && w.reach[at] != 0; {
		if int64(w.sec(at)) >= int64(w.before[0])-resyncOrder {
			if w.holds(at) {
				return at
			}
			return i
		}
		size, _ := w.record(w.b[at:])
		at += size
	}
	return i
}

// carried says whether the row that begins at i may lie inside one packet, and
// its time is not between what was before and the row that begins at next, or
// -1. Blocks have no such sign.
func (w *window) carried(i, next int) bool {
	if w.dec.format == PCAPNG || w.from+int64(w.reach[i]) > w.damage+MaxSnaplen {
		return false
	}
	sec := int64(w.sec(i))
	return w.before[0] != 0 && sec < int64(w.before[0])-resyncOrder || next >= 0 && sec > int64(w.sec(next))+resyncOrder
}

// next returns where the first row begins from i on; -1 if there is none.
func (w *window) next(i int) int {
	for ; i < len(w.b); i++ {
		if w.reach[i] != 0 && w.holds(i) {
			return i
		}
	}
	return -1
}

// holds says whether the row that begins at i proves itself.
func (w *window) holds(i int) bool {
	if !w.proven(i) {
		return false
	}
	if !w.parses(i) {
		w.reach[i] = 0
		return false
	}
	return true
}

// extend puts a record at i, if there is a plausible one, before the row that
// begins where it ends.
func (w *window) extend(i int) {
	size, sec := w.record(w.b[i:])
	next := i + size
	switch {
	case size > 0 && w.dec.format == PCAPNG && foreignSection(w.dec, w.b[i:]) > 0:
		w.reach[i], w.count[i] = int32(len(w.b)), 255 // what follows is not seen here
		return
	case size == 0, next > len(w.b) && w.last:
		return
	case next >= len(w.b):
		w.reach[i], w.count[i] = int32(len(w.b)), 1
		return
	}
	w.reach[i], w.count[i] = int32(next), 1
	if w.reach[next] != 0 && (w.dec.format == PCAPNG || near(sec, w.sec(next))) {
		w.reach[i], w.count[i] = w.reach[next], w.count[next]+min(1, 255-w.count[next])
	}
}

// record returns the size of the plausible record at the beginning of b, or 0.
// A block that b cuts is none: it is known by its end.
func (w *window) record(b []byte) (size int, sec uint32) {
	d := w.dec
	if d.format == PCAP {
		if len(b) < d.head || d.lengths == capturedFirst && d.u32(b[8:])-1 >= w.limit {
			return 0, 0 // nearly always
		}
		h := d.parseHeader(b)
		if h.captured-1 >= w.limit || h.oddity(&d.ifaces[0])&^(w.oddity&oddHabits) != 0 {
			return 0, 0
		}
		return d.head + int(h.captured), h.sec
	}
	if len(b) < 12 {
		return 0, 0
	}
	if b[0] == blockSHB&0xff {
		if n := foreignSection(d, b); n > 0 {
			return n, 0
		}
	}
	n := d.u32(b[4:])
	if n < 12 || n%4 != 0 || n > maxBlock || int(n) > len(b) || !knownBlock(d.u32(b)) || d.u32(b[n-4:]) != n {
		return 0, 0
	}
	return int(n), 0
}

// foreignSection returns the size of the header that b begins with, if it is one
// of a section of the other byte order; 0 if not.
func foreignSection(d *decoder, b []byte) int {
	n := SectionSize(b)
	other := byteOrder{!d.big}
	if n == 0 || n > len(b) || other.u32(b[8:]) != byteOrderMagic || other.u32(b[n-4:]) != uint32(n) {
		return 0
	}
	return n
}

func (w *window) sec(i int) uint32 { return w.dec.parseHeader(w.b[i:]).sec }

// proven says whether the row that begins at i is one of records behind the
// damage: long enough, or all up to the end of the file.
func (w *window) proven(i int) bool {
	at := w.from + int64(i)
	switch {
	case w.reach[i] == 0, at == w.damage, w.from+int64(w.reach[i]) <= w.damage:
		return false
	case w.dec.format == PCAPNG:
		return w.count[i] >= resyncChain || w.last && int(w.reach[i]) == len(w.b)
	case w.count[i] < resyncApart && !near(w.before[0], w.sec(i)) && !near(w.before[1], w.sec(i)):
		return false
	}
	toEnd := w.last && int(w.reach[i]) == len(w.b)
	return w.count[i] >= resyncChain && w.beyond(i) || toEnd && w.dec.parseHeader(w.b[i:]).agrees(&w.dec.ifaces[0])
}

// beyond says whether enough of a row of PCAP lies behind the damage, where
// that begins before it.
func (w *window) beyond(i int) bool {
	n := 0
	for i < len(w.b) && n < resyncChain && w.reach[i] != 0 {
		if w.from+int64(i) > w.damage {
			n++
		}
		size, _ := w.record(w.b[i:])
		i += size
	}
	return n >= resyncChain
}

// parses says whether a decoder takes the row's first records for such.
func (w *window) parses(i int) bool {
	d := *w.dec
	d.ifaces = slices.Clip(d.ifaces) // what the copy appends is its own
	for n := min(w.count[i], resyncChain); n > 0 && i < len(w.b); n-- {
		size, _, reason := d.step(w.b[i:])
		if reason != "" {
			return false
		}
		i += size
	}
	return true
}
