package ledger

import (
	"cmp"
	"slices"
	"time"
)

// An interval is a time in nanoseconds since 1970, from begin on, up to end and
// without it.
type interval struct{ begin, end int64 }

func intervalOf(begin, end time.Time) interval { return interval{nano(begin), nano(end)} }

// nano returns the time in nanoseconds since 1970, and 0 for a time that is too
// far away for that.
func nano(t time.Time) int64 {
	if y := t.Year(); y < 1700 || y > 2200 {
		return 0
	}
	return t.UnixNano()
}

func (s interval) from() time.Time { return time.Unix(0, s.begin).UTC() }
func (s interval) to() time.Time   { return time.Unix(0, s.end).UTC() }

// overlaps reports whether the intervals share a moment. An interval without
// length is the moment at which it begins.
func (s interval) overlaps(t interval) bool {
	return s.begin < t.end && t.begin < s.end || s.begin == s.end && t.begin <= s.begin && s.begin < t.end
}

// merge returns the intervals in order, and those that touch as one. It reorders
// its argument.
func merge(all []interval) []interval {
	slices.SortFunc(all, func(a, b interval) int { return cmp.Compare(a.begin, b.begin) })
	out := all[:0]
	for _, s := range all {
		if n := len(out); n > 0 && s.begin <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, s.end)
		} else if s.begin < s.end {
			out = append(out, s)
		}
	}
	return out
}

// without returns the parts of s that none of the covered intervals has, which
// merge has returned.
func (s interval) without(covered []interval) []interval {
	var out []interval
	for _, c := range covered {
		if c.end <= s.begin {
			continue
		}
		if c.begin >= s.end {
			break
		}
		if s.begin < c.begin {
			out = append(out, interval{s.begin, c.begin})
		}
		s.begin = c.end
	}
	if s.begin < s.end {
		out = append(out, s)
	}
	return out
}
