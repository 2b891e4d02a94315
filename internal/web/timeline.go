package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"capd/flow"
	"capd/internal/extract"
	"capd/internal/index"
	"capd/internal/inventory"
	"capd/internal/text"
	"capd/ledger"
)

// A timeline is what came, bin by bin, and what is to be said of it.
type timeline struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	First  time.Time `json:"first,omitzero"` // of all that is held
	Last   time.Time `json:"last,omitzero"`
	Bins   int       `json:"bins"`
	Exact  bool      `json:"exact"`            // packets were counted; else the sums of files are spread over their times
	Why    string    `json:"why,omitempty"`    // it is not exact
	Chosen bool      `json:"chosen,omitempty"` // only what passes the filter is counted

	Packets []float64 `json:"packets"`
	Bytes   []float64 `json:"bytes"`
	Flows   []int     `json:"flows"` // that had packets in the bin; null: not known

	Files   int     `json:"files"`   // of the time
	Unknown int     `json:"unknown"` // of these, with contents that no line of the ledger tells
	Held    int64   `json:"size"`    // bytes on the disk that these have
	Growing bool    `json:"growing"` // files are being written
	Lanes   []lane  `json:"lanes"`
	Verdict verdict `json:"verdict"`
}

// A verdict says whether all is there that came.
type verdict struct {
	Word    string   `json:"word"` // complete, INCOMPLETE or unknown
	Text    string   `json:"text"`
	Reasons []string `json:"reasons"` // the first of them
	More    int      `json:"more,omitempty"`
}

// A lane has what is to be said of times, of one sort. No mark is left out, however short its time is: it has a bin at least.
type lane struct {
	Kind  string `json:"kind"`
	Marks []mark `json:"marks"`
}

