package afpacket

import "time"

// A pace is how fast the blocks of a ring become full.
//
// While they do, a reader waits for several at a time. To be woken up costs as much as some packets, and blocks that are
// there together are written together. A block that the timer closes is never waited for in that way.
type pace struct {
	together int       // blocks to wait for; less than 2: the ring is too small for that
	since    time.Time // the last wait
	blocks   int       // taken since then
	slow     bool      // one of them was closed by the timer
}

// A reader waits for so many blocks at most, of a ring that has many more, and never for longer than that: a frame is on its
// way to the disk a moment after its block is full, and a burst finds the ring nearly empty.
const (
	mostTogether = 4
	ringTogether = 16 // blocks of the ring for each
	longestPause = 10 * time.Millisecond
)

func newPace(blocks int) pace { return pace{together: min(mostTogether, blocks/ringTogether)} }

// took says that a block was taken.
func (p *pace) took(timedOut bool) {
	p.blocks++
	p.slow = p.slow || timedOut
}

// pause returns how long it will take, at the pace since the last call, until several blocks are full; 0 if it is not to be
// waited for.
func (p *pace) pause(now time.Time) time.Duration {
	span, blocks, slow := now.Sub(p.since), p.blocks, p.slow
	p.since, p.blocks, p.slow = now, 0, false
	if p.together < 2 || blocks == 0 || slow {
		return 0
	}
	return min(span/time.Duration(blocks)*time.Duration(p.together), longestPause)
}
