package daemon

import (
	"fmt"
	"time"
)

// Stuck returns an error if recording does not go on: a recorder has not turned
// for longer than turn while the disk owes it nothing, or a call to the disk has
// not returned for longer than call. A recorder that waits for a slow disk is
// not stuck. It is for the time from Options.Ready on until Run is told to end.
func (d *Daemon) Stuck(turn, call time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.recorders {
		// In this order: one that the disk has just let go has time to turn.
		since := r.now() - time.Duration(r.turned.Load())
		switch busy := r.writer.Busy(); {
		case busy > call:
			return fmt.Errorf("interface %s: a call to the disk has not returned for %v", r.name, busy.Round(time.Millisecond))
		case busy == 0 && since > turn && r.current() != Ended:
			return fmt.Errorf("interface %s: the recorder has not turned for %v", r.name, since.Round(time.Millisecond))
		}
	}
	return nil
}

// stallAfter is how long a call to the disk may take before it is reported.
const stallAfter = 5 * time.Second

// reportStalls says when a recorder's disk does not answer, while it does not,
// and when it does again. It is for the goroutine that watches.
func (d *Daemon) reportStalls() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.recorders {
		busy := r.writer.Busy()
		switch {
		case busy > stallAfter && r.stall == 0:
			r.log.Warn("the disk does not answer: frames wait in memory", "for", busy.Round(time.Second).String(),
				"directory", r.cfg.Directory)
		case busy < r.stall:
			r.log.Info("the disk answers again", "after", r.stall.Round(time.Second).String(), "directory", r.cfg.Directory)
			r.stall = 0
		}
		if busy > stallAfter {
			r.stall = busy
		}
	}
}
