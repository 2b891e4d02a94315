// Package restart keeps what a recorder needs to go on in another process: the ring, the chunks that
// wait for the disk, and a state that says what of them is recorded. A Keeper outside of the process,
// such as systemd, holds their descriptors.
//
// The state is memory with three parts: a header with the recorder's lane and settings, the
// account of the device (capture.Account) and the journal of the writer (writer.Journal). It is valid
// at any moment at which the process may be killed.
package restart

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"capd/capture"
	"capd/config"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

// A Keeper holds descriptors that outlive the process, under names, until Remove.
type Keeper interface {
	Store(name string, files ...*os.File) error
	Remove(name string) error
}

// A File is a descriptor that a Keeper held.
type File struct {
	Name string
	*os.File
}

// Names of the descriptors of a recorder are prefix, an id, and one of the kinds.
const (
	prefix = "capd-"
	state  = "-state"
	chunks = "-chunks"
	ring   = "-ring"
	seen   = "-seen" // of a group
)

// groupLen is the length of a group's name.
const groupLen = 16

// NewGroup returns the name of a group: the recorders of one interface that share its frames.
func NewGroup() string { return rand.Text()[:groupLen] }

// Descriptors is how many a recorder needs.
const Descriptors = 3

// mostTries is how many starts may try to go on with a recorder and fail before it is given up: its
// ring would fill for nobody.
const mostTries = 3

// A State is what a recorder leaves to the next process.
type State struct {
	Lane     store.Lane
	Settings *config.Interface // by which it records
	Chunks   *os.File          // memory of the chunks; nil in a new state
	Ring     *os.File          // socket of the ring; nil in a new state, or if there was none

	id     string
	keeper Keeper
	memory *memory

	once sync.Once
}

// New makes the state of a recorder that begins, for a number of chunks; 0 for one whose chunks end with the
// process, and which leaves nothing unless it ends in order. If it takes over from others,
// follows is the group of these; else empty.
func New(k Keeper, lane store.Lane, c *config.Interface, number int, group, follows string) (*State, error) {
	m, err := makeState(lane, c, number, group, follows)
	if err != nil {
		return nil, fmt.Errorf("state of the recorder of %s: %w", lane.Interface, err)
	}
	return &State{Lane: lane, Settings: c, id: rand.Text()[:groupLen], keeper: k, memory: m}, nil
}

// Keep stores the state, and the memory of its chunks if it has any.
func (s *State) Keep(memory *os.File) error {
	if s.Number() == 0 {
		return s.keeper.Store(prefix+s.id+state, s.memory.file)
	}
	return errors.Join(s.keeper.Store(prefix+s.id+state, s.memory.file), s.keeper.Store(prefix+s.id+chunks, memory))
}

// KeepRing stores the socket of a ring in the place of the one before. Its device has that link type.
func (s *State) KeepRing(socket *os.File, link pcap.LinkType) error {
	h := s.memory.header()
	h.link = int64(link)
	defer h.ringed.Store(1)
	return errors.Join(s.keeper.Remove(prefix+s.id+ring), s.keeper.Store(prefix+s.id+ring, socket))
}

// DropRing removes the socket of the ring, which is closed.
func (s *State) DropRing() {
	s.memory.header().ringed.Store(0)
	_ = s.keeper.Remove(prefix + s.id + ring)
}

// Leaves says that others take over from the recorder.
func (s *State) Leaves() {
	if s != nil {
		s.memory.header().left.CompareAndSwap(0, leaves)
	}
}

// Ends says that the recorder ends, and nobody takes over from it.
func (s *State) Ends() {
	if s != nil {
		s.memory.header().left.Store(ends)
	}
}

// Stays takes back what Leaves or Ends has said, of a recorder that still has a ring.
func (s *State) Stays() {
	if s.HadRing() {
		s.memory.header().left.Store(0)
	}
}

// IsLast reports whether the recorder is to end, with nobody after it.
func (s *State) IsLast() bool { return s.memory.header().left.Load() == ends }

// Spent reports whether others have taken over from the recorder, so that only its files are left to be
// finished.
func (s *State) Spent() bool { return s.memory.header().left.Load() != 0 && !s.HadRing() }

// HadRing reports whether a ring was open.
func (s *State) HadRing() bool { return s.memory.header().ringed.Load() != 0 }

// Group returns the group of the recorder.
func (s *State) Group() string { return string(s.memory.header().group[:]) }

// Follows returns the group that the recorder takes over from; empty if that is over.
func (s *State) Follows() string { return text(s.memory.header().follows[:]) }

// TookOver says that a takeover is over.
func (s *State) TookOver() { s.memory.header().follows[0] = 0 }

// LinkType returns the link type of the device whose ring it is.
func (s *State) LinkType() pcap.LinkType { return pcap.LinkType(s.memory.header().link) }

// Began says that the recorder records.
func (s *State) Began() {
	if s != nil {
		s.memory.header().tries.Store(0)
	}
}

// Ended says up to when a recorder without a journal has recorded, in order, and how many frames.
func (s *State) Ended(until time.Time, frames uint64) {
	if s != nil {
		s.memory.header().recorded.Add(frames)
		s.memory.header().until.Store(until.UnixNano())
	}
}

