package inventory

import "time"

// A clock is a step of the system's clock.
type clock struct{ before, after time.Time }

// slack is how far packets may be older or newer than those that come before and after them in the file.
const slack = time.Minute

// Ordered reports whether no packet of the file is older than the one before, by what the ledger says.
func (f *File) Ordered() bool { return f.Contents != nil && f.Clean && f.Inversions == 0 }

// Span returns between which times all packets of the file lie. A zero end is not known: that of a file that is being
// written, and of one of which the ledger says nothing or not all.
func (f *File) Span() (begin, end time.Time) {
	begin = f.Begin
	if f.Contents == nil || !f.Clean {
		return f.stepped(begin.Add(-slack), time.Time{})
	}
	end = begin
	for _, t := range []time.Time{f.First, f.Last, f.End} {
		if t.IsZero() {
			continue
		}
		if t.Before(begin) {
			begin = t
		}
		if t.After(end) {
			end = t
		}
	}
	if f.Ordered() {
		return begin, end
	}
	return f.stepped(begin.Add(-slack), end.Add(slack))
}

// stepped widens a span to where the clock was set meanwhile.
func (f *File) stepped(begin, end time.Time) (time.Time, time.Time) {
	in := func(t time.Time) bool { return !t.Before(begin) && (end.IsZero() || !t.After(end)) }
	for again := true; again; {
		again = false
		for _, c := range f.clocks {
			if in(c.before) == in(c.after) {
				continue
			}
			for _, t := range []time.Time{c.before, c.after} {
				if t.Before(begin) {
					begin, again = t, true
				}
				if !end.IsZero() && t.After(end) {
					end, again = t, true
				}
			}
		}
	}
	return begin, end
}
