// Package retain deletes the oldest finished capture files, so that the rest
// stays within limits.
//
// Nothing but a name that capd writes is ever deleted, and the order is that of
// the recorder's sequence numbers and clock. What packets claim about the time
// has no say.
package retain

import (
	"cmp"
	"math"
	"slices"
	"time"

	"capd/ledger"
	"capd/store"
)

// Limits bound what is kept of an interface or of a directory. A limit of 0 is
// none.
type Limits struct {
	Bytes       int64         // on disk, unfinished and held files too
	Age         time.Duration // since the begin of a file, by the recorder's clock
	Count       int           // finished files
	MinFree     uint64        // bytes of the file system that stay free
	MinFreePart float64       // the same as a part of the file system, 0 to 1; the larger holds
	KeepAtLeast Floor
}

// A Floor is what no limit takes away, whatever fills the disk: the newest
// finished files up to any of these.
type Floor struct {
	Bytes int64
	Count int
	Age   time.Duration
}

// A Policy says what to keep in a directory.
type Policy struct {
	Directory Limits
	Interface func(name string) Limits // of one alone, beside the directory's; may be nil
}

func (p *Policy) of(name string) Limits {
	if p.Interface == nil {
		return Limits{}
	}
	return p.Interface(name)
}

// A File is what a directory holds of one capture file, compressed or not.
type File struct {
	Name    store.Name
	Size    int64 // bytes on disk
	Partial bool  // not finished: it counts, but stays
	Held    bool  // may not be deleted: it counts, but stays

	// Pending is the first step that has not succeeded for the file. The same
	// limit deletes other files before it. Empty: there is none.
	Pending string

	// KeepUntil is the first step that has not succeeded for the file and until
	// which it may not be deleted: it counts, but stays. Empty: there is none.
	KeepUntil string
}

// waits reports whether a step has not succeeded for the file.
func (f *File) waits() bool { return f.Pending != "" || f.KeepUntil != "" }

// A Limit is the name of a limit.
type Limit string

// Limits by name.
const (
	ByBytes   Limit = "bytes"
	ByAge     Limit = "age"
	ByCount   Limit = "count"
	ByMinFree Limit = "min_free"
	Resumed   Limit = "resumed" // a deletion that an earlier run began
)

// A Deletion says which file has to go.
type Deletion struct {
	Name    store.Name
	Size    int64
	Limit   Limit  // that wants it
	Pending string // see File
}

// A Yield says that limits want files gone that stay because a step has not
// succeeded for them.
type Yield struct {
	Step  string
	Limit Limit // the first that wants one of them gone
	Files int
}

// Entry returns the ledger's line for the deletion.
func (d *Deletion) Entry() ledger.Entry {
	return ledger.Deleted(d.Name, d.Size, string(d.Limit))
}

// Plan returns which files have to go, in that order. An interface's limits
// come first, then the directory's; each of them take the files whose steps have
// all succeeded first, oldest first, and then the others. The space is the file
// system's, as it is before.
func Plan(now time.Time, files []File, policy Policy, space store.Space) []Deletion {
	return newPlan(now, files, policy, space).plan
}

func newPlan(now time.Time, files []File, policy Policy, space store.Space) *planner {
	queue := order(now, files)
	p := &planner{space: space, all: newScope(policy.Directory), ifaces: make(map[string]*scope)}
	for _, q := range queue {
		s := p.ifaces[q.Name.Interface]
		if s == nil {
			s = newScope(policy.of(q.Name.Interface))
			p.ifaces[q.Name.Interface] = s
		}
		s.count(q)
		p.all.count(q)
	}
	iface := func(q *queued) *scope { return p.ifaces[q.Name.Interface] }
	directory := func(*queued) *scope { return p.all }
	for _, of := range [...]func(*queued) *scope{iface, directory} {
		p.pass(queue, of, false)
		p.pass(queue, of, true)
	}
	return p
}

type planner struct {
	space  store.Space
	freed  uint64
	all    *scope
	ifaces map[string]*scope
	plan   []Deletion
	floor  bool // kept a file that a limit wants gone

	yields  []Yield
	yielded uint64 // bytes of the files in it
}

// pass goes through the files for which a step is pending, or through the others,
// oldest first, and plans to delete those that the scope's limits want gone, if
// no floor keeps them.
func (p *planner) pass(queue []*queued, of func(*queued) *scope, pending bool) {
	p.all.beginPass()
	for _, s := range p.ifaces {
		s.beginPass()
	}
	for _, q := range queue {
		s, iface := of(q), p.ifaces[q.Name.Interface]
		if q.gone || q.Partial || q.Held {
			continue
		}
		if q.waits() != pending {
			if !pending {
				p.all.passOver(q)
				iface.passOver(q)
			}
			continue
		}
		if q.KeepUntil != "" {
			p.keepUntil(q, s)
			continue
		}
		limit := s.exceeded(q, p.space, p.freed)
		switch {
		case limit == "":
		case p.all.keeps(q) || iface.keeps(q):
			p.floor = true
		default:
			p.delete(q, limit)
		}
	}
}

func (p *planner) delete(q *queued, limit Limit) {
	q.gone = true
	p.freed += uint64(q.Size)
	p.all.remove(q)
	p.ifaces[q.Name.Interface].remove(q)
	p.plan = append(p.plan, Deletion{Name: q.Name, Size: q.Size, Limit: limit, Pending: q.Pending})
}

