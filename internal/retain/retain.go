// Package retain deletes the oldest finished capture files, so that the rest stays within limits.
//
// Only files with a capture file's name are deleted. Their order is that of the recorder's sequence
// numbers and clock; the times of packets have no influence.
package retain

import (
	"cmp"
	"math"
	"slices"
	"time"

	"capd/ledger"
	"capd/store"
)

// Limits limit the files of an interface or a directory. 0 means no limit.
type Limits struct {
	Bytes       int64         // on disk, including unfinished and held files
	Age         time.Duration // since a file's begin, by the recorder's clock
	Count       int           // number of finished files
	MinFree     uint64        // bytes of the file system to keep free
	MinFreePart float64       // the same as a fraction of the file system, 0 to 1; the larger one applies. See freeFiles for inodes
	KeepAtLeast Floor
}

// A Floor protects the newest finished files from all limits, up to any of these values, even if
// the disk is full.
type Floor struct {
	Bytes int64
	Count int
	Age   time.Duration
}

// A Policy says what to keep in a directory.
type Policy struct {
	Directory Limits
	Interface func(name string) Limits // further limits for one interface; may be nil

	// HoldWarn is when held files are worth a warning.
	HoldWarn Warning

	// Rotation says when files of an interface end, for forecasts. nil: that is not known.
	Rotation func(name string) Rotation
}

func (p *Policy) of(name string) Limits {
	if p.Interface == nil {
		return Limits{}
	}
	return p.Interface(name)
}

// A File is one capture file of a directory, compressed or not.
type File struct {
	Name    store.Name
	Size    int64 // bytes on disk
	Partial bool  // not finished: it counts, but is not deleted
	Held    bool  // protected: it counts, but is not deleted
	ByHold  bool  // of Held, until somebody releases it: not by a lease, or because it could not be deleted

	// Pending is the first step that has not succeeded for the file; empty if there is none. A limit
	// deletes files with a pending step last.
	Pending string

	// KeepUntil is the first step that must succeed before the file may be deleted, and has not; empty
	// if there is none. Until then the file counts, but is not deleted.
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
	ByInodes  Limit = "min_free_inodes" // min_free, of the inodes
	Resumed   Limit = "resumed"         // an earlier run began the deletion
)

// A Deletion is a file to delete.
type Deletion struct {
	Name    store.Name
	Size    int64
	Limit   Limit  // the reason
	Pending string // see File
}

// A Yield describes files that limits would delete, but KeepUntil protects because a step has not
// succeeded for them.
type Yield struct {
	Step  string
	Limit Limit // the first limit that would delete one of them
	Files int
}

// Entry returns the ledger entry for the deletion.
func (d *Deletion) Entry() ledger.Entry {
	return ledger.Deleted(d.Name, d.Size, string(d.Limit))
}

// Plan returns the files to delete, in order. It applies the limits of interfaces first, then those
// of the directory. Each limit deletes files without a pending step first, oldest first, and then the
// others. space is the present space of the file system.
func Plan(now time.Time, files []File, policy Policy, space store.Space) []Deletion {
	return newPlan(now, files, policy, space).plan
}

func newPlan(now time.Time, files []File, policy Policy, space store.Space) *planner {
	queue := order(now, files)
	p := &planner{space: space, yielded: space, all: newScope(policy.Directory), ifaces: make(map[string]*scope)}
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
	space  store.Space // with what the plan frees
	all    *scope
	ifaces map[string]*scope
	plan   []Deletion
	floor  bool // the floor protected a file that a limit would delete

	yields  []Yield
	yielded store.Space // the space, if the files in it were gone
}

// pass goes through the files with a pending step, or those without, oldest first. It plans to delete
// those that exceed the limits of their scope and are not protected by a floor.
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
		limit := s.exceeded(q, &p.space)
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
	free(&p.space, q)
	free(&p.yielded, q)
	p.all.remove(q)
	p.ifaces[q.Name.Interface].remove(q)
	p.plan = append(p.plan, Deletion{Name: q.Name, Size: q.Size, Limit: limit, Pending: q.Pending})
}

