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