// keepUntil notes that a file stays for a step, and whether the scope's limits
// want it gone: if those before it, which stay too, were gone.
func (p *planner) keepUntil(q *queued, s *scope) {
	iface := p.ifaces[q.Name.Interface]
	if !q.yielded {
		limit := s.without().exceeded(q, p.space, p.freed+p.yielded)
		switch {
		case limit == "":
		case p.all.keeps(q) || iface.keeps(q):
			p.floor = true
		default:
			p.yield(q, limit)
		}
	}
	p.all.passOver(q)
	iface.passOver(q)
}

func (p *planner) yield(q *queued, limit Limit) {
	i := slices.IndexFunc(p.yields, func(y Yield) bool { return y.Step == q.KeepUntil })
	if i < 0 {
		i = len(p.yields)
		p.yields = append(p.yields, Yield{Step: q.KeepUntil, Limit: limit})
	}
	p.yields[i].Files++
	q.yielded = true
	p.yielded += uint64(q.Size)
	for _, s := range [...]*scope{p.all, p.ifaces[q.Name.Interface]} {
		s.yieldedFiles++
		s.yieldedBytes += q.Size
	}
}

// A scope is an interface or the directory, with what is in it.
type scope struct {
	limits   Limits
	used     int64 // bytes of all files
	finished int64 // bytes of finished ones
	files    int   // finished

	// Of the files that are older than the present one of a pass, those that stay
	// for a step. A floor is of the newest files: they are no part of it.
	olderFiles int
	olderBytes int64

	yieldedFiles int // that are in a Yield
	yieldedBytes int64
}

// without returns the scope as if no limit had to yield.
func (s *scope) without() *scope {
	w := *s
	w.files -= s.yieldedFiles
	w.used -= s.yieldedBytes
	return &w
}

func (s *scope) beginPass() { s.olderFiles, s.olderBytes = 0, 0 }

func (s *scope) passOver(q *queued) {
	s.olderFiles++
	s.olderBytes += q.Size
}

func newScope(l Limits) *scope { return &scope{limits: l} }

func (s *scope) count(q *queued) {
	s.used += q.Size
	if !q.Partial {
		s.finished += q.Size
		s.files++
	}
}

func (s *scope) remove(q *queued) {
	s.used -= q.Size
	s.finished -= q.Size
	s.files--
}

// exceeded returns a limit that the oldest file is to be deleted for; empty if
// all hold.
func (s *scope) exceeded(q *queued, space store.Space, freed uint64) Limit {
	l := &s.limits
	switch {
	case l.Age > 0 && q.age > l.Age:
		return ByAge
	case l.Bytes > 0 && s.used > l.Bytes:
		return ByBytes
	case l.Count > 0 && s.files > l.Count:
		return ByCount
	case space.Free+freed < l.free(space.Total):
		return ByMinFree
	}
	return ""
}

// free returns how many bytes of a file system are to stay free.
func (l *Limits) free(total uint64) uint64 {
	part := min(max(l.MinFreePart, 0), 1) * float64(total)
	return max(l.MinFree, uint64(math.Ceil(part)))
}

// keeps reports whether the floor would be broken without the file.
func (s *scope) keeps(q *queued) bool {
	f := &s.limits.KeepAtLeast
	return s.files-s.olderFiles-1 < f.Count || s.finished-s.olderBytes-q.Size < f.Bytes || f.Age > 0 && q.age < f.Age
}

// A queued file waits for its turn.
type queued struct {
	*File
	era   int           // how often the clock was set back since; the oldest have the most
	start int64         // when it began, seconds since 1970, not before the one before it
	age   time.Duration // how old it is, at least as old as those after it
	gone  bool

	yielded bool // counted in a Yield
}

// setBack is how far a clock goes back at least for it to count: names have
// whole seconds, and a small step disturbs no order that matters.
const setBack = time.Hour

// order returns the files, oldest first. Those of one interface are in the
// order of their sequence numbers. Interfaces are merged by the time in the
// names; where that goes back from one file to the next, the clock was set, and
// what is before is older than all that is after.
func order(now time.Time, files []File) []*queued {
	memory := make([]queued, len(files))
	all := make([]*queued, len(files))
	for i := range files {
		all[i] = &memory[i]
		all[i].File, all[i].start = &files[i], files[i].Name.Start.Unix()
	}
	slices.SortFunc(all, func(a, b *queued) int {
		return cmp.Or(cmp.Compare(a.Name.Interface, b.Name.Interface),
			cmp.Compare(a.Name.Lane, b.Name.Lane), cmp.Compare(a.Name.Sequence, b.Name.Sequence), cmp.Compare(a.start, b.start))
	})
	for rest := all; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Name.Interface == rest[0].Name.Interface && rest[n].Name.Lane == rest[0].Name.Lane {
			n++
		}
		date(now, rest[:n])
		rest = rest[n:]
	}
	// It is stable: where nothing else decides, the order above does.
	slices.SortStableFunc(all, func(a, b *queued) int {
		return cmp.Or(cmp.Compare(b.era, a.era), cmp.Compare(a.start, b.start))
	})
	oldest := time.Duration(math.MinInt64)
	for _, q := range slices.Backward(all) {
		oldest = max(oldest, q.age)
		q.age = oldest
	}
	return all
}

// date finds the eras and times of an interface's files, which are in order.
func date(now time.Time, row []*queued) {
	const setBack = int64(setBack / time.Second)
	from := 0
	begin := func(i int) { // of a new era: all before are one older
		for _, q := range row[:i] {
			q.era++
		}
		from = i
	}
	for i, q := range row {
		q.age = now.Sub(q.Name.Start)
		if i == from || q.start >= row[i-1].start {
			continue
		}
		if row[i-1].start-q.start < setBack {
			q.start = row[i-1].start
		} else {
			begin(i)
		}
	}
	if n := len(row); n > from && row[n-1].start-now.Unix() >= setBack {
		begin(n)
	}
}
