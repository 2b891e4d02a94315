package inject

import (
	"encoding/binary"
	"math"
	"time"
)

// A Rate says how fast to inject, and how much.
type Rate struct {
	PacketsPerSecond float64 // 0 is as fast as possible
	Count            uint64  // frames to send; 0 is no end
}

const (
	// fullBurst is the burst at full speed. A call pays for a page pool and
	// an RCU grace period, which is nothing for 100,000 frames.
	fullBurst = 100_000
	// burstTime is the time between paced bursts, where the calls themselves
	// do not take longer: each waits 1 to 3 ms for the kernel. At 1 ms they
	// cost two thirds of a core at any rate, at 2 ms one quarter, at 4 ms no
	// less.
	burstTime = 2 * time.Millisecond
)

// due returns how many frames to send now, when sent were sent in the elapsed
// time, or else how long to wait. Both are 0 when the count is reached.
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
