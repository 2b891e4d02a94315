package writer

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestLatency: quantiles are within a factor of two of the true value; counts and extremes are
// exact.
func TestLatency(t *testing.T) {
	var s stopwatch
	rng := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	var sum time.Duration
	for range 1000 {
		d := time.Duration(rng.ExpFloat64() * float64(10*time.Millisecond))
		s.record(d)
		all, sum = append(all, d), sum+d
	}
	slices.Sort(all)
	l := s.latency()
	if l.Count != 1000 || l.Sum != sum || l.Max != all[999] {
		t.Errorf("%+v", l)
	}
	for _, q := range []float64{0.01, 0.5, 0.99, 1} {
		got, want := l.Quantile(q), all[int(q*1000)-1]
		if got > 2*want+firstLatency || got < want/2 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	before := l
	s.record(time.Hour)
	s.record(0)
	s.record(LatencyBound(3))
	l = s.latency()
	since := l.Since(&before)
	if since.Count != 3 || since.Buckets[0] != 1 || since.Buckets[3] != 1 || l.Max != time.Hour || l.Quantile(1) != time.Hour {
		t.Errorf("%+v", since)
	}
	both := before
	both.Add(&since)
	if both != l {
		t.Errorf("%+v, want %+v", both, l)
	}
	if got := new(Latency).Quantile(0.5); got != 0 {
		t.Errorf("of none: %v", got)
	}
}

// TestLatencyTogether: concurrent updates lose no count.
func TestLatencyTogether(t *testing.T) {
	var s stopwatch
	var noting sync.WaitGroup
	for range 4 {
		noting.Go(func() {
			for i := range 1000 {
				s.record(time.Duration(i) * time.Microsecond)
			}
		})
	}
	noting.Wait()
	if l := s.latency(); l.Count != 4000 || l.Max != 999*time.Microsecond {
		t.Errorf("%+v", l)
	}
}
