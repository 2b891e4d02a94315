package recorder

import (
	"slices"
	"time"

	"capd/writer"
)

// mostFlushes is how many orders to flush may wait for the recorder's next turn.
const mostFlushes = 256

// A flushOrder asks for a flush of all frames that had come at a time.
type flushOrder struct {
	at   time.Time
	done func(writer.Whole)
}

// Flush makes the recorder write all frames that have come up to now, those in the ring too, and calls done when that is over,
// with how much of its current file is on the disk then.
// A recorder that ends does not come to it. Flush returns false if too many orders wait.
func (r *Recorder) Flush(done func(writer.Whole)) bool {
	select {
	case r.orders.flush <- flushOrder{time.Now(), done}:
		return true
	default:
		return false
	}
}

// disorder is how much later than others a frame may come to the ring that has an earlier time: each processor of the kernel has a
// queue of its own before it.
const disorder = 50 * time.Millisecond

// flush follows the orders whose frames the recorder has read: what was read last is newer by disorder. Without so many frames, one
// may lie in a block of the ring for a block timeout and the time until the kernel looks; then either nothing is left to read, or
// what was read last is newer than the order. Devices take times from the system's clock, as orders do.
func (l *loop) flush(idle bool) {
	if len(l.flushing) == 0 && len(l.r.orders.flush) == 0 {
		return
	}
	for len(l.r.orders.flush) > 0 {
		l.flushing = append(l.flushing, <-l.r.orders.flush)
	}
	wait := 2 * time.Duration(l.r.cfg.Settings.BlockTimeout)
	l.flushing = slices.DeleteFunc(l.flushing, func(o flushOrder) bool {
		last := l.r.writer.Last()
		if !last.After(o.at.Add(disorder)) && (time.Since(o.at) < wait || !idle && !last.After(o.at)) {
			return false
		}
		l.r.writer.Flush(o.done)
		return true
	})
}
