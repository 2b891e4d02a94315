package daemon

import (
	"cmp"
	"slices"
	"strings"

	"capd/internal/control"
	"capd/internal/recorder"
)

// State and Status are those of package recorder.
type (
	State  = recorder.State
	Status = recorder.Status
)

// States.
const (
	Waiting   = recorder.Waiting
	Down      = recorder.Down
	Recording = recorder.Recording
	Suspended = recorder.Suspended
	Ended     = recorder.Ended
)

// Status returns the status of all recorders by name, including ended ones.
func (d *Daemon) Status() []Status { return d.set.status() }

// merge sorts statuses and combines those of successive recorders of a lane:
// the sum of their counters, and the state of the last one.
func merge(all []Status) []Status {
	slices.SortStableFunc(all, func(a, b Status) int { return cmp.Or(strings.Compare(a.Interface, b.Interface), a.Lane-b.Lane) })
	var merged []Status
	for _, s := range all {
		if n := len(merged); n > 0 && merged[n-1].Interface == s.Interface && merged[n-1].Lane == s.Lane {
			s.Add(&merged[n-1])
			merged[n-1] = s
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// Sum adds up the counters of all statuses.
func Sum(all []Status) Status {
	var t Status
	for i := range all {
		t.Add(&all[i])
	}
	return t
}

// countersOf returns the counters in the form of the control socket.
func countersOf(s *Status) control.Counters {
	w := &s.Writer
	return control.Counters{
		Received: s.Received, Written: s.Written, KernelDropped: s.KernelDropped, CapdDropped: s.Dropped,
		// Received was read last, so that it is the largest: see Recorder.Status.
		Pending:    s.Received - min(s.Received, s.Written+s.KernelDropped+s.Dropped),
		NICDropped: s.NICDropped, NICDiscarded: s.NICDiscarded, Freezes: s.Freezes, Bytes: s.Bytes,
		Truncated: w.Truncated, Oversized: w.Oversized, Finished: w.Files, FileBytes: w.FileBytes, Failures: w.Failures, Waits: w.Waits,
	}
}
