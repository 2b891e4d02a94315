package retain

import "time"

// effectWait is how long a file system may take to show what a deletion has
// freed. Btrfs shows it with its next commit, after 30 seconds by default.
const effectWait = time.Minute

// An effect is what the file system shows of deletions for its sake: of the
// bytes that they freed, or of the inodes. What it has not shown yet counts as
// free, so that no more files go than have to.
type effect struct {
	owed    []debt    // oldest first
	free    uint64    // at the last look
	written uint64    // by capd into the directory, ever
	shown   time.Time // when free rose the last time by what a deletion would explain
	stopped bool      // deletions have no effect
	resume  uint64    // free from here on says that they have again
}

// A debt is what one deletion freed and the file system has not shown.
type debt struct {
	at      time.Time
	size    uint64 // freed
	rest    uint64 // of it, not shown yet
	free    uint64 // as it was before
	written uint64 // by capd into the directory, as it was before
}

// look takes note of what the file system says is free, and returns what to
// plan with. None is true when it has just turned out that deletions have no
// effect.
func (e *effect) look(now time.Time, free uint64) (plan uint64, none bool) {
	rise := free - min(free, e.free)
	e.free = free
	if len(e.owed) > 0 && rise > 0 && rise >= e.owed[0].size/4 {
		e.shown = now
	}
	if e.stopped && free >= e.resume {
		e.stopped = false
	}
	for len(e.owed) > 0 && rise > 0 {
		paid := min(rise, e.owed[0].rest)
		rise -= paid
		if e.owed[0].rest -= paid; e.owed[0].rest == 0 {
			e.owed = e.owed[1:]
		}
	}
	for len(e.owed) > 0 && now.Sub(e.owed[0].at) >= effectWait {
		if d := &e.owed[0]; e.without(d) {
			none = none || !e.stopped
			e.stopped = true
			e.resume = free + max(d.size/4, 1)
		}
		e.owed = e.owed[1:]
	}
	if e.stopped {
		e.owed = nil
		return enough.Free, none
	}
	for _, d := range e.owed {
		free += d.rest
	}
	return free, none
}

// without reports whether the deletion, which is long ago, had no effect: nothing
// was freed since, and what capd wrote explains what is free now. Where others
// fill the disk too that can't be known, and the floor of the limit is worth more.
func (e *effect) without(d *debt) bool {
	if e.shown.After(d.at) {
		return false
	}
	others := int64(d.free) - int64(e.free) - int64(e.written-d.written)
	return others <= int64(d.size/4) && -others <= int64(d.size/4)
}

// deleted notes a deletion.
func (e *effect) deleted(now time.Time, size uint64) {
	if size > 0 {
		e.owed = append(e.owed, debt{at: now, size: size, rest: size, free: e.free, written: e.written})
	}
}
