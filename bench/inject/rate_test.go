package inject

import (
	"math"
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name    string
		rate    Rate
		elapsed time.Duration
		sent    uint64
		n       uint32
		wait    time.Duration
	}{
		{"full speed", Rate{}, 0, 0, fullBurst, 0},
		{"full speed, last", Rate{Count: 100_001}, 0, 100_000, 1, 0},
		{"count reached", Rate{Count: 10}, 0, 10, 0, 0},
		{"count exceeded", Rate{Count: 10}, 0, 11, 0, 0},
		{"start of a paced run", Rate{PacketsPerSecond: 1e6}, 0, 0, 0, 2 * ms},
		{"burst due", Rate{PacketsPerSecond: 1e6}, 2 * ms, 0, 2000, 0},
		{"late: catch up", Rate{PacketsPerSecond: 1e6}, 5 * ms, 2000, 3000, 0},
		{"very late: not all at once", Rate{PacketsPerSecond: 1e6}, time.Second, 0, fullBurst, 0},
		{"on time", Rate{PacketsPerSecond: 1e6}, 3 * ms, 2000, 0, ms},
		{"slow: one by one", Rate{PacketsPerSecond: 10}, 0, 0, 0, 100 * ms},
		{"slow: due", Rate{PacketsPerSecond: 10}, 100 * ms, 0, 1, 0},
		{"last burst is small", Rate{PacketsPerSecond: 1e6, Count: 2010}, 2010 * time.Microsecond, 2000, 10, 0},
	}
	for _, tt := range tests {
		if n, wait := tt.rate.due(tt.elapsed, tt.sent); n != tt.n || wait != tt.wait {
			t.Errorf("%s: send %d, wait %v; want %d, %v", tt.name, n, wait, tt.n, tt.wait)
		}
	}
}

// TestDueKeepsRate simulates paced runs with a clock of its own, and calls that take as long as the
// kernel's.
func TestDueKeepsRate(t *testing.T) {
	for _, pps := range []float64{3, 999, 50_000, 300_000, 1e6} {
		r := Rate{PacketsPerSecond: pps, Count: uint64(2 * pps)}
		var now time.Duration
		var sent uint64
		for {
			n, wait := r.due(now, sent)
			if n == 0 && wait == 0 {
				break
			}
			if now += wait; n > 0 {
				sent += uint64(n)
				now += time.Millisecond + time.Duration(n)*250
			}
		}
		if sent != r.Count || math.Abs(now.Seconds()-2) > 0.01 {
			t.Errorf("%g a second: %d frames in %v", pps, sent, now)
		}
	}
}
