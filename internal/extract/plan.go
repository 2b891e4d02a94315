package extract

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"capd/filter"
	"capd/internal/inventory"
	"capd/internal/text"
	"capd/ledger"
)

// A Plan is what is to be read for a question, and what is known before that to be missing.
type Plan struct {
	Question Question
	Sources  []*Source // in order of time
	Skipped  int       // files that have none of the time
	Answer   Answer    // as far as it is known without reading

	condition *filter.Condition // on flows; nil: any

	known map[string]bool // interfaces of the question: of whom a directory knows anything

	begun time.Time           // before any directory was looked at
	names map[string][]string // by directory, what it calls the interfaces of the question; none: all
	last  map[lane]uint64     // number of the last file of each
}

// A Source is a file that is to be read.
type Source struct {
	Directory string `json:"directory"`
	*inventory.File
	Earliest time.Time `json:"earliest"`        // no packet is older
	Latest   time.Time `json:"latest,omitzero"` // none is newer; zero: not known
	Why      string    `json:"why"`             // it is read
	Reading  Reading   `json:"reading"`         // how much of it

	opens     time.Time // when its first packet may come
	unflushed bool      // packets that had come may not be in it
	flushed   int64     // while it is being written: up to here all is in it that had come; 0: not known
}

// Path returns where the file was.
func (s *Source) Path() string { return filepath.Join(s.Directory, s.Name) }

// Excluded reports whether the flow table of the file says that it has no such packet.
func (s *Source) Excluded() bool { return s.Reading.none }

// plan returns a plan that nothing is in yet.
func (q Question) plan() *Plan {
	return &Plan{
		Question: q, condition: q.condition(), known: make(map[string]bool),
		begun: time.Now(), names: make(map[string][]string), last: make(map[lane]uint64),
		Answer: Answer{Complete: true, Interfaces: []*Part{}, Missing: []Missing{}},
	}
}

// Plan looks at the directories. Capds that record into them write what has come first, so that it is found.
func (q Question) Plan(ctx context.Context, by Recorders) (*Plan, error) {
	p := q.plan()
	var failed error
	for _, dir := range q.Directories {
		if err := p.look(ctx, by, dir); err != nil {
			failed = errors.Join(failed, err)
			p.Answer.miss(Missing{Directory: dir, Cause: CauseUnreadable, Why: err.Error()})
		}
	}
	if unread := p.Answer.Missing; failed != nil && len(p.Sources) == 0 && len(unread) == len(q.Directories) {
		if len(unread) == 1 {
			return nil, failed
		}
		return nil, fmt.Errorf("%w: %w", errNothing, failed)
	}
	for _, names := range q.Interfaces { // each directory may have others
		if !slices.ContainsFunc(names, func(name string) bool { return p.known[name] }) {
			p.Answer.miss(Missing{Interface: names[0], Cause: CauseNothing})
		}
	}
	slices.SortStableFunc(p.Sources, func(a, b *Source) int { return a.Earliest.Compare(b.Earliest) })
	return p, nil
}

// look adds the files of a directory. The order matters: what had come before the flush is in the files that are listed after
// it; and a file that limits delete after that is in the verdict as deleted, or is missed when it is opened.
func (p *Plan) look(ctx context.Context, by Recorders, dir string) error {
	q := &p.Question
	begun := time.Now()
	tables := p.openTables(dir)
	defer func() { _ = tables().Close() }()
	flushed, why := by.Flush(ctx, dir)
	var listing *inventory.Listing
	for end := time.Now().Add(lineTime); ; time.Sleep(linePause) {
		var err error
		if listing, err = List(dir, inventory.Query{}); err != nil {
			return err
		}
		if !flushed.Recorded || !slices.ContainsFunc(listing.Files, lacksLine(dir)) || time.Now().After(end) || ctx.Err() != nil {
			break
		}
	}
	until := q.Until
	if flushed.Recorded && why == nil && (until.IsZero() || until.After(begun)) {
		until = begun // what comes later may not be on the disk
	}
	if why != nil && q.reaches(listing.Files) {
		p.Answer.miss(Missing{Directory: dir, Cause: CauseUnflushed, Begin: newest(listing.Files), Why: why.Error()})
	}
	names := q.names(listing)
	p.names[dir] = names
	for _, f := range listing.Files {
		if len(names) == 0 || slices.Contains(names, f.Interface) {
			p.add(dir, f, flushed, why != nil || !flushed.Recorded)
		}
	}
	defer p.narrow(ctx, dir, tables)()
	if len(names) == 0 {
		return p.judge(ctx, by, dir, "", until, listing)
	}
	for _, name := range names {
		if err := p.judge(ctx, by, dir, name, until, listing); err != nil {
			return err
		}
	}
	return nil
}

