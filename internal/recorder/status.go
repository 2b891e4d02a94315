package recorder

import (
	"sync"
	"time"

	"capd/writer"
)

// A State says what a recorder does, as users see it.
type State string

// States.
const (
	Waiting   State = "waiting"   // the interface is not there
	Down      State = "down"      // it is there, but down
	Recording State = "recording" // frames are recorded as they come
	Suspended State = "suspended" // frames are counted and dropped: the disk fails
	Ended     State = "ended"
)

// A Status describes one recorder. Once it has ended,
// Received = Written + KernelDropped + Dropped.
type Status struct {
	Interface     string
	Directory     string
	Filter        string // expression that frames pass before they count as received; empty is none
	Lane          int    // from 1 where several recorders share the interface; 0 else
	State         State
	Since         time.Time
	XDPUntil      time.Time // when the one before was taken off; zero if there was none
	XDP           string    // the XDP program that sees frames before capd; empty is none
	Received      uint64    // frames that the kernel met, dropped or not
	Bytes         uint64    // bytes captured of the frames taken from the kernel
	Written       uint64    // frames on disk
	KernelDropped uint64    // frames that the kernel dropped: the ring was full
	Dropped       uint64    // frames that capd dropped: the disk failed, or could not be stopped for; or their block was corrupt
	NICDropped    uint64    // frames that were lost before the kernel met them: not in Received
	NICDiscarded  uint64    // frames that the interface's statistics call dropped, recorded or not
	Freezes       uint64    // times that the ring was full
	RingBlocks    int
	RingFilled    int   // blocks of the ring that wait
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
	s.Writer.Add(&o.Writer)
}

// Status returns the recorder's status. The counter of received frames is read
// last, so that it is never less than the sum of the others.
func (r *Recorder) Status() Status {
	c := r.cfg.Settings
	w := r.writer.Stats()
	k := r.tally.read()
	shown := r.shown.get()
	s := Status{
		Interface: r.cfg.Lane.Interface, Directory: c.Directory, Filter: c.Filter, Lane: r.cfg.Lane.Number,
		State: shown.state, Since: shown.since, XDP: shown.xdp, XDPUntil: shown.xdpUntil,
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

// shown is the state that others see.
type shown struct {
	mu sync.Mutex // guards what follows, for assignments only
	whatIsShown
}

type whatIsShown struct {
	state    State
	since    time.Time
	xdp      string    // see Status.XDP
	xdpUntil time.Time // see Status.XDPUntil
}

func (s *shown) get() whatIsShown {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whatIsShown
}

func (s *shown) set(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != state {
		s.state, s.since = state, time.Now()
	}
}

// cover shows the XDP program that sees frames before capd from that time on; empty
// is none.
func (s *shown) cover(program string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.xdp != "" {
		s.xdpUntil = at
	}
	s.xdp = program
}
