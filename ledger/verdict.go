package ledger

import (
	"capd/store"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// Causes that a verdict adds to those of gaps.
const (
	CauseKernel  Cause = "dropped by the kernel"
	CauseCapd    Cause = "dropped by capd"
	CauseNIC     Cause = "dropped by the interface"
	CauseUnclean Cause = "not finished in order" // what came after the file's last packet is lost, and so are its counters
	CauseDamaged Cause = "file damaged"
	CauseNoFile  Cause = "file missing"      // the ledger names it, and nothing deleted it that tells so
	CauseNoLine  Cause = "not in the ledger" // the file is there, what it lacks is unknown
	CauseUnknown Cause = "unknown"           // no line speaks of the time
	CauseLedger  Cause = "ledger damaged"    // lines can't be read, or were never written
)

// A Question is what a verdict answers.
type Question struct {
	Interface    string    // empty: each of them
	Since, Until time.Time // [Since, Until); zero: from the first, to the last that is known

	// Names are those in the directory; nil asks nothing of the files. Of a
	// directory in use, take what is there before and after reading the ledger.
	Names []string
}

// Missing is something that was not recorded, or is not there any more.
type Missing struct {
	Begin  time.Time `json:"begin"` // when, as far as known
	End    time.Time `json:"end"`
	Cause  Cause     `json:"cause"`
	Frames uint64    `json:"frames,omitempty"` // how many; 0 if nobody could count them
	Where  string    `json:"where,omitempty"`  // the file, or the line of the ledger
}

// A Verdict says whether all frames of an interface are there.
type Verdict struct {
	Interface string    `json:"interface"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	Missing   []Missing `json:"missing,omitempty"` // in order of time
	Files     int       `json:"files"`             // that overlap the time
	Filters   []string  `json:"filters,omitempty"` // that these were recorded with: what did not pass is neither missing nor counted
	Total     Tally     `json:"total"`             // of these files, as a whole
	Deleted   Deletions `json:"deleted"`
}

// Deletions sum up the files that limits have deleted. They are no loss.
type Deletions struct {
	Files   int       `json:"files"`
	Packets uint64    `json:"packets"`
	First   time.Time `json:"first,omitzero"`   // begin of the first
	Last    time.Time `json:"last,omitzero"`    // and end of the last
	Limits  []string  `json:"limits,omitempty"` // that deleted them
}

// Complete reports whether nothing is missing.
func (v *Verdict) Complete() bool { return len(v.Missing) == 0 }

// Lost returns how many frames are missing of those that could be counted.
func (v *Verdict) Lost() (frames uint64) {
	for i := range v.Missing {
		frames += v.Missing[i].Frames
	}
	return frames
}

// Judge answers the question from a ledger's entries, as Read returns
// them, with a verdict for each interface, in order of their names. Counters
// are those of whole files: a file that overlaps the time counts in full.
func Judge(entries iter.Seq2[Entry, error], q Question) ([]Verdict, error) {
	c := newEvidence(q)
	for e, err := range entries {
		var damage *LineError
		switch {
		case err == nil:
			c.hear(&e)
		case !errors.As(err, &damage):
			return nil, err
		case !damage.Torn:
			c.damage = append(c.damage, Missing{Cause: CauseLedger, Where: fmt.Sprintf("%s:%d", damage.File, damage.Line)})
		}
	}
	c.findUnlisted()
	if q.Interface != "" {
		c.of(q.Interface)
	}
	var all []Verdict
	for _, name := range slices.Sorted(maps.Keys(c.ifaces)) {
		if q.Interface == "" || q.Interface == name {
			all = append(all, c.judge(name))
		}
	}
	return all, nil
}

// A heardFile is what a verdict needs of a line.
type heardFile struct {
	name   string
	at     interval
	tally  Tally
	clean  bool
	filter string
}

// heard is what the ledger says of an interface.
type heard struct {
	files       []heardFile
	covered     []interval  // beside the files
	lossy       []heardFile // of these, times in which all that came was lost: no file has a name
	gaps        []gap
	checkpoints map[string]interval
	unlisted    []store.Name
}

type gap struct {
	at     interval
	open   bool // has no end yet
	cause  Cause
	frames uint64
}

// evidence is what entries say.
type evidence struct {
	q       Question
	ifaces  map[string]*heard
	common  heard // of all interfaces
	starts  []int64
	files   map[string]place  // of a file in ifaces, by name
	deleted map[string]string // limit by name
	damage  []Missing
	present map[string]store.State // by name of the finished file
}

type place struct {
	in    *heard
	index int
}

func newEvidence(q Question) *evidence {
	c := &evidence{q: q, ifaces: make(map[string]*heard), files: make(map[string]place), deleted: make(map[string]string)}
	if q.Names == nil {
		return c
	}
	c.present = make(map[string]store.State, len(q.Names))
	for _, s := range q.Names {
		name, state, err := store.Parse(s)
		if err != nil || !state.HasData() && state != store.Recording && state != store.Damaged {
			continue
		}
		finished := name.String()
		if known, ok := c.present[finished]; !ok || !known.HasData() {
			c.present[finished] = state
		}
	}
	return c
}

func (c *evidence) of(iface string) *heard {
	h := c.ifaces[iface]
	if h == nil {
		h = &heard{checkpoints: make(map[string]interval)}
		c.ifaces[iface] = h
	}
	return h
}

// hear takes note of an entry.
func (c *evidence) hear(e *Entry) {
	at := intervalOf(e.Begin, e.End)
	switch e.Kind {
	case KindFile:
		if at.end < at.begin { // the clock was set back meanwhile
			at.end = max(at.begin, nano(e.Last))
		}
		f := heardFile{e.Name, at, e.Tally, e.Clean, e.Filter}
		if p, ok := c.files[e.Name]; ok {
			p.in.files[p.index] = f // salvage knows better
			return
		}
		h := c.of(e.Interface)
		c.files[e.Name] = place{h, len(h.files)}
		h.files = append(h.files, f)
	case KindQuiet:
		h := c.of(e.Interface)
		h.covered = append(h.covered, at)
		if e.KernelDropped+e.CapdDropped+e.NICDropped > 0 {
			h.lossy = append(h.lossy, heardFile{at: at, tally: e.Tally})
		}
	case KindCheckpoint:
		c.of(e.Interface).checkpoints[e.Name] = at
	case KindGap:
		h := &c.common
		if e.Interface != "" {
			h = c.of(e.Interface)
		}
		h.addGap(gap{at, e.End.IsZero(), e.Cause, e.Frames})
	case KindClock:
		if at.begin < at.end { // what the clock skipped never was
			c.common.covered = append(c.common.covered, at)
		}
	case KindStart:
		c.starts = append(c.starts, nano(e.Time))
	case KindDeleted:
		c.deleted[e.Name] = e.Limit
	case KindUnwritten:
		t := interval{nano(e.Time), nano(e.Time)}
		c.damage = append(c.damage, Missing{Begin: t.from(), End: t.to(), Cause: CauseLedger, Where: fmt.Sprintf("%d lines not written", e.Lines)})
	}
}

// addGap adds a gap, or what came of one that was open when it was told.
func (h *heard) addGap(g gap) {
	for i := len(h.gaps) - 1; i >= 0 && i >= len(h.gaps)-100; i-- {
		if o := &h.gaps[i]; o.open && o.cause == g.cause && o.at.begin == g.at.begin {
			*o = g
			return
		}
	}
	h.gaps = append(h.gaps, g)
}

// judge comes to the verdict on an interface.
func (c *evidence) judge(name string) Verdict {
	h := c.ifaces[name]
	covered := slices.Concat(h.covered, slices.Collect(maps.Values(h.checkpoints)))
	for i := range h.files {
		covered = append(covered, h.files[i].at)
	}
	window := c.window(covered, h.gaps)
	covered = merge(append(covered, c.common.covered...))
	v := Verdict{Interface: name, Since: window.from(), Until: window.to()}
	gaps := closeGaps(slices.Concat(h.gaps, c.common.gaps), covered, window)
	for _, g := range gaps {
		v.miss(window, g.at, Missing{Cause: g.cause, Frames: g.frames})
		covered = append(covered, g.at)
	}
	for _, s := range window.without(merge(covered)) {
		c.uncovered(&v, s)
	}
	for i := range h.files {
		if f := &h.files[i]; f.at.overlaps(window) {
			c.judgeFile(&v, window, f)
		}
	}
	for i := range h.lossy {
		v.missDrops(window, &h.lossy[i])
	}
	c.unlisted(&v, window, h)
	for _, m := range c.damage {
		if t := intervalOf(m.Begin, m.End); m.Begin.IsZero() || t.overlaps(window) {
			v.Missing = append(v.Missing, m)
		}
	}
	slices.SortStableFunc(v.Missing, func(a, b Missing) int {
		return cmp.Or(a.Begin.Compare(b.Begin), cmp.Compare(a.Where, b.Where))
	})
	return v
}

// window is the time asked for, or all that is known.
func (c *evidence) window(covered []interval, gaps []gap) interval {
	for _, g := range gaps {
		covered = append(covered, g.at)
	}
	all := interval{}
	for i, s := range covered {
		if i == 0 {
			all = s
		}
		all = interval{min(all.begin, s.begin), max(all.end, s.end)}
	}
	if !c.q.Since.IsZero() {
		all.begin = nano(c.q.Since)
	}
	if !c.q.Until.IsZero() {
		all.end = nano(c.q.Until)
	}
	return all
}

// closeGaps lets gaps that were never told to end last until the next thing
// that was recorded.
func closeGaps(gaps []gap, covered []interval, window interval) []gap {
	for i := range gaps {
		g := &gaps[i]
		if !g.open {
			continue
		}
		next, _ := slices.BinarySearchFunc(covered, g.at.begin, func(s interval, t int64) int { return cmp.Compare(s.begin, t+1) })
		g.at.end = max(window.end, g.at.begin)
		if next < len(covered) {
			g.at.end = covered[next].begin
		}
	}
	return gaps
}

// uncovered tells of a time of which nothing is known: before a start, capd did
// not run.
func (c *evidence) uncovered(v *Verdict, s interval) {
	up := s.begin
	for _, t := range c.starts {
		// A file's name, and so its begin, has whole seconds.
		if t > s.begin && t < s.end+int64(time.Second) {
			up = max(up, min(t, s.end))
		}
	}
	if up > s.begin {
		v.miss(s, interval{s.begin, up}, Missing{Cause: CauseStopped})
	}
	if up < s.end {
		v.miss(s, interval{up, s.end}, Missing{Cause: CauseUnknown})
	}
}

// judgeFile adds up a file and tells what it lacks.
func (c *evidence) judgeFile(v *Verdict, window interval, f *heardFile) {
	v.Files++
	v.Total.add(&f.tally)
	v.missDrops(window, f)
	if f.filter != "" && !slices.Contains(v.Filters, f.filter) {
		v.Filters = append(v.Filters, f.filter)
	}
	if !f.clean {
		v.miss(window, f.at, Missing{Cause: CauseUnclean, Where: f.name})
	}
	state, ok := c.present[f.name]
	limit, deleted := c.deleted[f.name]
	switch {
	case !ok && deleted:
		v.Deleted.add(f, limit)
	case c.present == nil || f.tally.Packets == 0:
	case !ok:
		v.miss(window, f.at, Missing{Cause: CauseNoFile, Frames: f.tally.Packets, Where: f.name})
	case state == store.Damaged:
		v.miss(window, f.at, Missing{Cause: CauseDamaged, Where: f.name})
	}
}

// missDrops tells of frames that were dropped while the file was recorded.
func (v *Verdict) missDrops(window interval, f *heardFile) {
	for _, m := range []Missing{
		{Cause: CauseKernel, Frames: f.tally.KernelDropped},
		{Cause: CauseCapd, Frames: f.tally.CapdDropped},
		{Cause: CauseNIC, Frames: f.tally.NICDropped},
	} {
		if m.Frames > 0 {
			m.Where = f.name
			v.miss(window, f.at, m)
		}
	}
}

// findUnlisted finds the finished files that no line speaks of.
func (c *evidence) findUnlisted() {
	for finished, state := range c.present {
		if _, ok := c.files[finished]; ok || state == store.Recording {
			continue
		}
		if n, err := store.ParseName(finished); err == nil {
			h := c.of(n.Interface)
			h.unlisted = append(h.unlisted, n)
		}
	}
}

// unlisted tells of them.
func (c *evidence) unlisted(v *Verdict, window interval, h *heard) {
	for _, n := range h.unlisted {
		at := interval{nano(n.Start), nano(n.Start)}
		if at.overlaps(window) || c.q.Since.IsZero() && c.q.Until.IsZero() {
			v.Missing = append(v.Missing, Missing{Begin: at.from(), End: at.to(), Cause: CauseNoLine, Where: n.String()})
		}
	}
}

// miss adds what is missing within the window.
func (v *Verdict) miss(window, at interval, m Missing) {
	if !at.overlaps(window) {
		return
	}
	at = interval{max(at.begin, window.begin), min(at.end, window.end)}
	m.Begin, m.End = at.from(), at.to()
	v.Missing = append(v.Missing, m)
}

func (d *Deletions) add(f *heardFile, limit string) {
	if d.Files == 0 || f.at.from().Before(d.First) {
		d.First = f.at.from()
	}
	if f.at.to().After(d.Last) {
		d.Last = f.at.to()
	}
	d.Files++
	d.Packets += f.tally.Packets
	if !slices.Contains(d.Limits, limit) {
		d.Limits = append(d.Limits, limit)
	}
}

// A span is an interval of time in nanoseconds since 1970, the end not
// included.
type interval struct{ begin, end int64 }

func intervalOf(begin, end time.Time) interval { return interval{nano(begin), nano(end)} }

// nano is the time in nanoseconds; those that have no such number are 0.
func nano(t time.Time) int64 {
	if y := t.Year(); y < 1700 || y > 2200 {
		return 0
	}
	return t.UnixNano()
}

func (s interval) from() time.Time { return time.Unix(0, s.begin).UTC() }
func (s interval) to() time.Time   { return time.Unix(0, s.end).UTC() }

// overlaps reports whether the spans share a moment; one without length is
// where it begins.
func (s interval) overlaps(t interval) bool {
	return s.begin < t.end && t.begin < s.end || s.begin == s.end && t.begin <= s.begin && s.begin < t.end
}

// merge returns the spans in order, those that touch as one. It reorders its
// argument.
func merge(spans []interval) []interval {
	slices.SortFunc(spans, func(a, b interval) int { return cmp.Compare(a.begin, b.begin) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.begin <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, s.end)
		} else if s.begin < s.end {
			out = append(out, s)
		}
	}
	return out
}

// without returns the parts of s that none of the merged spans covers.
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
