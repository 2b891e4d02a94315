package recorder

import (
	"fmt"
	"sync/atomic"
	"time"
)

// stallAfter is how long a call to the disk may take before it is logged.
const stallAfter = 5 * time.Second

// Progress distinguishes a recorder that makes progress from one that hangs.
type Progress struct {
	r      *Recorder
	start  time.Time
	turned atomic.Int64  // time of the recorder's last turn, since start
	stall  time.Duration // duration of the slow call to the disk at the last WatchDisk, 0 if none; used by WatchDisk alone
}

// now returns the time since start, on the monotonic clock.
func (p *Progress) now() time.Duration { return time.Since(p.start) }

func (p *Progress) turn(now time.Duration) { p.turned.Store(int64(now)) }

// Stuck returns an error if the recorder makes no progress: it has not turned
// for longer than turn while no call to the disk is pending, or a call to the
// disk has not returned for longer than call. A recorder that waits for a slow
// disk or for its predecessors is not stuck.
func (p *Progress) Stuck(turn, call time.Duration) error {
	name := p.r.cfg.Lane.Interface
	// The turn is read first: if a call to the disk returns in between, the
	// recorder is not stuck.
	since := p.now() - time.Duration(p.turned.Load())
	disk := p.r.writer.Busy()
	state := p.r.visible.get().state
	switch {
	case disk > call:
		return fmt.Errorf("interface %s: a call to the disk has not returned for %v", name, disk.Round(time.Millisecond))
	case disk == 0 && since > turn && state != Ended && p.turns():
		return fmt.Errorf("interface %s: the recorder has not turned for %v", name, since.Round(time.Millisecond))
	}
	return nil
}

// turns reports whether the recorder should turn. It does not while it waits
// for its predecessors.
func (p *Progress) turns() bool {
	select {
	case <-p.r.ready:
		return true
	default:
		return p.r.cfg.Takeover == nil
	}
}

// WatchDisk logs when the recorder's disk stops answering and when it answers
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
