package finish

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// A backlog is the part of a Queue that is in memory: a line of waiting files
// for each step, the files that are being worked on, and the files whose last
// try failed. Lines are bounded. If a file finds no room in its line, missed is
// set and a later scan of the directory finds it.
type backlog struct {
	limit int // most files in one line

	mu      sync.Mutex // guards what follows
	changed sync.Cond  // signals that a line or stopped has changed
	stopped bool
	lines   [][]string      // by step number
	busy    map[string]bool // files that are in a line or being worked on
	failed  map[string]attempt
	missed  bool  // at least one file that needs work found no room
	stats   Stats // counters; Waiting and Failing are computed from the maps
}

// An attempt is the last failed try of a file.
type attempt struct {
	step  string
	pause time.Duration
	next  time.Time
}

func newBacklog(steps, limit int) *backlog {
	b := &backlog{
		limit: limit, lines: make([][]string, steps), busy: make(map[string]bool), failed: make(map[string]attempt),
		stats: Stats{Done: make(map[string]uint64), Failed: make(map[string]uint64)},
	}
	b.changed.L = &b.mu
	return b
}

// put puts the file into the line of a step, unless the file is busy. It
// returns false if the line is full.
func (b *backlog) put(step int, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.busy[name] || b.enqueue(step, name)
}

func (b *backlog) enqueue(step int, name string) bool {
	if len(b.lines[step]) >= b.limit {
		b.missed = true
		return false
	}
	b.lines[step] = append(b.lines[step], name)
	b.busy[name] = true
	b.changed.Broadcast()
	return true
}

// take waits for the next file in a step's line. It returns false when the
// Queue stops. The result more says that a scan is due: files that are not in
// memory would find room.
func (b *backlog) take(step int) (name string, more, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.lines[step]) == 0 && !b.stopped {
		b.changed.Wait()
	}
	if b.stopped {
		return "", false, false
	}
	name = b.lines[step][0]
	b.lines[step] = b.lines[step][1:]
	return name, b.missed && b.room(), true
}

// end notes the outcome of a step for a file, and puts the file into the line
// of the step that is next, unless that is -1. If the step failed, end returns the time
// until the next try; else 0.
func (b *backlog) end(name string, out *Outcome, next int) (pause time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.busy, name)
	if out.Err != nil && !errors.Is(out.Err, errNothing) {
		b.stats.Failed[out.Step]++
		pause = min(max(2*b.failed[name].pause, firstPause), lastPause)
		b.failed[name] = attempt{out.Step, pause, time.Now().Add(pause)}
		if next >= 0 {
			b.enqueue(next, name)
		}
		return pause
	}
	if out.Err == nil {
		b.stats.Done[out.Step]++
		if out.Step == Compress {
			b.stats.BytesBefore += uint64(out.Size)
			b.stats.BytesAfter += uint64(out.Packed)
		}
	}
	if b.failed[name].step == out.Step { // the step before may have failed, and be tried again
		delete(b.failed, name)
	}
	if next >= 0 {
		b.enqueue(next, name)
	}
	return 0
}

// stop makes every call of take return.
func (b *backlog) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	b.changed.Broadcast()
}

// miss notes that a file that needs work is not in memory.
func (b *backlog) miss() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missed = true
}

// due reports whether a scan of the directory would find work that there is
// room for.
func (b *backlog) due() bool {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.room() {
		return false
	}
	if b.missed {
		return true
	}
	for name, a := range b.failed {
		if !a.next.After(now) && !b.busy[name] {
			return true
		}
	}
	return false
}

// room reports whether the lines are short enough for a scan to be worthwhile.
// The caller holds mu.
func (b *backlog) room() bool {
	return !slices.ContainsFunc(b.lines, func(line []string) bool { return len(line) > b.limit/2 })
}

// untilRetry returns the time until the next failed file is due for another
// try.
func (b *backlog) untilRetry() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := lastPause
	for name, a := range b.failed {
		if !b.busy[name] {
			wait = min(wait, time.Until(a.next))
		}
	}
	return max(wait, scanPause)
}

// waits reports whether the file is in a line or waits for its next try.
func (b *backlog) waits(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.busy[name] || b.failed[name].next.After(time.Now())
}

// rescan begins a scan: it resets missed and returns the files whose last try
// failed.
func (b *backlog) rescan() (failed []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missed = false
	return slices.Collect(maps.Keys(b.failed))
}

// forget removes a file from the failed ones.
func (b *backlog) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.failed, name)
}

// counters returns the Stats of the files in memory.
func (b *backlog) counters() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Done, s.Failed = maps.Clone(s.Done), maps.Clone(s.Failed)
	s.Waiting, s.Failing = len(b.busy), len(b.failed)
	return s
}