// Recorded returns how many frames were recorded, by the processes before too.
func (s *State) Recorded() uint64 {
	if j := s.Journal(); j != nil {
		return j.Recorded()
	}
	return s.memory.header().recorded.Load()
}

// Until returns what Ended has said; zero without that.
func (s *State) Until() time.Time {
	if n := s.memory.header().until.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// Reads says that the recorder is going to read: from then on it has yet to end in order.
func (s *State) Reads() {
	if s != nil {
		s.memory.header().until.Store(0)
	}
}

// Journal returns the journal of the writer; nil without chunks.
func (s *State) Journal() *writer.Journal {
	j, _ := s.memory.journal() // its size was checked
	return j
}

// Number returns how many chunks there are.
func (s *State) Number() int { return int(s.memory.header().chunks) }

// Account returns where the device counts.
func (s *State) Account() *capture.Account { return s.memory.account() }

// Close closes what the process before has left, of which recorder and device have duplicates.
func (s *State) Close() {
	for _, f := range []*os.File{s.Ring, s.Chunks} {
		if f != nil {
			_ = f.Close()
		}
	}
	s.Ring, s.Chunks = nil, nil
}

// Forget removes the recorder's descriptors from the keeper: it has ended for good.
func (s *State) Forget() {
	if s == nil {
		return
	}
	s.once.Do(func() {
		if s.memory != nil {
			s.memory.header().over.Store(1)
		}
		for _, kind := range []string{ring, chunks, state} {
			_ = s.keeper.Remove(prefix + s.id + kind)
		}
	})
}

// refuse gives up what the process before has left.
func (s *State) refuse() {
	s.Forget()
	s.Close()
	if s.memory != nil {
		s.memory.close()
		s.memory = nil
	}
}

// A Refusal says why a recorder does not go on.
type Refusal struct {
	Lane store.Lane // as far as it is known
	Err  error
}

// Inherit returns the states in descriptors that the keeper held, and by group the frames that its
// predecessors have recorded. What can't be used is removed from the keeper.
func Inherit(k Keeper, files []File, log *slog.Logger) (all []*State, frames map[string]*Seen, refused []Refusal) {
	byID := make(map[string]*State)
	frames = make(map[string]*Seen)
	for _, f := range files {
		id, kind := split(f.Name)
		if kind == "" {
			continue
		}
		if kind == seen {
			var err error
			if frames[id], err = inheritSeen(k, id, f.File); err != nil {
				log.Error("frames may be recorded twice", "error", err)
			}
			continue
		}
		s := byID[id]
		if s == nil {
			s = &State{id: id, keeper: k}
			byID[id] = s
			all = append(all, s)
		}
		s.add(kind, f.File, log)
	}
	slices.SortFunc(all, func(a, b *State) int { return strings.Compare(a.id, b.id) })
	all = slices.DeleteFunc(all, func(s *State) bool {
		if s.memory != nil && s.memory.isState() && (s.memory.header().over.Load() != 0 || s.unborn()) {
			s.refuse()
			return true
		}
		err := s.check()
		if err == nil {
			return false
		}
		if s.memory == nil || s.Follows() == "" || s.HadRing() { // else others still record the interface
			refused = append(refused, Refusal{s.Lane, err})
		}
		s.refuse()
		return true
	})
	return all, frames, refused
}

// unborn reports whether the process ended before it had kept all that the recorder needs, and so before it opened a ring.
func (s *State) unborn() bool {
	return s.memory.header().chunks != 0 && s.Chunks == nil && s.Ring == nil && !s.HadRing()
}

// split returns the id and the kind in the name of a descriptor; no kind if it is of something else.
func split(name string) (id, kind string) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return "", ""
	}
	for _, kind := range []string{state, chunks, ring, seen} {
		if id, ok := strings.CutSuffix(rest, kind); ok {
			return id, kind
		}
	}
	return "", ""
}

func (s *State) add(kind string, f *os.File, log *slog.Logger) {
	switch kind {
	case state:
		m, err := mapState(f)
		if err != nil {
			log.Error("a state of the process before can't be read", "error", err)
			return
		}
		s.memory = m
	case chunks:
		s.Chunks = f
	case ring:
		s.Ring = f
	}
}

// check reports why the recorder can't go on. It counts the try.
func (s *State) check() error {
	switch {
	case s.memory == nil || !s.memory.isState():
		return errors.New("its state is missing")
	case s.Chunks == nil && s.memory.header().chunks != 0:
		return errors.New("the memory of its chunks is missing")
	case s.Chunks != nil && s.memory.header().chunks == 0:
		return errors.New("its header is damaged: it has memory of chunks, and is said to have no chunks")
	}
	s.Lane = s.memory.lane()
	if n := s.memory.header().tries.Add(1); n > mostTries {
		return fmt.Errorf("%d starts tried it before and failed", n-1)
	}
	c, err := s.memory.check()
	s.Settings = c
	if err == nil && s.Ring != nil {
		s.memory.header().ringed.Store(1) // the process may have ended between the two
	}
	return err
}

// text returns the bytes up to the first zero.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