// A mark is of the bins from Begin up to End, and without it.
type mark struct {
	Begin  int       `json:"begin"`
	End    int       `json:"end"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	Count  int       `json:"count"`            // things that it stands for
	Frames uint64    `json:"frames,omitempty"` // as far as they were counted
	Causes []string  `json:"causes"`
}

// Kinds of lanes.
const (
	laneLost    = "lost"
	laneGap     = "gap"
	laneDamaged = "damaged"
	laneRetired = "deleted"
	laneHeld    = "held"
)

// laneOf is the lane of what a verdict says is missing.
func laneOf(m *ledger.Missing) string {
	switch m.Cause {
	case ledger.CauseKernel, ledger.CauseCapd, ledger.CauseNIC, ledger.CauseCut, ledger.CauseDiskFull, ledger.CauseNoInodes, ledger.CauseDiskError, ledger.CauseReplaced, ledger.CauseUnread:
		return laneLost
	case ledger.CauseUnclean, ledger.CauseDamaged, ledger.CauseNoFile, ledger.CauseNoLine, ledger.CauseLedger:
		return laneDamaged
	}
	return laneGap
}

// timeline answers GET /v1/timeline.
func (s *Server) timeline(ctx context.Context, q *query) (any, error) {
	looks, err := s.looks(ctx)
	if err != nil {
		return nil, err
	}
	t := newTimeline(looks, q)
	chosen := q.expression != "" || len(q.flows) > 0
	var paths []string
	for i, l := range looks {
		paths = append(paths, t.add(l, q, s.directories[i].path, chosen)...)
	}
	if t.Exact, t.Why, err = s.count(ctx, t, q, paths); err != nil {
		return nil, err
	}
	if t.Chosen = chosen; !chosen && !t.Exact && t.Why == "" {
		t.Why = "the sums of files are spread over their times"
	}
	if !chosen {
		t.addFlows(paths)
	}
	t.judge(looks, q)
	return t, nil
}

// newTimeline returns an empty one: of the time that is asked for, or of all that is held.
func newTimeline(looks []*look, q *query) *timeline {
	t := &timeline{Since: q.since, Until: q.until, Bins: q.bins, Packets: make([]float64, q.bins), Bytes: make([]float64, q.bins)}
	see := func(at time.Time) {
		if at.IsZero() {
			return
		}
		if t.First.IsZero() || at.Before(t.First) {
			t.First = at
		}
		if at.After(t.Last) {
			t.Last = at
		}
	}
	for _, l := range looks {
		for _, f := range l.listing.Files {
			if q.names(f.Interface) {
				s := of(f)
				see(s.begin)
				see(s.end)
			}
		}
		for i := range l.verdicts {
			if v := &l.verdicts[i]; q.names(v.Interface) && v.Since.Before(v.Until) {
				see(v.Since)
				see(v.Until)
			}
		}
	}
	if t.First.IsZero() {
		t.First = time.Now().UTC().Add(-time.Hour)
		t.Last = t.First
	}
	if t.Since.IsZero() {
		t.Since = t.First
	}
	if t.Until.IsZero() {
		t.Until = t.Last.Add(1)
	}
	if !t.Since.Before(t.Until) { // nothing is held of it
		t.Until = t.Since.Add(time.Second)
	}
	return t
}

// names reports whether an interface is asked for.
func (q *query) names(name string) bool {
	return len(q.interfaces) == 0 || slices.Contains(q.interfaces, name)
}

// bin returns the bin of a time, which may be outside.
func (t *timeline) bin(at time.Time) int {
	f := float64(at.Sub(t.Since)) / float64(t.Until.Sub(t.Since)) * float64(t.Bins)
	return int(math.Floor(min(max(f, -1), float64(t.Bins))))
}

// add adds what names and ledger say, and returns the files of the time.
// They are at most one more than are ever asked.
func (t *timeline) add(l *look, q *query, dir string, chosen bool) (paths []string) {
	for _, f := range l.listing.Files {
		s := of(f)
		if !q.names(f.Interface) || !s.begin.Before(t.Until) || !s.end.IsZero() && s.end.Before(t.Since) {
			continue
		}
		if len(paths) <= maxLookups { // more are not asked
			paths = append(paths, filepath.Join(dir, f.Name))
		}
		t.Files++
		t.Held += f.Size
		switch {
		case f.Contents == nil:
			t.Unknown++
		case !chosen:
			t.spread(s, float64(f.Packets), float64(f.Contents.Bytes))
		}
	}
	return paths
}

// spread spreads the sums of a file evenly over its time.
func (t *timeline) spread(s span, packets, bytes float64) {
	width := float64(t.Until.Sub(t.Since)) / float64(t.Bins)
	from, to := float64(s.begin.Sub(t.Since))/width, float64(s.end.Sub(t.Since))/width
	if int(math.Floor(from)) == int(math.Floor(to)) || from >= to {
		if n := int(math.Floor(from)); n >= 0 && n < t.Bins {
			t.Packets[n] += packets
			t.Bytes[n] += bytes
		}
		return
	}
	for n := int(max(from, 0)); n < t.Bins && float64(n) < to; n++ {
		part := (min(to, float64(n+1)) - max(from, float64(n))) / (to - from)
		t.Packets[n] += packets * part
		t.Bytes[n] += bytes * part
	}
}

// errEstimate says why packets are not counted.
var errEstimate = errors.New("more would have to be read than a timeline may: choose less time")

// count counts the packets themselves, if they are few enough to be read.
func (s *Server) count(ctx context.Context, t *timeline, q *query, paths []string) (exact bool, why string, err error) {
	chosen := q.expression != "" || len(q.flows) > 0
	if len(paths) == 0 {
		return true, "", nil
	}
	if !chosen && len(paths) > maxLookups {
		return false, "", nil
	}
	x := s.question(q)
	x.Since, x.Until = t.Since, t.Until
	plan, err := x.Plan(ctx, s.config.Recorders)
	if err != nil {
		return false, "", err
	}
	if n := plan.Bytes(); n > s.config.Limits.Exact {
		return false, fmt.Sprintf("%v (%s)", errEstimate, text.Size(n)), nil
	}
	packets, bytes := make([]float64, t.Bins), make([]float64, t.Bins)
	err = eachPacket(ctx, plan, func(p *found) error {
		if n := t.bin(p.at); n >= 0 && n < t.Bins {
			packets[n]++
			bytes[n] += float64(len(p.packet.Data))
		}
		return nil
	})
	if err != nil {
		return false, "", err
	}
	t.Packets, t.Bytes = packets, bytes
	return true, "", nil
}

// addFlows counts the flows of each bin, if all files have tables and they are few.
func (t *timeline) addFlows(paths []string) {
	if len(paths) == 0 || len(paths) > maxLookups {
		return
	}
	flows := make([]int, t.Bins)
	for _, path := range paths {
		table, err := index.Open(path)
		if err != nil {
			return
		}
		err = table.Each(func(r *flow.Row, _ string) error {
			if r.Inner() || r.First == 0 {
				return nil
			}
			first, last := t.bin(time.Unix(0, r.First)), t.bin(time.Unix(0, r.Last))
			for n := max(first, 0); n <= min(last, t.Bins-1); n++ {
				flows[n]++
			}
			return nil
		})
		table.Close()
		if err != nil {
			return
		}
	}
	t.Flows = flows
}

// judge adds lanes and the verdict.
func (t *timeline) judge(looks []*look, q *query) {
	lanes := make(map[string]*marker)
	for _, kind := range []string{laneLost, laneGap, laneDamaged, laneRetired, laneHeld} {
		lanes[kind] = &marker{t: t}
	}
	var missing []extract.Missing
	known := false
	for _, l := range looks {
		t.Growing = t.Growing || l.grows
		for i := range l.verdicts {
			v := &l.verdicts[i]
			if !q.names(v.Interface) {
				continue
			}
			known = known || v.Since.Before(t.Until) && t.Since.Before(v.Until)
			for n := range v.Missing {
				m := &v.Missing[n]
				if m.Cause == ledger.CauseLive || !lanes[laneOf(m)].add(span{m.Begin, m.End}, m.Frames, string(m.Cause)) {
					continue
				}
				missing = append(missing, extract.Missing{Interface: v.Interface, Cause: m.Cause, Begin: m.Begin, End: m.End, Frames: m.Frames, Where: m.Where})
			}
		}
		retired := 0
		for _, s := range l.retired {
			if lanes[laneRetired].add(s, 0, "deleted by a limit") {
				retired++
			}
		}
		if retired > 0 {
			missing = append(missing, extract.Missing{Cause: extract.CauseRetired, Where: text.Count(retired, "file")})
		}
		for _, f := range l.listing.Files {
			if f.Held && q.names(f.Interface) {
				lanes[laneHeld].add(of(f), 0, "held: limits leave it")
			}
		}
	}
	for _, kind := range []string{laneLost, laneGap, laneDamaged, laneRetired, laneHeld} {
		t.Lanes = append(t.Lanes, lane{kind, lanes[kind].marks()})
	}
	t.Verdict = newVerdict(known, missing)
}

const maxReasons = 20

func newVerdict(known bool, missing []extract.Missing) verdict {
	v := verdict{Word: "complete", Text: "complete: nothing is missing of what was recorded in this time", Reasons: []string{}}
	if !known {
		v.Word, v.Text = "unknown", "unknown: no ledger says what was recorded in this time"
	}
	for i := range missing {
		if i == maxReasons {
			v.More = len(missing) - i
			break
		}
		v.Reasons = append(v.Reasons, missing[i].String())
	}
	if len(missing) > 0 {
		v.Word, v.Text = "INCOMPLETE", "INCOMPLETE: "+missing[0].String()
		if n := len(missing); n > 1 {
			v.Text += fmt.Sprintf("; and %d more", n-1)
		}
	}
	return v
}

// A marker gathers the marks of a lane.
type marker struct {
	t   *timeline
	all []mark
}

// add adds what is to be said of a time. It returns false if that is not of the timeline.
func (m *marker) add(s span, frames uint64, cause string) bool {
	t := m.t
	if s.end.Before(s.begin) {
		s.end = s.begin
	}
	if !s.begin.Before(t.Until) || s.end.Before(t.Since) || s.end.Equal(t.Since) && s.begin.Before(t.Since) {
		return false
	}
	begin, end := max(t.bin(s.begin), 0), t.bin(s.end)
	if !s.begin.Before(s.end) || s.end.Sub(t.Since)%max(1, t.Until.Sub(t.Since)/time.Duration(t.Bins)) != 0 {
		end++ // the bin in which it ends
	}
	begin = min(begin, t.Bins-1)
	end = min(max(end, begin+1), t.Bins)
	m.all = append(m.all, mark{Begin: begin, End: end, Since: s.begin, Until: s.end, Count: 1, Frames: frames, Causes: []string{cause}})
	return true
}

// marks returns them in order, and those that share a bin as one.
func (m *marker) marks() []mark {
	slices.SortStableFunc(m.all, func(a, b mark) int { return cmp.Or(cmp.Compare(a.Begin, b.Begin), a.Since.Compare(b.Since)) })
	out := m.all[:0]
	for i := range m.all {
		next := m.all[i]
		if n := len(out); n > 0 && next.Begin < out[n-1].End {
			out[n-1].join(&next)
		} else {
			out = append(out, next)
		}
	}
	return append([]mark{}, out...)
}

func (m *mark) join(o *mark) {
	m.End, m.Count, m.Frames = max(m.End, o.End), m.Count+o.Count, m.Frames+o.Frames
	if o.Until.After(m.Until) {
		m.Until = o.Until
	}
	for _, c := range o.Causes {
		if !slices.Contains(m.Causes, c) && len(m.Causes) < maxMarks {
			m.Causes = append(slices.Clip(m.Causes), c)
		}
	}
}

// overlaps returns which files may have packets of the time, by their paths.
func (q *query) overlaps(looks []*look, dirs []*directory) func(path string) bool {
	out := make(map[string]bool)
	for i, l := range looks {
		for _, f := range l.listing.Files {
			begin, end := f.Span()
			if f.State == inventory.Recording {
				continue
			}
			if !q.until.IsZero() && !begin.Before(q.until) || !q.since.IsZero() && !end.IsZero() && end.Before(q.since) {
				out[filepath.Join(dirs[i].path, f.Name)] = true
			}
		}
	}
	return func(path string) bool { return !out[path] }
}
