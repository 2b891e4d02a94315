package writer

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// firstLatency is the upper bound of a histogram's first bucket. Each further bound is twice the
// one before.
const firstLatency = 64 * time.Microsecond

// LatencyBuckets is how many buckets a histogram has; the last one ends at about half a minute.
// Longer operations are counted in Latency.Count only.
const LatencyBuckets = 20

// A Latency is a histogram of the duration of disk operations.
type Latency struct {
	Buckets [LatencyBuckets]uint64 // operations by duration; see LatencyBound
	Count   uint64                 // all operations, including those longer than the last bucket
	Sum     time.Duration
	Max     time.Duration
}

// LatencyBound returns the longest duration that the bucket counts.
func LatencyBound(bucket int) time.Duration { return firstLatency << bucket }

// Add adds the histogram m.
func (l *Latency) Add(m *Latency) {
	for i := range l.Buckets {
		l.Buckets[i] += m.Buckets[i]
	}
	l.Count += m.Count
	l.Sum += m.Sum
	l.Max = max(l.Max, m.Max)
}

// Since returns the difference to an earlier state of the histogram, except that Max stays the
// overall maximum.
func (l *Latency) Since(before *Latency) Latency {
	d := Latency{Count: l.Count - before.Count, Sum: l.Sum - before.Sum, Max: l.Max}
	for i := range l.Buckets {
		d.Buckets[i] = l.Buckets[i] - before.Buckets[i]
	}
	return d
}

// Quantile estimates the duration that a fraction q of the operations did not exceed, within its
// bucket. It is 0 without operations.
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

// A stopwatch is a Latency that several goroutines may update.
type stopwatch struct {
	buckets [LatencyBuckets]atomic.Uint64
	count   atomic.Uint64
	sum     atomic.Int64
	max     atomic.Int64
}

// time runs a disk operation and records its duration.
func (s *stopwatch) time(do func() error) error {
	begun := time.Now()
	err := do()
	s.record(time.Since(begun))
	return err
}

func (s *stopwatch) record(took time.Duration) {
	if i := bits.Len64(uint64(max(took-1, 0) / firstLatency)); i < LatencyBuckets {
		s.buckets[i].Add(1)
	}
	s.sum.Add(int64(took))
	for most := s.max.Load(); int64(took) > most && !s.max.CompareAndSwap(most, int64(took)); most = s.max.Load() {
	}
	s.count.Add(1)
}

// latency returns the histogram so far. While operations run, Count may be slightly older than the
// other fields.
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
