package extract

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"capd/internal/inventory"
	"capd/internal/text"
	"capd/ledger"
	"capd/store"
)

// A lane is one sequence of files in a directory.
type lane struct {
	directory string
	store.Lane
}

// saw notes that a file is known.
func (p *Plan) saw(dir, base string) {
	if n, _, err := store.Parse(base); err == nil {
		of := lane{dir, n.Of()}
		p.last[of] = max(p.last[of], n.Sequence)
	}
}

const (
	// followPace is the time between two looks at what was recorded. Whoever follows looks at the same moments, so that one flush
	// does for all.
	followPace = 250 * time.Millisecond
	// verdictPatience is how long the last look at the ledger may take.
	verdictPatience = 5 * time.Second
)

// Follow answers as Find does, and then goes on with what is recorded, until the context ends, a limit is reached or the packets
// can't be written. No packet comes twice, and none is left out that Find would give. The end of the context is no reason for
// INCOMPLETE: the answer is about what had come up to its Until.
func (p *Plan) Follow(ctx context.Context, by Recorders, out Output) (*Answer, error) {
	x, err := p.begin(out)
	if err != nil {
		return nil, err
	}
	x.follows = true
	defer context.AfterFunc(ctx, func() { x.stopped.Store(true) })()
	f := &following{plan: p, x: x, by: by, looked: make(map[string]time.Time)}
	reached := time.Time{}
	for now := p.begun; ; now = f.next(ctx) {
		x.horizon = now.UnixNano()
		x.fail(x.merge())
		if x.failure == nil {
			x.fail(x.flush())
		}
		if x.stopped.Load() || x.failure != nil {
			break
		}
		if reached = now; out.Reached != nil {
			out.Reached(reached)
		}
		if !f.wait(ctx) {
			break
		}
	}
	if reached.After(p.begun) {
		f.judge(ctx, reached)
	}
	a, err := x.finish(reached.IsZero() && (ctx.Err() != nil || Left(x.failure)))
	if Left(err) {
		a.Complete = len(a.Missing) == 0
	}
	return a, err
}

// Left reports whether an error of Follow says that whoever read the packets has gone, which is how most end.
func Left(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) }

// A following goes on where the files of a plan end.
type following struct {
	plan   *Plan
	x      *extraction
	by     Recorders
	looked map[string]time.Time // when directories had been changed, as far as they were listed
	order  int
}

// wait waits for the next look. It returns false if there is none.
func (f *following) wait(ctx context.Context) bool {
	now := time.Now()
	select {
	case <-ctx.Done():
		return false
	case <-time.After(now.Truncate(followPace).Add(followPace).Sub(now)):
		return true
	}
}

// next makes what has come up to now readable, and returns when that was: later packets may be in some files and in others not yet.
func (f *following) next(ctx context.Context) time.Time {
	now := time.Now()
	whole := make(map[string]map[string]int64)
	for _, dir := range f.plan.Question.Directories {
		flushed, _ := f.by.Flush(ctx, dir) // without, packets come when their recorder writes them
		whole[dir] = flushed.Whole
		if err := f.look(dir); err != nil {
			f.x.answer.miss(Missing{Directory: dir, Cause: CauseUnreadable, Why: err.Error()})
		}
	}
	x := f.x
	for _, s := range x.streams {
		s.more(whole[s.Directory][s.Name])
	}
	resting := x.resting
	x.resting = nil
	for _, s := range resting {
		s.more(whole[s.Directory][s.Name])
		heap.Push(&x.streams, s)
	}
	return now
}

// look adds the files of a directory that began since.
func (f *following) look(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	changed := info.ModTime()
	if changed.Equal(f.looked[dir]) && time.Since(changed) > time.Second { // a clock may not tell two changes apart
		return nil
	}
	entries, err := store.Entries(dir)
	if err != nil {
		return err
	}
	f.looked[dir] = changed
	found := make(map[store.Name]store.State)
	for _, e := range entries {
		n, state, err := store.Parse(e.Name())
		if err != nil || rank(state) == 0 || n.Sequence <= f.plan.last[lane{dir, n.Of()}] || !f.plan.wants(dir, n.Interface) {
			continue
		}
		if other, also := found[n]; !also || rank(state) > rank(other) {
			found[n] = state
		}
	}
	var all []store.Name
	for n := range found {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b store.Name) int { return cmp.Compare(a.Sequence, b.Sequence) })
	for _, n := range all {
		f.add(dir, n, found[n])
	}
	return nil
}

