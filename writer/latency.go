package writer

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// firstLatency is the upper bound of a histogram's first bucket; each one after
// it reaches twice as far.
const firstLatency = 64 * time.Microsecond

// LatencyBuckets is how many buckets a histogram has, up to half a minute. What
// took longer is in Latency.Count only.
const LatencyBuckets = 20

// A Latency is a histogram of how long operations of the disk took.
type Latency struct {
	Buckets [LatencyBuckets]uint64 // operations by time; see LatencyBound
	Count   uint64                 // operations, the longest too
	Sum     time.Duration
	Max     time.Duration
}

// LatencyBound returns the longest time that the bucket counts.
func LatencyBound(bucket int) time.Duration { return firstLatency << bucket }

// Add adds up two histograms.
func (l *Latency) Add(m *Latency) {
	for i := range l.Buckets {
		l.Buckets[i] += m.Buckets[i]
	}
	l.Count += m.Count
	l.Sum += m.Sum
	l.Max = max(l.Max, m.Max)
}

// Since returns what came after an earlier state of the histogram; Max stays
// that of all.
func (l *Latency) Since(before *Latency) Latency {
	d := Latency{Count: l.Count - before.Count, Sum: l.Sum - before.Sum, Max: l.Max}
	for i := range l.Buckets {
		d.Buckets[i] = l.Buckets[i] - before.Buckets[i]
	}
	return d
}

// Quantile estimates which time a part q of the operations did not exceed, by
// the bucket that it is in. It is 0 without operations.
func (l *Latency) Quantile(q float64) time.Duration {
	rank := q * float64(l.Count)
	var below float64
	for i, n := range l.Buckets {
		if n > 0 && below+float64(n) >= rank {
			from := LatencyBound(i) / 2
			if i == 0 {
				from = 0
			}
			at := from + time.Duration((rank-below)/float64(n)*float64(LatencyBound(i)-from))
			if l.Max > 0 {
				at = min(at, l.Max)
			}
			return at
		}
		below += float64(n)
	}
	if l.Count == 0 {
		return 0
	}
	return max(l.Max, LatencyBound(LatencyBuckets-1))
}

// A stopwatch keeps a Latency for several goroutines.
type stopwatch struct {
	buckets [LatencyBuckets]atomic.Uint64
	count   atomic.Uint64
	sum     atomic.Int64
	max     atomic.Int64
}

// time runs an operation of the disk.
func (s *stopwatch) time(do func() error) error {
	begun := time.Now()
	err := do()
	s.note(time.Since(begun))
	return err
}

func (s *stopwatch) note(took time.Duration) {
	if i := bits.Len64(uint64(max(took-1, 0) / firstLatency)); i < LatencyBuckets {
		s.buckets[i].Add(1)
	}
	s.sum.Add(int64(took))
	for most := s.max.Load(); int64(took) > most && !s.max.CompareAndSwap(most, int64(took)); most = s.max.Load() {
	}
	s.count.Add(1)
}

// latency returns what was noted so far. While operations go on, Count may be
// of a moment before the rest.
func (s *stopwatch) latency() Latency {
	l := Latency{Sum: time.Duration(s.sum.Load()), Max: time.Duration(s.max.Load()), Count: s.count.Load()}
	var sum uint64
	for i := range l.Buckets {
		l.Buckets[i] = s.buckets[i].Load()
		sum += l.Buckets[i]
	}
	l.Count = max(l.Count, sum)
	return l
}
