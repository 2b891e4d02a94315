package extract

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"capd/crypt"
	"capd/internal/inventory"
	"capd/internal/read"
	"capd/internal/text"
	"capd/pcap"
	"capd/store"
)

// Packets of a file that come out of order are put in order if they are no more than so long late, and no more than so many
// bytes lie between.
const (
	reorderTime  = time.Second
	reorderBytes = 1 << 20
)

// A found packet is one that the question asks for.
type found struct {
	at     int64 // its time in nanoseconds since 1970; of a packet without one, that of the one before it
	timed  bool
	bytes  int  // captured
	cut    bool // not all of it is captured
	part   *Part
	record []byte // as it is to be written
}

// A stream gives the packets of a file that the question asks for, nearly in order of time. It is opened when its first
// packet may be the next one: files of a recorder follow each other, so that few are open at a time.
type stream struct {
	*Source
	x     *extraction
	order int // among streams whose packets have the same time
	progress
	packets

	head   *found   // the next packet; nil before the first
	late   []*found // in order of time: packets that wait for older ones, which a file in order has none of
	spare  []*found // to be used again
	held   int      // bytes of those that wait
	newest int64
}

// A progress is how far a file was read.
type progress struct {
	file   *read.File // nil: it is not open
	opened bool
	ended  bool        // nothing more is read
	whole  bool        // it was read to its end
	last   bool        // nothing can come behind that
	begun  bool        // its header was read
	route  *route      // nil: all of it is read
	done   []read.Part // which were read before, as long as the route was believed
}

// packets is what is known about the packets of a file, by their interface's number in it.
type packets struct {
	parts      map[int]*Part
	links      map[int]bool // interfaces that the expression can't be compiled for
	interfaces []described
	explain    [][]byte // blocks that are to be written before the next packet that is found
	kept       int      // bytes of them
}

// key is no later than the time of the next packet.
func (s *stream) key() int64 {
	switch {
	case !s.opened:
		return s.opens.UnixNano()
	case s.head == nil: // it is looked for
		return 0
	}
	return s.head.at
}

