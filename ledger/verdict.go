package ledger

import (
	"cmp"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"capd/store"
)

// The causes that a verdict adds to those of gaps.
const (
	CauseKernel  Cause = "dropped by the kernel"
	CauseCapd    Cause = "dropped by capd"
	CauseNIC     Cause = "dropped by the interface"
	CauseCut     Cause = "too large to be kept whole" // packets are there, but cut although no snaplen asked for it
	CauseXDP     Cause = "an XDP program was attached: frames may not have reached capd"
	CauseLive    Cause = "being recorded"        // a file that is being written has the time: what it lacks is not known yet
	CauseUnclean Cause = "not finished in order" // the frames after the file's last packet are lost, and so are its counters
	CauseDamaged Cause = "file damaged"
	CauseNoFile  Cause = "file missing"      // the file has a line, but it is gone and no limit deleted it
	CauseNoLine  Cause = "not in the ledger" // the file exists or was deleted, but it has no line: what it lacks is unknown
	CauseUnknown Cause = "unknown"           // no line is about the time
	CauseLedger  Cause = "ledger damaged"    // lines can't be read, or were never written
)

// A Question is what a verdict answers.
type Question struct {
	Interface    string    // empty: all
	Since, Until time.Time // [Since, Until); zero: from the first, and up to the last moment that the ledger knows

	// Names are those in the directory; with nil the verdict does not say which
	// files are gone. If another process records into the directory, they are the
	// names before and after the ledger was read together.
	Names []string
	Live  bool // another process records into the directory: its unfinished files are growing

	// Growing is what that process knows by interface; without an interface in it nobody was asked.
	Growing map[string]Growing
}

// Growing is what a recorder knows of an interface that no line of the ledger is about yet.
type Growing struct {
	Time      time.Time // when it said so
	Recording bool      // what came up to then is recorded, but what the Tally calls lost
	Tally               // of the frames since the last line
}

// Missing says which frames were not recorded, or are no longer there.
type Missing struct {
	Begin  time.Time `json:"begin"` // of the time in which they came, as far as it is known
	End    time.Time `json:"end"`
	Cause  Cause     `json:"cause"`
	Frames uint64    `json:"frames,omitempty"` // how many; 0 if they could not be counted
	Where  string    `json:"where,omitempty"`  // name of the file, or line of the ledger; of a gap: what the system said
}

