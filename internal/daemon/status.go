package daemon

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"capd/capture"
	"capd/internal/control"
	"capd/writer"
)

// A State says what a recorder is at.
type State string

// States.
const (
	Waiting   State = "waiting"   // the interface is not there
	Down      State = "down"      // it is there, but down
	Recording State = "recording" // frames are recorded as they come
	Suspended State = "suspended" // frames are counted and dropped: the disk fails
	Ended     State = "ended"
)

// A Status tells of one recorder. Once it has ended,
// Received = Written + KernelDropped + Dropped.
type Status struct {
	Interface     string
	Directory     string
	Filter        string // expression that frames pass before they count as received; empty is none
	Lane          int    // from 1 where several recorders share the interface; 0 else
	State         State
	Since         time.Time
	Received      uint64 // frames that the kernel met, dropped or not
	Bytes         uint64 // bytes captured of the frames taken from the kernel
	Written       uint64 // frames on disk
	KernelDropped uint64 // frames that the kernel dropped: the ring was full
	Dropped       uint64 // frames that capd dropped: the disk failed, or could not be stopped for; or their block was corrupt
	NICDropped    uint64 // frames that the interface dropped before: not in Received
	Freezes       uint64 // times that the ring was full
	RingBlocks    int
	RingFilled    int   // blocks of the ring that wait
	RingSize      int64 // bytes
	PoolSize      int64 // bytes
	Writer        writer.Stats
}

// Status returns the status of all recorders by name, those that ended too.
func (d *Daemon) Status() []Status {
	d.mu.Lock()
	all := slices.Clone(d.ended)
	for r := range d.leaving {
		all = append(all, r.status())
	}
	for _, r := range d.recorders {
		all = append(all, r.status())
	}
	d.mu.Unlock()
	return merge(all)
}

// merge sorts, and makes one of what is told of recorders that followed each
// other: the counters of all, and the state of the last.
func merge(all []Status) []Status {
	slices.SortStableFunc(all, func(a, b Status) int { return cmp.Or(strings.Compare(a.Interface, b.Interface), a.Lane-b.Lane) })
	var merged []Status
	for _, s := range all {
		if n := len(merged); n > 0 && merged[n-1].Interface == s.Interface && merged[n-1].Lane == s.Lane {
			s.add(&merged[n-1])
			merged[n-1] = s
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// add adds the counters of another.
func (s *Status) add(o *Status) {
	s.Received += o.Received
	s.Bytes += o.Bytes
	s.Written += o.Written
	s.KernelDropped += o.KernelDropped
	s.Dropped += o.Dropped
	s.NICDropped += o.NICDropped
	s.Freezes += o.Freezes
	s.Writer.Add(&o.Writer)
}

// Sum adds up the counters.
func Sum(all []Status) Status {
	var t Status
	for i := range all {
		t.add(&all[i])
	}
	return t
}

// counters returns the counters as others are told of them.
func (s *Status) counters() control.Counters {
	w := &s.Writer
	return control.Counters{
		Received: s.Received, Written: s.Written, KernelDropped: s.KernelDropped, CapdDropped: s.Dropped,
		// Received was read last, so that it is the largest: see recorder.status.
		Pending:    s.Received - min(s.Received, s.Written+s.KernelDropped+s.Dropped),
		NICDropped: s.NICDropped, Freezes: s.Freezes, Bytes: s.Bytes,
		Truncated: w.Truncated, Finished: w.Files, FileBytes: w.FileBytes, Failures: w.Failures, Waits: w.Waits,
	}
}

// sum adds up the counters of a handle and those before it.
func sum(a, b capture.Stats) capture.Stats {
	return capture.Stats{
		Received: a.Received + b.Received, Dropped: a.Dropped + b.Dropped, Corrupt: a.Corrupt + b.Corrupt,
		Freezes: a.Freezes + b.Freezes, NICDropped: a.NICDropped + b.NICDropped,
		RingBlocks: b.RingBlocks, FilledBlock: b.FilledBlock,
	}
}