const (
	lineTime  = time.Second           // how long a recorder has to add the line of a file that it has finished
	linePause = 10 * time.Millisecond // until the next look for it
	lineAge   = 10 * time.Second      // since the last change of a file of which no line will come
)

// lacksLine reports whether a recorder has just finished a file: its line is added to the ledger after the file got its name.
func lacksLine(dir string) func(*inventory.File) bool {
	return func(f *inventory.File) bool {
		if !f.Whole() || f.Contents != nil {
			return false
		}
		info, err := os.Lstat(filepath.Join(dir, f.Name))
		return err == nil && time.Since(info.ModTime()) < lineAge
	}
}

// reaches reports whether the question is about what a recorder may still have in memory.
func (q *Question) reaches(files []*inventory.File) bool {
	return q.Until.IsZero() || q.Until.After(newest(files)) ||
		slices.ContainsFunc(files, func(f *inventory.File) bool { return f.State == inventory.Recording && f.Begin.Before(q.Until) })
}

// newest returns up to when packets can be on the disk by all that is known.
func newest(files []*inventory.File) (last time.Time) {
	for _, f := range files {
		for _, t := range []time.Time{f.Begin, f.End} {
			if t.After(last) {
				last = t
			}
		}
	}
	return last
}

// names returns the names that the directory knows the interfaces by.
func (q *Question) names(l *inventory.Listing) []string {
	var all []string
	for _, one := range q.Interfaces {
		name := one[0]
		for _, other := range one {
			if slices.ContainsFunc(l.Files, func(f *inventory.File) bool { return f.Interface == other }) {
				name = other
				break
			}
		}
		all = append(all, name)
	}
	return all
}

// add adds a file, if it may have packets of the time.
func (p *Plan) add(dir string, f *inventory.File, by Flushed, unflushed bool) {
	q := &p.Question
	p.saw(dir, f.Name)
	s := &Source{Directory: dir, File: f, Why: "its time overlaps"}
	s.Earliest, s.Latest = f.Span()
	if s.opens = s.Earliest; !f.Ordered() {
		first := f.Begin
		if f.Contents != nil {
			first = earliest(first, f.First, f.Last)
		}
		s.opens = latest(s.Earliest, first.Add(-reorderTime)) // what is older is written late
	}
	if !q.Until.IsZero() && !s.Earliest.Before(q.Until) || !q.Since.IsZero() && !s.Latest.IsZero() && s.Latest.Before(q.Since) {
		p.Skipped++
		return
	}
	switch {
	case f.State == inventory.Recording:
		// The last piece of an encrypted file is only written at its end.
		s.Why, s.unflushed = "it is being written", unflushed || f.Encrypted
		s.flushed = by.Whole[f.Name]
	case f.State == inventory.Unfinished:
		s.Why = "its recorder left it behind"
	case f.Contents == nil:
		s.Why = "the ledger does not say when it ends"
	case q.Since.IsZero() && q.Until.IsZero():
		s.Why = "no time was asked for"
	}
	if f.Contents == nil && f.State != inventory.Recording {
		p.Answer.miss(Missing{Directory: dir, Interface: f.Interface, Cause: ledger.CauseNoLine, Begin: f.Begin, Where: f.Name})
	}
	p.Sources = append(p.Sources, s)
	p.Answer.OfFiles, p.Answer.OfBytes = p.Answer.OfFiles+1, p.Answer.OfBytes+s.Size
}