// A Verdict says whether all frames of an interface are there.
type Verdict struct {
	Interface string    `json:"interface"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	Missing   []Missing `json:"missing,omitempty"`  // in order of time
	Files     int       `json:"files"`              // how many files overlap the time
	Filters   []string  `json:"filters,omitempty"`  // of these files: frames that did not pass are neither missing nor counted
	Snaplens  []uint64  `json:"snaplens,omitempty"` // of these files, where they were configured: what they cut is not missing
	Total     Tally     `json:"total"`              // of these files, as a whole
	Deleted   Deletions `json:"deleted"`
	Recording []string  `json:"recording,omitempty"` // files that are being written
	Growing   *Tally    `json:"growing,omitempty"`   // of these, up to now; nil: not known, nor what they lack
}

// An Outcome is what a verdict comes to.
type Outcome uint8

// Outcomes.
const (
	Complete   Outcome = iota // nothing is missing
	Incomplete                // something is
	Unknown                   // as far as anything is known nothing is missing, and not all is known
)

// Outcome says what the verdict comes to.
func (v *Verdict) Outcome() Outcome {
	if v.Files == 0 && len(v.Missing) == 0 && !v.Since.Before(v.Until) {
		return Unknown
	}
	o := Complete
	for i := range v.Missing {
		if v.Missing[i].Cause != CauseLive {
			return Incomplete
		}
		o = Unknown
	}
	return o
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

// Judge answers the question from the entries of a ledger, as Read returns them.
// It returns a verdict for each interface, in the order of their names. A file
// that overlaps the time counts with all its packets.
func Judge(entries iter.Seq2[Entry, error], q Question) ([]Verdict, error) {
	ev := newEvidence(q)
	for e, err := range entries {
		var damage *LineError
		switch {
		case err == nil:
			ev.note(&e)
		case !errors.As(err, &damage):
			return nil, err
		default:
			ev.noteDamage(damage)
		}
	}
	ev.findUnlisted()
	for name := range q.Growing {
		ev.of(name) // it has a verdict before it has a file
	}
	if q.Interface != "" {
		ev.of(q.Interface) // it has a verdict even if the ledger does not know it
	}
	var all []Verdict
	for _, name := range slices.Sorted(maps.Keys(ev.interfaces)) {
		if q.Interface == "" || q.Interface == name {
			all = append(all, ev.judge(name))
		}
	}
	return all, nil
}

// judge returns the verdict on an interface.
func (ev *evidence) judge(name string) Verdict {
	i := ev.interfaces[name]
	covered := slices.Concat(i.quiet, slices.Collect(maps.Values(i.checkpoints)))
	for n := range i.files {
		covered = append(covered, i.files[n].at)
	}
	growing, known := ev.growing(name, covered)
	seen := covered
	if known {
		seen = append(slices.Clone(covered), growing.at)
	}
	window := ev.window(seen, i.gaps, i.unended)
	if known && ev.question.Growing[name].Recording {
		covered = append(covered, growing.at)
	}
	covered = merge(append(covered, ev.common.quiet...))
	v := Verdict{Interface: name, Since: window.from(), Until: window.to()}
	gaps := closeGaps(slices.Concat(i.gaps, ev.common.gaps), covered, window)
	for _, g := range gaps {
		v.addMissing(window, g.at, Missing{Cause: g.cause, Frames: g.frames, Where: g.why})
		covered = append(covered, g.at)
	}
	for _, s := range window.without(merge(covered)) {
		ev.addUncovered(&v, s, i)
	}
	for n := range i.files {
		if f := &i.files[n]; f.at.overlaps(window) {
			ev.judgeFile(&v, window, f)
		}
	}
	for n := range i.lossy {
		v.addDrops(window, &i.lossy[n])
	}
	if known && growing.at.overlaps(window) {
		v.Growing = &growing.tally
		v.addDrops(window, &growing)
	}
	ev.addHidden(&v, window, i)
	ev.addUnlisted(&v, window, i)
	ev.addUnended(&v, window, i)
	for _, m := range ev.damage {
		if t := intervalOf(m.Begin, m.End); m.Begin.IsZero() || t.overlaps(window) {
			v.Missing = append(v.Missing, m)
		}
	}
	slices.SortStableFunc(v.Missing, func(a, b Missing) int {
		return cmp.Or(a.Begin.Compare(b.Begin), cmp.Compare(a.Where, b.Where))
	})
	return v
}

// growing returns what a recorder has said of the time since the last line, as if that were a file. It is not known if nobody was
// asked.
func (ev *evidence) growing(name string, covered []interval) (f fileEvidence, known bool) {
	g, ok := ev.question.Growing[name]
	if !ok || !ev.question.Live {
		return f, false
	}
	f = fileEvidence{at: interval{0, nano(g.Time)}, tally: g.Tally, clean: true}
	for _, s := range covered {
		f.at.begin = max(f.at.begin, s.end)
	}
	for _, t := range ev.starts {
		f.at.begin = max(f.at.begin, t)
	}
	unended := ev.interfaces[name].unended
	if f.at.begin == 0 && len(unended) > 0 {
		f.at.begin = nano(unended[0].Start)
	}
	f.at.begin = min(f.at.begin, f.at.end)
	if len(unended) == 1 {
		f.name = unended[0].String() + store.Partial
	}
	return f, true
}

// window returns the time that the question is about.
func (ev *evidence) window(covered []interval, gaps []gap, unended []store.Name) interval {
	for _, g := range gaps {
		covered = append(covered, g.at)
	}
	if len(covered) == 0 {
		for _, n := range unended { // nothing else is known
			covered = append(covered, interval{nano(n.Start), nano(n.Start)})
		}
	}
	all := interval{}
	for i, s := range covered {
		if i == 0 {
			all = s
		}
		all = interval{min(all.begin, s.begin), max(all.end, s.end)}
	}
	if !ev.question.Since.IsZero() {
		all.begin = nano(ev.question.Since)
	}
	if !ev.question.Until.IsZero() {
		all.end = nano(ev.question.Until)
	}
	return all
}

// closeGaps gives gaps whose end is not known the begin of the next time that
// was recorded as their end.
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

// judgeFile adds a file to the totals, and what it lacks to what is missing.
func (ev *evidence) judgeFile(v *Verdict, window interval, f *fileEvidence) {
	v.Files++
	v.Total.add(&f.tally)
	v.addDrops(window, f)
	if f.filter != "" && !slices.Contains(v.Filters, f.filter) {
		v.Filters = append(v.Filters, f.filter)
	}
	if f.snaplen > 0 && !slices.Contains(v.Snaplens, f.snaplen) {
		v.Snaplens = append(v.Snaplens, f.snaplen)
	}
	if !f.clean {
		v.addMissing(window, f.at, Missing{Cause: CauseUnclean, Where: f.name})
	}
	state, ok := ev.present[f.name]
	limit, deleted := ev.deleted[f.name]
	switch {
	case !ok && deleted:
		v.Deleted.add(f, limit)
	case ev.present == nil || f.tally.Packets == 0:
	case !ok:
		v.addMissing(window, f.at, Missing{Cause: CauseNoFile, Frames: f.tally.Packets, Where: f.name})
	case state == store.Damaged:
		v.addMissing(window, f.at, Missing{Cause: CauseDamaged, Where: f.name})
	}
}

// addDrops adds the frames that were dropped while the file was recorded.
func (v *Verdict) addDrops(window interval, f *fileEvidence) {
	for _, m := range []Missing{
		{Cause: CauseKernel, Frames: f.tally.KernelDropped},
		{Cause: CauseCapd, Frames: f.tally.CapdDropped},
		{Cause: CauseNIC, Frames: f.tally.NICDropped},
		{Cause: CauseCut, Frames: f.tally.Oversized},
	} {
		if m.Frames > 0 {
			m.Where = f.name
			v.addMissing(window, f.at, m)
		}
	}
}

// addHidden adds the times in which an XDP program may have kept frames from
// capd. How many is known to nobody.
func (ev *evidence) addHidden(v *Verdict, window interval, i *interfaceEvidence) {
	for n, h := range i.hidden {
		if h.open {
			h.at.end = max(window.end, h.at.begin)
			for _, next := range i.hidden[n+1:] {
				h.at.end = min(h.at.end, max(next.at.begin, h.at.begin))
			}
			for _, t := range ev.starts { // the run that saw it is over
				if t > h.at.begin {
					h.at.end = min(h.at.end, t)
				}
			}
		}
		v.addMissing(window, h.at, Missing{Cause: CauseXDP, Where: h.program})
	}
}

// addUnlisted adds the files that no line is about.
func (ev *evidence) addUnlisted(v *Verdict, window interval, i *interfaceEvidence) {
	for _, n := range i.unlisted {
		at := interval{nano(n.Start), nano(n.Start)}
		if at.overlaps(window) || ev.question.Since.IsZero() && ev.question.Until.IsZero() {
			v.Missing = append(v.Missing, Missing{Begin: at.from(), End: at.to(), Cause: CauseNoLine, Where: n.String()})
		}
	}
	for _, n := range i.vanished {
		at := interval{nano(n.Start), nano(n.Start)}
		if at.begin >= window.begin && (at.begin < window.end || ev.question.Until.IsZero()) { // lines of what is older may be gone too
			v.Missing = append(v.Missing, Missing{Begin: at.from(), End: at.to(), Cause: CauseNoLine, Where: n.String()})
		}
	}
}

// addUnended adds the files that have not ended: those that are being written, and
// those that a recorder left behind. What the latter lack is unknown until the next
// start of capd finishes them.
func (ev *evidence) addUnended(v *Verdict, window interval, i *interfaceEvidence) {
	for _, n := range i.unended {
		at := interval{nano(n.Start), nano(n.Start)}
		if c, ok := i.checkpoints[n.String()]; ok {
			at.end = max(at.end, c.end)
		}
		if q := &ev.question; !q.Until.IsZero() && at.begin >= window.end {
			continue
		}
		where := n.String() + store.Partial
		if ev.question.Live {
			v.Recording = append(v.Recording, where)
		} else {
			v.Missing = append(v.Missing, Missing{Begin: at.from(), End: at.to(), Cause: CauseUnclean, Where: where})
		}
	}
}

// addMissing adds what is missing in the part of a time that is in the window.
func (v *Verdict) addMissing(window, at interval, m Missing) {
	if !at.overlaps(window) {
		return
	}
	at = interval{max(at.begin, window.begin), min(at.end, window.end)}
	m.Begin, m.End = at.from(), at.to()
	v.Missing = append(v.Missing, m)
}

func (d *Deletions) add(f *fileEvidence, limit string) {
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
