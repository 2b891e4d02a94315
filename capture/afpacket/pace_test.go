package afpacket

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		ring     int
		span     time.Duration
		blocks   int
		timedOut bool
		want     time.Duration
	}{
		"full blocks":      {128, 4 * ms, 2, false, 8 * ms},
		"fast":             {128, 5 * ms, 100, false, 200 * time.Microsecond},
		"the first":        {128, time.Hour, 1, false, longestPause},
		"none":             {128, 4 * ms, 0, false, 0},
		"closed by timers": {128, 4 * ms, 2, true, 0},
		"a small ring":     {31, 4 * ms, 2, false, 0},
		"a smaller ring":   {32, 4 * ms, 2, false, 4 * ms},
	} {
		p := newPace(c.ring)
		now := time.Now()
		p.pause(now)
		for range c.blocks {
			p.took(c.timedOut)
		}
		if got := p.pause(now.Add(c.span)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := p.pause(now.Add(2 * c.span)); got != 0 {
			t.Errorf("%s: again %v", name, got)
		}
	}
}