// earliest returns the earliest of the times that are known.
func earliest(t time.Time, more ...time.Time) time.Time {
	for _, u := range more {
		if !u.IsZero() && u.Before(t) {
			t = u
		}
	}
	return t
}

func latest(t, u time.Time) time.Time {
	if u.After(t) {
		return u
	}
	return t
}

// judge adds what the ledger says of an interface, or of all.
func (p *Plan) judge(ctx context.Context, by Recorders, dir, iface string, until time.Time, l *inventory.Listing) error {
	q := ledger.Question{Interface: iface, Since: p.Question.Since, Until: until}
	a, err := by.Ask(ctx, dir, q)
	if err != nil {
		return err
	}
	p.known[iface] = p.known[iface] || len(a.Verdicts) > 0
	if len(a.Verdicts) == 0 && iface == "" {
		p.Answer.miss(Missing{Directory: dir, Cause: CauseNothing})
	}
	for i := range a.Verdicts {
		v := &a.Verdicts[i]
		if oldest := oldest(l, v); v.Deleted.Files > 0 && p.Question.Since.IsZero() && !oldest.IsZero() {
			// All that is there is asked for, and no more.
			q.Interface, q.Since = v.Interface, oldest
			again, err := by.Ask(ctx, dir, q)
			if err != nil {
				return err
			}
			if len(again.Verdicts) == 1 {
				v = &again.Verdicts[0]
			}
		}
		p.verdict(dir, v)
	}
	return nil
}

// oldest returns when the oldest file of an interface begins that is there, or should be there.
func oldest(l *inventory.Listing, v *ledger.Verdict) (begin time.Time) {
	for _, f := range l.Files {
		if f.Interface == v.Interface && (begin.IsZero() || f.Begin.Before(begin)) {
			begin = f.Begin
		}
	}
	for i := range v.Missing {
		if m := &v.Missing[i]; m.Cause == ledger.CauseNoFile && m.Begin.Before(begin) {
			begin = m.Begin
		}
	}
	return begin
}

// verdict adds a verdict of the ledger.
func (p *Plan) verdict(dir string, v *ledger.Verdict) {
	a := &p.Answer
	if v.Since.Before(v.Until) {
		if a.Since.IsZero() || v.Since.Before(a.Since) {
			a.Since = v.Since
		}
		if v.Until.After(a.Until) {
			a.Until = v.Until
		}
	}
	for _, m := range v.Missing {
		a.miss(Missing{Directory: dir, Interface: v.Interface, Cause: m.Cause, Begin: m.Begin, End: m.End, Frames: m.Frames, Where: m.Where})
	}
	if d := &v.Deleted; d.Files > 0 {
		a.miss(Missing{
			Directory: dir, Interface: v.Interface, Cause: CauseRetired, Begin: d.First, End: d.Last, Frames: d.Packets,
			Where: text.Count(d.Files, "file") + ", limit " + strings.Join(d.Limits, ", "),
		})
	}
	for _, f := range v.Filters {
		if f != p.Question.Expression {
			a.miss(Missing{Directory: dir, Interface: v.Interface, Cause: CauseFiltered, Begin: v.Since, End: v.Until, Where: f})
		}
	}
	switch {
	case len(v.Missing) > 0:
	case v.Growing == nil && len(v.Recording) > 0:
		a.miss(Missing{Directory: dir, Interface: v.Interface, Cause: ledger.CauseLive, Begin: v.Until, Where: strings.Join(v.Recording, ", ")})
	case v.Outcome() != ledger.Complete:
		a.miss(Missing{Directory: dir, Interface: v.Interface, Cause: CauseNothing, Begin: v.Since, End: v.Until})
	}
}
