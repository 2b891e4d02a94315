package daemon

import (
	"context"
	"sync"
	"time"

	"capd/internal/control"
	"capd/writer"
)

// sampleEvery is the time between two samples of the counters. history is how
// many samples are kept: a minute.
const (
	sampleEvery = time.Second
	history     = 60
)

// A sampler reads the counters of interfaces once a second and computes rates
// from them, so that recording a frame needs no extra work.
type sampler struct {
	mu   sync.Mutex
	rows map[string]*row
}

// A row has the samples of one interface.
type row struct {
	samples  []sample // oldest first
	lost     uint64
	lastLoss time.Time
	freezes  uint64
	ringHigh float64
}

// A sample has the counters of an interface at one time.
type sample struct {
	at      time.Time
	packets uint64
	bytes   uint64
	lost    uint64
	writes  writer.Latency
	syncs   writer.Latency
}

// sampling is the task that runs a sampler.
type sampling struct {
	*sampler
	look func() []*iface
}

func (s *sampling) String() string { return "sampler" }

// Ready returns nil: a sampler is ready from the start.
func (s *sampling) Ready() <-chan struct{} { return nil }

// Run samples until the context ends.
func (s *sampling) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		s.take(time.Now(), s.look())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// take adds a sample of the present counters.
func (s *sampler) take(now time.Time, all []*iface) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range all {
		r := s.row(i, now)
		if len(r.samples) > history {
			r.samples = append(r.samples[:0], r.samples[1:]...)
		}
		r.samples = append(r.samples, i.sample(now))
	}
}

// row returns the row of the interface, updated from the present counters. The
// caller holds mu.
func (s *sampler) row(i *iface, now time.Time) *row {
	if s.rows == nil {
		s.rows = make(map[string]*row)
	}
	r := s.rows[i.name]
	if r == nil {
		r = new(row)
		s.rows[i.name] = r
	}
	c := countersOf(&i.total)
	if lost := c.Flawed(); lost > r.lost {
		r.lost, r.lastLoss = lost, now
	}
	r.ringHigh = max(r.ringHigh, i.ring)
	if c.Freezes > r.freezes { // the ring was full since the last sample
		r.freezes, r.ringHigh = c.Freezes, 1
	}
	return r
}

// describe fills in the values that need earlier samples.
func (s *sampler) describe(now, start time.Time, i *iface, out *control.Interface) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.row(i, now)
	out.LastLoss = r.lastLoss
	out.Ring.High = r.ringHigh
	present := i.sample(now)
	out.Rates.Start = rate(sample{at: start}, present)
	out.Writes, out.Syncs = latency(&i.total.Writer.Writes), latency(&i.total.Writer.Syncs)
	if len(r.samples) == 0 {
		return
	}
	oldest, last := r.samples[0], r.samples[len(r.samples)-1]
	out.Rates.Minute = rate(oldest, present)
	// Rates cover the last whole interval, since the present one may have just
	// begun.
	if len(r.samples) > 1 {
		out.Rates.Second = rate(r.samples[len(r.samples)-2], last)
	}
	writes, syncs := present.writes.Since(&oldest.writes), present.syncs.Since(&oldest.syncs)
	out.Writes.Minute, out.Syncs.Minute = summary(&writes), summary(&syncs)
}

func rate(from, to sample) control.Rate {
	seconds := to.at.Sub(from.at).Seconds()
	if seconds <= 0 {
		return control.Rate{}
	}
	return control.Rate{
		Packets: float64(to.packets-from.packets) / seconds,
		Bytes:   float64(to.bytes-from.bytes) / seconds,
		Lost:    float64(to.lost-from.lost) / seconds,
	}
}

func latency(l *writer.Latency) control.Latency {
	out := control.Latency{Summary: summary(l), Sum: l.Sum.Seconds(), Max: l.Max.Seconds(), Buckets: make([]control.Bucket, len(l.Buckets))}
	var sum uint64
	for i, n := range l.Buckets {
		sum += n
		out.Buckets[i] = control.Bucket{Seconds: writer.LatencyBound(i).Seconds(), Count: sum}
	}
	return out
}

func summary(l *writer.Latency) control.Summary {
	return control.Summary{Count: l.Count, Median: l.Quantile(0.5).Seconds(), P99: l.Quantile(0.99).Seconds()}
}