// open opens the file, by the name that it has now.
func (s *stream) open() error {
	s.opened = true
	s.packets = packets{parts: make(map[int]*Part), links: make(map[int]bool)}
	f, err := s.openAs(s.Path(), s.State, s.Reading.parts)
	if name, _, parsed := store.Parse(s.Name); errors.Is(err, fs.ErrNotExist) && parsed == nil {
		finished := filepath.Join(s.Directory, name.String())
		for _, state := range store.WithData() {
			parts := []read.Part(nil)
			if state == store.Finished && s.Reading.seen != nil { // the same file, if it has only lost its old name
				parts = s.Reading.parts
			}
			if f, err = s.openAs(finished+state.Ext(), inventory.Finished, parts); !errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	s.file = f
	s.x.answer.Files++
	if f.Path() == s.Path() {
		f.WholeUpTo(s.flushed)
	}
	if s.Whole() && f.Path() == s.Path() && f.Size() != s.Size { // it may end before all its packets are counted
		s.miss(Missing{Cause: CauseChanged, Why: "it has " + text.Count(f.Size(), "byte") + ", and had " + text.Count(s.Size, "byte")})
	}
	if err := s.follow(); err != nil {
		return err
	}
	return s.begin()
}

// begin reads what is before the first packet.
func (s *stream) begin() error {
	if _, err := s.file.Header(); err != nil {
		return err
	}
	s.begun = true
	return s.describe(nil)
}

func (s *stream) openAs(path string, state inventory.State, parts []read.Part) (*read.File, error) {
	growing := state == inventory.Recording || state == inventory.Unfinished
	return read.Open(path, read.Options{Growing: growing, Parts: parts, Identities: s.x.question.Identities, Through: s.x.through})
}

// advance finds the next packet, which is head then. It returns false if there is none. Errors are those of writing; what is
// wrong with the file is said in the answer.
func (s *stream) advance() (more bool, err error) {
	if !s.opened {
		s.fail(s.open())
	}
	if s.head != nil {
		s.spare = append(s.spare, s.head)
		s.head = nil
	}
	for !s.ended && !s.ready() {
		if s.x.stopped.Load() {
			return false, nil
		}
		s.fail(s.step())
	}
	if s.x.failure != nil {
		return false, s.x.failure
	}
	if len(s.late) == 0 {
		return false, nil
	}
	s.head, s.late = s.late[0], s.late[1:]
	s.held -= len(s.head.record)
	return true, nil
}

// ready reports whether the oldest packet that waits is the next one.
func (s *stream) ready() bool {
	return len(s.late) > 0 && (s.Ordered() || s.newest-s.late[0].at >= int64(reorderTime) || s.held >= reorderBytes)
}

// step reads a record.
func (s *stream) step() error {
	if s.route != nil {
		if on, err := s.skip(); !on {
			return err
		}
	}
	record, p, err := s.file.NextRecord()
	switch {
	case err != nil && s.route != nil && (pcap.IsDamage(err) || errors.Is(err, read.ErrParts)):
		return s.doubt(err)
	case err == io.EOF:
		s.ended, s.whole = true, true
		return nil
	case err != nil:
		return err
	case p == nil:
		return s.describe(record)
	case s.route != nil:
		s.route.seen++
	case len(s.done) > 0 && s.was(s.file.Offset()-int64(len(record))):
		return nil
	}
	q := &s.x.question
	at, timed := s.newest, p.HasTime()
	if timed {
		at = int64(p.Sec)*int64(time.Second) + int64(p.Nsec)
		s.newest = max(s.newest, at)
		if s.route != nil && s.route.last > 0 && at > s.route.last {
			s.ended = true
			return nil
		}
		t := time.Unix(0, at)
		if !q.Until.IsZero() && !t.Before(q.Until) {
			s.ended = s.Ordered()
			return nil
		}
		if t.Before(q.Since) {
			return nil
		}
	}
	passes, err := s.match(p)
	if err != nil || !passes {
		return err
	}
	if !timed && (!q.Since.IsZero() || !q.Until.IsZero()) {
		s.miss(Missing{Cause: CauseTimeless})
		return nil
	}
	return s.find(record, p, at, timed)
}

// match reports whether the expression takes the packet. Where that can't be said it is in the answer.
func (s *stream) match(p *pcap.Packet) (bool, error) {
	id := s.file.InterfaceID()
	if s.links[id] {
		return false, nil
	}
	of, undecided := s.x.chooser.take(s.file.Interface().LinkType, p)
	if !of && !undecided {
		return false, nil
	}
	passes, err := s.x.filter.Match(s.file, p)
	if err != nil {
		s.links[id] = true
		s.miss(Missing{Cause: CauseLink, Why: err.Error()})
		return false, nil
	}
	if !passes && int(p.Length) > len(p.Data) && s.x.filter.Undecided(p) && s.x.mayPass(s.file.Interface().LinkType, p) || passes && undecided {
		s.miss(Missing{Cause: CauseUndecided})
	}
	return passes && of, nil
}

// find adds a packet that the question asks for.
func (s *stream) find(record []byte, p *pcap.Packet, at int64, timed bool) error {
	var f *found
	if n := len(s.spare); n > 0 {
		f, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		f = new(found)
	}
	to, err := s.x.encode(f.record[:0], s, record, p)
	if err != nil {
		return err
	}
	*f = found{at: at, timed: timed, bytes: len(p.Data), cut: int(p.Length) > len(p.Data), part: s.part(), record: to}
	place := len(s.late)
	for place > 0 && s.late[place-1].at > at { // few are late, and not by much
		place--
	}
	s.late = slices.Insert(s.late, place, f)
	s.held += len(to)
	return nil
}

// part returns the part of the answer that the last packet belongs to.
func (s *stream) part() *Part {
	id := s.file.InterfaceID()
	if s.parts[id] == nil {
		name := s.file.Interface().Name
		if name == "" {
			name = s.Interface
		}
		s.parts[id] = s.x.answer.part(s.Directory, name)
	}
	return s.parts[id]
}

// miss adds that packets of the file may be missing.
func (s *stream) miss(m Missing) {
	m.Directory, m.Interface, m.Where = s.Directory, s.Interface, s.Name
	s.x.answer.miss(m)
}

// fail says what is wrong with the file, of which nothing more is read.
func (s *stream) fail(err error) {
	if err == nil {
		return
	}
	s.ended = true
	if err == io.EOF { // nothing of it is on the disk yet
		s.whole = true
		return
	}
	if s.x.fail(s.x.broken); s.x.failure != nil { // writing may have failed before a read
		return
	}
	m := Missing{Cause: CauseTorn, Begin: s.Begin, Why: err.Error()}
	if s.newest > 0 {
		m.Begin = time.Unix(0, s.newest)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m.Cause, m.Begin, m.End = CauseVanished, s.Earliest, s.Latest
	case read.IsLocked(err):
		m.Cause, m.Begin, m.End, m.Why = CauseLocked, s.Earliest, s.Latest, lockedWhy(err)
	case errors.As(err, new(syscall.Errno)):
		m.Cause = CauseUnreadable
	}
	s.miss(m)
}

// lockedWhy says which key is missing.
func lockedWhy(err error) string {
	if errors.Is(err, crypt.ErrOtherKeys) {
		return "none of the keys of --identity decrypts it"
	}
	return "--identity FILE has the key"
}

// known reports whether the ledger knows how many packets the file has.
func (s *stream) known() bool { return s.Contents != nil && s.Clean }

// close closes the file, and says what it lacks.
func (s *stream) close() {
	if s.file == nil {
		return
	}
	defer s.file.Close()
	if !s.whole || s.x.stopped.Load() {
		return
	}
	seen := s.file.Seen()
	if s.route != nil {
		seen += s.route.skipped
	}
	last := Missing{Begin: s.Begin}
	if s.newest > 0 {
		last.Begin = time.Unix(0, s.newest)
	}
	switch {
	case s.State == inventory.Recording && s.unflushed:
		last.Cause = CauseUnflushed
		s.miss(last)
	case s.Encrypted && !s.known(): // its packets were not counted
	case s.Whole() && s.Contents != nil && seen != s.Packets:
		last.Cause, last.Begin = CauseChanged, time.Time{}
		last.Why = "it has " + text.Count(seen, "packet") + ", and had " + text.Count(s.Packets, "packet")
		s.miss(last)
	}
}
