package inject

import (
	"encoding/binary"
	"math"
	"time"
)

// A Rate is how fast, and how many, frames are injected.
type Rate struct {
	PacketsPerSecond float64 // 0: as fast as possible
	Count            uint64  // number of frames; 0: no limit
}

const (
	// fullBurst is the burst size at full speed. The fixed cost of a call, a page pool and an RCU
	// grace period, is negligible for 100,000 frames.
	fullBurst = 100_000
	// burstTime is the time between paced bursts, unless the calls themselves take longer: each
	// waits 1 to 3 ms for the kernel. At intervals of 1 ms they use two thirds of a core at any
	// rate, at 2 ms a quarter, and at 4 ms not less.
	burstTime = 2 * time.Millisecond
)

// due returns how many frames to send now, if sent frames were sent in the elapsed time, or else
// how long to wait. Both are 0 when the count is reached.
func (r Rate) due(elapsed time.Duration, sent uint64) (n uint32, wait time.Duration) {
	left := uint64(math.MaxUint64)
	if r.Count > 0 {
		left = r.Count - min(r.Count, sent)
	}
	if left == 0 {
		return 0, 0
	}
	if r.PacketsPerSecond <= 0 {
		return uint32(min(left, fullBurst)), 0
	}
	return r.paced(elapsed, sent, left)
}

func (r Rate) paced(elapsed time.Duration, sent, left uint64) (uint32, time.Duration) {
	owed := uint64(elapsed.Seconds() * r.PacketsPerSecond)
	least := uint64(max(1, r.PacketsPerSecond*burstTime.Seconds()))
	if behind := owed - min(owed, sent); behind >= min(least, left) {
		return uint32(min(behind, left, fullBurst)), 0
	}
	next := float64(sent+min(least, left)) / r.PacketsPerSecond
	return 0, max(time.Duration(math.Ceil(next*float64(time.Second)))-elapsed, time.Microsecond)
}

func putNative(b []byte, v int) { binary.NativeEndian.PutUint32(b, uint32(v)) }
