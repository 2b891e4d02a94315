package restart

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A FrameID identifies a frame in two rings of one interface.
type FrameID struct {
	Sec, Nsec, Length uint32 // its time and length
	_                 uint32
	Sum               uint64 // of its contents
}

// mostSeen is how many frames a Seen remembers: those of a second at 4 million a second.
const mostSeen = 4 << 20

// seenMemory is the memory of a Seen. It takes memory only as far as it is used.
type seenMemory struct {
	since atomic.Int64 // see Seen.Since, in nanoseconds since 1970; 0: not said yet
	used  atomic.Uint64
	added [mostSeen]FrameID
}

// A Seen remembers the frames that the old recorders of an interface have recorded while new ones take
// over from them, so that a process that goes on in the midst of that records none twice. Its lock
// allows that several recorders add to it.
type Seen struct {
	group  string
	keeper Keeper
	mu     sync.Mutex
	memory *seenMemory
}

// NewSeen makes one for a group of new recorders, and stores it.
func NewSeen(k Keeper, group string) (*Seen, error) {
	f, m, err := newSeenMemory()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &Seen{group: group, keeper: k, memory: m}
	return s, k.Store(prefix+group+seen, f)
}

// Since returns the time from which on frames are remembered: t in the first process that asks, and the same in all that
// follow. New recorders may have frames from then on, and old ones may read them only in a later process. Without a Seen it
// returns t.
func (s *Seen) Since(t time.Time) time.Time {
	if s == nil {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory == nil {
		return t
	}
	s.memory.since.CompareAndSwap(0, t.UnixNano())
	return time.Unix(0, s.memory.since.Load())
}

// Add remembers a frame. Without a Seen it does nothing.
func (s *Seen) Add(id FrameID) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory == nil {
		return
	}
	if n := s.memory.used.Load(); n < mostSeen {
		s.memory.added[n] = id
		s.memory.used.Store(n + 1)
	}
}

// All returns the frames.
func (s *Seen) All() []FrameID {
	if s == nil || s.memory == nil {
		return nil
	}
	return s.memory.added[:min(s.memory.used.Load(), mostSeen)]
}

// Forget removes what is remembered: no new recorder can meet it any more.
func (s *Seen) Forget() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory != nil {
		_ = s.keeper.Remove(prefix + s.group + seen)
		unmapSeen(s.memory)
		s.memory = nil
	}
}

// inheritSeen returns what a process before has left.
func inheritSeen(k Keeper, group string, f *os.File) (*Seen, error) {
	m, err := mapSeen(f)
	if err != nil {
		_ = k.Remove(prefix + group + seen)
		return nil, err
	}
	return &Seen{group: group, keeper: k, memory: m}, nil
}