// states are those of files that are read, the best one first.
var states = []store.State{store.Finished, store.Zstd, store.Gzip, store.Recording, store.Damaged}

// rank is higher for what is rather read, and 0 for what is not.
func rank(s store.State) int {
	if i := slices.Index(states, s); i >= 0 {
		return len(states) - i
	}
	return 0
}

// wants reports whether an interface, by a directory's name for it, is one of the question.
func (p *Plan) wants(dir, name string) bool {
	names := p.names[dir]
	return len(names) == 0 || slices.Contains(names, name)
}

// add adds a file that began since, and says which before it are gone.
func (f *following) add(dir string, n store.Name, state store.State) {
	of := lane{dir, n.Of()}
	if last, known := f.plan.last[of]; known && n.Sequence > last+1 {
		f.x.answer.miss(Missing{
			Directory: dir, Interface: n.Interface, Cause: CauseVanished, End: n.Start,
			Why: text.Count(n.Sequence-last-1, "file") + " before " + n.String(),
		})
	}
	f.plan.last[of] = n.Sequence
	file := &inventory.File{Name: n.String() + state.Ext(), Interface: n.Interface, Lane: n.Lane, State: inventory.Recording, Begin: n.Start}
	if state == store.Zstd || state == store.Gzip || state == store.Damaged {
		info, err := os.Lstat(filepath.Join(dir, file.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist): // it says so when it is opened
		case err == nil:
			file.Size = info.Size()
		}
		file.State = map[bool]inventory.State{true: inventory.Damaged, false: inventory.Compressed}[state == store.Damaged]
	}
	f.order++
	s := &Source{Directory: dir, File: file, Earliest: n.Start, opens: n.Start.Add(-reorderTime), Why: "it began later"}
	f.x.answer.OfFiles++
	heap.Push(&f.x.streams, &stream{Source: s, x: f.x, order: len(f.plan.Sources) + f.order, progress: progress{last: state != store.Recording}})
}

// judge adds what was lost since the plan was made, up to the time that was reached. What has become of files the answer knows better.
func (f *following) judge(ctx context.Context, until time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), verdictPatience)
	defer cancel()
	q, a := f.plan.Question, &f.x.answer
	q.Since = f.plan.begun
	p := q.plan()
	for _, dir := range q.Directories {
		end := time.Time{} // what the ledger knows
		if flushed, err := f.by.Flush(ctx, dir); flushed.Recorded && err == nil {
			end = time.Now()
		}
		names := f.plan.names[dir]
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			if err := p.judge(ctx, f.by, dir, name, end, new(inventory.Listing)); err != nil {
				a.miss(Missing{Directory: dir, Interface: name, Cause: CauseNothing, Begin: q.Since, Why: err.Error()})
			}
		}
	}
	for _, m := range p.Answer.Missing {
		switch m.Cause {
		case CauseRetired, ledger.CauseNoFile, ledger.CauseNoLine:
		default:
			a.miss(m)
		}
	}
	if p.Answer.Until.After(a.Until) {
		a.Until = earliest(until, p.Answer.Until)
	}
}

// grows reports whether more of the file may come.
func (s *stream) grows() bool {
	return s.file != nil && s.State == inventory.Recording && s.whole && !s.last
}

// more goes on behind the end that was met, up to where the file is known to be whole, or has whole records.
func (s *stream) more(whole int64) {
	if s.file != nil && s.whole && !s.last && s.State == inventory.Recording {
		if s.last = s.file.More(); !s.last {
			s.file.WholeUpTo(whole)
		}
		s.ended, s.whole = false, false
		if !s.begun {
			s.fail(s.begin())
		}
	}
}
