package writer

import (
	"sync/atomic"
	"time"
)

// Busy returns for how long the disk has had the oldest of the calls that it
// was given and has not returned; 0 while there is none. It may be called from
// any goroutine.
func (w *Writer) Busy() time.Duration {
	var longest time.Duration
	for i := range w.disk.calls {
		if began := w.disk.calls[i].began.Load(); began > 0 {
			longest = max(longest, time.Since(w.disk.epoch)-time.Duration(began), 1)
		}
	}
	return longest
}

// A call is what a goroutine of the disk does now.
type call struct {
	began atomic.Int64 // when, from the disk's epoch on; 0: it does nothing
}

func (d *disk) begin(c *call) { c.began.Store(max(int64(time.Since(d.epoch)), 1)) }

func (d *disk) end(c *call) { c.began.Store(0) }
