package recorder

import (
	"sync"
	"time"

	"capd/writer"
)

// A State is the state of a recorder as users see it.
type State string

// States.
const (
	Waiting   State = "waiting"   // the interface does not exist, or can't be opened
	Down      State = "down"      // the interface exists, but is down
	Recording State = "recording" // frames are recorded as they come
	Suspended State = "suspended" // frames are counted and dropped, because the disk fails
	Ended     State = "ended"
)

// A Status describes one recorder. Once the recorder has ended, Received =
// Written + KernelDropped + Dropped.
type Status struct {
	Interface     string
	Directory     string
	Filter        string // only frames that match it are received; empty means all
	Lane          int    // from 1 if several recorders share the interface, else 0
	State         State
	Since         time.Time
	Why           string    // what the system said, where the interface is there and can't be opened
	XDPUntil      time.Time // when the previous XDP program was detached; zero if there was none
	XDP           string    // the XDP program that processes frames before capd; empty means none
	Unread        time.Time // when an unknown number of frames was last lost with the interface; zero if never
	Received      uint64    // frames that the kernel received, dropped or not
	Bytes         uint64    // bytes captured of the frames taken from the kernel
	Written       uint64    // frames on disk
	KernelDropped uint64    // frames that the kernel dropped because the ring was full
	Dropped       uint64    // frames that capd dropped: the disk failed, the stop timeout was over, or their block was corrupt
	NICDropped    uint64    // frames that were lost before the kernel received them; not in Received
	NICDiscarded  uint64    // frames that the interface's statistics count as dropped, recorded or not
	Freezes       uint64    // how often the ring became full
	RingBlocks    int
	RingFilled    int   // blocks of the ring that wait to be read
	RingSize      int64 // bytes
	PoolSize      int64 // bytes
	Writer        writer.Stats
}

// Add adds the counters of another recorder.
func (s *Status) Add(o *Status) {
	s.Received += o.Received
	s.Bytes += o.Bytes
	s.Written += o.Written
	s.KernelDropped += o.KernelDropped
	s.Dropped += o.Dropped
	s.NICDropped += o.NICDropped
	s.NICDiscarded += o.NICDiscarded
	s.Freezes += o.Freezes
	if o.Unread.After(s.Unread) {
		s.Unread = o.Unread
	}
	s.Writer.Add(&o.Writer)
}

// Status returns the recorder's status. The counter of received frames is read
// last, so that it is never less than the sum of the others.
func (r *Recorder) Status() Status {
	c := r.cfg.Settings
	w := r.writer.Stats()
	k := r.tally.read()
	visible := r.visible.get()
	s := Status{
		Interface: r.cfg.Lane.Interface, Directory: c.Directory, Filter: c.Filter, Lane: r.cfg.Lane.Number,
		State: visible.state, Since: visible.since, Why: visible.why, XDP: visible.xdp, XDPUntil: visible.xdpUntil, Unread: visible.lost,
		Received: k.Received, Bytes: w.Bytes, Written: w.Written,
		KernelDropped: k.Dropped, Dropped: w.Lost + k.Corrupt + k.unread,
		NICDropped: k.NICDropped, NICDiscarded: k.NICDiscarded, Freezes: k.Freezes,
		RingBlocks: k.RingBlocks, RingFilled: k.FilledBlock, Writer: w,
		RingSize: int64(k.RingBlocks) * int64(c.BlockSize), PoolSize: int64(w.Chunks) * int64(c.ChunkSize),
	}
	if s.State == Recording && w.Suspended {
		s.State = Suspended
	}
	return s
}

// visible is the part of a Status that the recorder's goroutine sets.
type visible struct {
	mu sync.Mutex // guards what follows; held for assignments only
	visibleState
}

type visibleState struct {
	state    State
	since    time.Time
	why      string    // see Status.Why
	xdp      string    // see Status.XDP
	xdpUntil time.Time // see Status.XDPUntil
	lost     time.Time // see Status.Unread
}

func (s *visible) get() visibleState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.visibleState
}

func (s *visible) set(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != state {
		s.state, s.since = state, time.Now()
	}
}

// explain sets what the system said of an interface that can't be opened; empty
// where there is nothing to say.
func (s *visible) explain(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = why
}

// cover sets the XDP program that processes frames before capd from that time on;
// empty means none.
func (s *visible) cover(program string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.xdp != "" {
		s.xdpUntil = at
	}
	s.xdp = program
}

// unread sets when frames were last lost with the interface.
func (s *visible) unread(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = at
}
