package writer

import (
	"sync/atomic"
	"time"
)

// Busy returns how long the oldest unfinished disk call has been running, or 0 if no call is
// running. It may be called from any goroutine.
func (w *Writer) Busy() time.Duration {
	var longest time.Duration
	for i := range w.disk.calls {
		if began := w.disk.calls[i].began.Load(); began > 0 {
			longest = max(longest, time.Since(w.disk.epoch)-time.Duration(began), 1)
		}
	}
	return longest
}

// A call records since when one of the disk's goroutines has been inside a call to the kernel.
type call struct {
	began atomic.Int64 // start time, relative to the disk's epoch; 0: idle
}

func (d *disk) begin(c *call) { c.began.Store(max(int64(time.Since(d.epoch)), 1)) }

func (d *disk) end(c *call) { c.began.Store(0) }