// keepUntil notes that a file stays until a step has succeeded. If the scope's limits would delete it
// even after the earlier files that stay, it counts in a Yield.
func (p *planner) keepUntil(q *queued, s *scope) {
	iface := p.ifaces[q.Name.Interface]
	if !q.yielded {
		limit := s.without().exceeded(q, &p.yielded)
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
	free(&p.yielded, q)
	for _, s := range [...]*scope{p.all, p.ifaces[q.Name.Interface]} {
		s.yieldedFiles++
		s.yieldedBytes += q.Size
	}
}

// A scope is an interface or the directory, with the sums over its files.
type scope struct {
	limits   Limits
	used     int64 // bytes of all files
	finished int64 // bytes of finished ones
	files    int   // number of finished files

	held      int64 // bytes of held files, in any state
	heldFiles int   // number of finished ones

	// Files older than the present one of a pass that are kept because of a step. They do not count
	// for the floor, which consists of the newest files.
	olderFiles int
	olderBytes int64

	yieldedFiles int // files in a Yield
	yieldedBytes int64
}

// without returns the scope without the files in a Yield.
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
	if q.ByHold {
		s.held += q.Size
	}
	if !q.Partial {
		s.finished += q.Size
		s.files++
		if q.ByHold {
			s.heldFiles++
		}
	}
}

func (s *scope) remove(q *queued) {
	s.used -= q.Size
	s.finished -= q.Size
	s.files--
}

// exceeded returns a limit for which the oldest file must be deleted, or empty if all limits are
// met.
func (s *scope) exceeded(q *queued, space *store.Space) Limit {
	l := &s.limits
	switch {
	case l.Age > 0 && q.age > l.Age:
		return ByAge
	case l.Bytes > 0 && s.used > l.Bytes:
		return ByBytes
	case l.Count > 0 && s.files > l.Count:
		return ByCount
	case space.Free < l.free(space.Total):
		return ByMinFree
	case space.FreeFiles < l.freeFiles(space):
		return ByInodes
	}
	return ""
}

// free adds to the space what there is more without the file.
func free(space *store.Space, q *queued) {
	space.Free += uint64(q.Size)
	space.FreeFiles++
}

// free returns how many bytes of the file system must stay free.
func (l *Limits) free(total uint64) uint64 {
	part := min(max(l.MinFreePart, 0), 1) * float64(total)
	return max(l.MinFree, uint64(math.Ceil(part)))
}

// freeFiles returns how many inodes of a file system are to stay free: the same
// part of them as of the bytes. A file system without a number of inodes has no
// such limit.
func (l *Limits) freeFiles(space *store.Space) uint64 {
	if space.Files == 0 || space.Total == 0 {
		return 0
	}
	part := min(float64(l.free(space.Total))/float64(space.Total), 1)
	return uint64(math.Ceil(part * float64(space.Files)))
}

// keeps reports whether the floor protects the file.
func (s *scope) keeps(q *queued) bool {
	f := &s.limits.KeepAtLeast
	return s.files-s.olderFiles-1 < f.Count || s.finished-s.olderBytes-q.Size < f.Bytes || f.Age > 0 && q.age < f.Age
}

// A queued is a file in the order of deletion.
type queued struct {
	*File
	era   int           // number of times that the clock was set back after it; oldest files have the highest
	start int64         // its begin in seconds since 1970, but not before that of the previous file
	age   time.Duration // its age, at least that of the files after it
	gone  bool

	yielded bool // counted in a Yield
}

// setBack is the smallest backward step of the clock that is considered. Names have whole seconds,
// and the effect of smaller steps on the order is negligible.
const setBack = time.Hour

// order returns the files, oldest first. Files of one interface are sorted by sequence number.
// Interfaces are merged by the times in the names. If that time goes back from one file to the
// next, the clock was set back, and all files before are older than all files after.
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
	// A stable sort keeps the order above where the times are equal.
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

// date determines the eras and times of an interface's files, which must be sorted.
func date(now time.Time, row []*queued) {
	const setBack = int64(setBack / time.Second)
	from := 0
	begin := func(i int) { // starts a new era: the files before get one era older
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
