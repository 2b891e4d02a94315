package finish

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// A backlog is what a Queue has in memory: a line of files for each step, those
// that are being worked on, and those whose last try failed. Lines are bounded:
// of what finds no room it is only known that there is some.
type backlog struct {
	limit int // most files in a line

	mu      sync.Mutex // guards what follows
	changed sync.Cond  // a line or stopped
	stopped bool
	lines   [][]string      // by the number of the step
	busy    map[string]bool // files in a line or being worked on
	failed  map[string]attempt
	missed  bool  // not all files that need work found room
	stats   Stats // Waiting and Failing are the maps' sizes
}

// An attempt is what is known of a file whose last try failed.
type attempt struct {
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

// put puts the file into the line of a step, unless it is busy. It returns false
// when there is no room.
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

// take waits for the next file of a step's line. It returns false when the Queue
// stops. More says that others, which are not in memory, would find room now.
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

// end notes how a step with a file ended, and puts the file into the line of the
// next step that it needs, -1 for none. It returns how long a file that failed is
// left alone; 0 if it did not.
func (b *backlog) end(name string, out *Outcome, next int) (pause time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.busy, name)
	if out.Err != nil && !errors.Is(out.Err, errNothing) {
		b.stats.Failed[out.Step]++
		pause = min(max(2*b.failed[name].pause, firstPause), lastPause)
		b.failed[name] = attempt{pause, time.Now().Add(pause)}
		return pause
	}
	if out.Err == nil {
		b.stats.Done[out.Step]++
		b.stats.BytesBefore += uint64(out.Size)
		b.stats.BytesAfter += uint64(out.Packed)
	}
	delete(b.failed, name)
	if next >= 0 {
		b.enqueue(next, name)
	}
	return 0
}

// stop lets take return.
func (b *backlog) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	b.changed.Broadcast()
}

// miss notes that there is a file that needs work and is not in memory.
func (b *backlog) miss() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missed = true
}

// due reports whether there is work to be found in the directory, and room for it.
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

// room reports whether the lines are short enough to be worth filling. The
// caller holds mu.
func (b *backlog) room() bool {
	return !slices.ContainsFunc(b.lines, func(line []string) bool { return len(line) > b.limit/2 })
}

// untilRetry returns the time until a file that failed is to be tried again.
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

// waits reports whether the file is in a line or is to be tried again later.
func (b *backlog) waits(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.busy[name] || b.failed[name].next.After(time.Now())
}

// rescan returns the files whose last try failed. All that were missed are about
// to be found.
func (b *backlog) rescan() (failed []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missed = false
	return slices.Collect(maps.Keys(b.failed))
}

// forget drops what is known of a file that failed.
func (b *backlog) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.failed, name)
}

// counters returns the Stats of what is in memory.
func (b *backlog) counters() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Done, s.Failed = maps.Clone(s.Done), maps.Clone(s.Failed)
	s.Waiting, s.Failing = len(b.busy), len(b.failed)
	return s
}
