package recorder

import (
	"fmt"
	"sync/atomic"
	"time"
)

// stallAfter is how long a call to the disk may take before it is reported.
const stallAfter = 5 * time.Second

// Progress tells a recorder that goes on from one that hangs.
type Progress struct {
	r      *Recorder
	start  time.Time
	turned atomic.Int64  // when the recorder last turned, from start on
	stall  time.Duration // how long a call to the disk had taken at the last WatchDisk, if too long; of its caller
}

// now is a time on a clock that never steps.
func (p *Progress) now() time.Duration { return time.Since(p.start) }

func (p *Progress) turn(now time.Duration) { p.turned.Store(int64(now)) }

// Stuck returns an error if the recorder does not go on: it has not turned for
// longer than turn while the disk owes it nothing, or a call to the disk has not
// returned for longer than call. A recorder that waits for a slow disk, or for
// those that it takes over from, is not stuck.
func (p *Progress) Stuck(turn, call time.Duration) error {
	name := p.r.cfg.Lane.Interface
	// In this order: one that the disk has just let go has time to turn.
	since := p.now() - time.Duration(p.turned.Load())
	disk := p.r.writer.Busy()
	state := p.r.shown.get().state
	switch {
	case disk > call:
		return fmt.Errorf("interface %s: a call to the disk has not returned for %v", name, disk.Round(time.Millisecond))
	case disk == 0 && since > turn && state != Ended && p.turns():
		return fmt.Errorf("interface %s: the recorder has not turned for %v", name, since.Round(time.Millisecond))
	}
	return nil
}

// turns reports whether the recorder is to turn: not while it waits for those
// before it.
func (p *Progress) turns() bool {
	select {
	case <-p.r.ready:
		return true
	default:
		return p.r.cfg.Takeover == nil
	}
}

// WatchDisk logs when the recorder's disk does not answer, and when it does
// again. One goroutine calls it, about once a second.
func (p *Progress) WatchDisk() {
	log, directory := p.r.log, p.r.cfg.Settings.Directory
	disk := p.r.writer.Busy()
	switch {
	case disk > stallAfter && p.stall == 0:
		log.Warn("the disk does not answer: frames wait in memory", "for", disk.Round(time.Second).String(), "directory", directory)
	case disk < p.stall:
		log.Info("the disk answers again", "after", p.stall.Round(time.Second).String(), "directory", directory)
		p.stall = 0
	}
	if disk > stallAfter {
		p.stall = disk
	}
}
