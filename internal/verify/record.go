package verify

import (
	"fmt"
	"slices"
	"time"

	"capd/internal/retain"
	"capd/ledger"
	"capd/store"
)

// lateAfter is how long after a file's end its digest may be sealed, and how old a line may be, before only the sealing's
// time is believed.
const lateAfter = time.Minute

// A record is what the lines of a ledger say of files. Of what is proven, the first word stays: who has the present key
// can only add lines.
type record struct {
	files    map[string]*sealedLine  // first line of KindFile that is clean or salvaged, else the last
	digests  map[string]digest       // the first
	gone     map[string]bool         // limits have deleted, or are about to delete them
	deleted  map[string]bool         // limits have deleted them
	empty    map[string]bool         // salvaged, and no packet was left
	claimed  map[string]string       // files in lines that are not proven: why
	lost     map[string]bool         // deleted by lines that are not proven
	spans    map[string][2]time.Time // of files, in any line
	sequence map[store.Lane]uint64   // highest, in any line
	lanes    map[store.Lane]*lane
	holds    map[string]int // on a file
	forged   []Finding      // a second word on what is proven

	timing
}

// A timing is what the checkpoints say of the time.
type timing struct {
	before time.Time   // the latest time of the checkpoints before the line
	now    time.Time   // the same with the one that seals it
	recent []time.Time // of checkpoints: of the last minute, and the one before that
	starts []start
	ended  bool // the last line was one of a stop
}

// A start is when a run began.
type start struct {
	sealed time.Time // the line of its start
	before time.Time // latest checkpoint of at least a minute before
	crash  bool      // the run before did not end with a line of a stop
}

// A sealedLine is a line of KindFile, and when it was sealed.
type sealedLine struct {
	*ledger.Entry
	sealed time.Time
	after  bool // its number and its begin follow those of the lane's file before
	first  bool // there is none
}

type digest struct {
	size int64
	root string
	at   time.Time // when it was sealed
}

// A lane is the files of one sequence that have a digest and that no limit has deleted, and the newest of all.
type lane struct {
	newest store.Name
	sealed time.Time // when that was
	end    time.Time // latest of the ends of files
	live   []store.Name
	used   map[uint64]bool // numbers of files
}

func newRecord() record {
	return record{
		files: make(map[string]*sealedLine), digests: make(map[string]digest), gone: make(map[string]bool), deleted: make(map[string]bool),
		empty: make(map[string]bool), claimed: make(map[string]string), lost: make(map[string]bool), spans: make(map[string][2]time.Time),
		sequence: make(map[store.Lane]uint64), lanes: make(map[store.Lane]*lane), holds: make(map[string]int), timing: timing{ended: true},
	}
}

// at says the time of the checkpoint that seals the next lines. Time does not go back: a key that signs can sign any.
func (r *record) at(t time.Time) {
	r.before = r.now
	if t.After(r.now) {
		r.now = t
	}
	r.recent = append(r.recent, r.now)
	for len(r.recent) > 1 && r.now.Sub(r.recent[1]) >= lateAfter {
		r.recent = r.recent[1:]
	}
}

// begin looks whether a run begins with the line, which is proven next.
func (r *record) begin(e *ledger.Entry) {
	switch e.Kind {
	case ledger.KindStart:
		r.starts = append(r.starts, start{r.now, r.recent[0], !r.ended})
		r.ended = false
	case ledger.KindSeal, ledger.KindSalvaged, ledger.KindFile, ledger.KindDigest: // may come between a stop and a start
	default:
		r.ended = e.Kind == ledger.KindStop
	}
}

// prove adds a line that is sealed. It returns what is odd about it.
func (r *record) prove(e *ledger.Entry, here place) (odd []Finding) {
	r.see(e)
	r.begin(e)
	if !e.Time.IsZero() && r.before.Sub(e.Time) > lateAfter {
		odd = append(odd, Finding{Late, here.file, here.number, here.number, fmt.Sprintf("the line says that it was made at %s, and it was not there when %s was sealed",
			stamp(e.Time), stamp(r.before))})
	}
	switch e.Kind {
	case ledger.KindFile:
		r.proveFile(e)
	case ledger.KindDigest:
		r.proveDigest(e, here)
	case ledger.KindDeleting, ledger.KindDeleted:
		odd = append(odd, r.proveDeletion(e, here)...)
	case ledger.KindSalvaged:
		f := r.files[e.Name]
		r.empty[e.Name] = r.empty[e.Name] || e.Packets == 0 && r.digests[e.Name].root == "" && (f == nil || !f.Clean)
	case ledger.KindHold:
		r.holds[e.Name]++
	case ledger.KindRelease:
		r.holds[e.Name]--
	}
	return odd
}

func (r *record) proveFile(e *ledger.Entry) {
	delete(r.claimed, e.Name)
	before := r.files[e.Name]
	if before != nil && (before.Clean || before.Reason == ledger.ReasonSalvaged) {
		return
	}
	f := &sealedLine{Entry: e, sealed: r.now, after: true, first: true}
	r.files[e.Name] = f
	if before != nil { // it had failed
		f.after, f.first = before.after, before.first
		return
	}
	name, err := store.ParseName(e.Name)
	if err != nil {
		return
	}
	l := r.lanes[name.Of()]
	if l == nil {
		r.lanes[name.Of()] = &lane{newest: name, sealed: r.now, end: e.End, used: map[uint64]bool{name.Sequence: true}}
		return
	}
	f.first = false
	if name.Sequence > l.newest.Sequence {
		f.after = l.end.Sub(name.Start) < lateAfter
	} else { // workers may end files in another order
		f.after = !l.used[name.Sequence] && r.now.Sub(l.sealed) < lateAfter
	}
	l.used[name.Sequence] = true
	if name.Sequence > l.newest.Sequence {
		l.newest, l.sealed = name, r.now
	}
	if e.End.After(l.end) {
		l.end = e.End
	}
}

func (r *record) proveDigest(e *ledger.Entry, here place) {
	if d, known := r.digests[e.Name]; known {
		if d.root != e.Root || d.size != int64(e.Size) {
			r.forged = append(r.forged, Finding{Forged, e.Name, 0, 0, fmt.Sprintf("%v says that its bytes are others than those that were sealed at %s", here, stamp(d.at))})
		}
		return
	}
	r.digests[e.Name] = digest{int64(e.Size), e.Root, r.now}
	name, err := store.ParseName(e.Name)
	if err != nil {
		return
	}
	l := r.lanes[name.Of()]
	if l == nil {
		l = &lane{used: make(map[uint64]bool)}
		r.lanes[name.Of()] = l
	}
	l.live = append(l.live, name)
}

// proveDeletion looks whether a limit deletes so: the oldest file of a lane first, but for those that are held.
func (r *record) proveDeletion(e *ledger.Entry, here place) (odd []Finding) {
	known := r.gone[e.Name]
	r.gone[e.Name] = true
	r.deleted[e.Name] = r.deleted[e.Name] || e.Kind == ledger.KindDeleted
	name, err := store.ParseName(e.Name)
	if err != nil || known {
		return nil
	}
	switch retain.Limit(e.Limit) {
	case retain.ByAge, retain.ByBytes, retain.ByCount, retain.ByMinFree, retain.ByInodes, retain.Resumed:
	default:
		odd = append(odd, Finding{Order, e.Name, 0, 0, fmt.Sprintf("%v says that %q has deleted it, which is no limit", here, e.Limit)})
	}
	l := r.lanes[name.Of()]
	if l == nil {
		return odd
	}
	older := func(n store.Name) bool { return n.Sequence < name.Sequence && r.holds[n.String()] <= 0 }
	if i := slices.IndexFunc(l.live, older); i >= 0 {
		odd = append(odd, Finding{Order, e.Name, 0, 0, fmt.Sprintf("%v says that the limit %s has deleted it, and limits delete older ones first: %s was there", here, e.Limit, l.live[i])})
	}
	l.live = slices.DeleteFunc(l.live, func(n store.Name) bool { return n == name })
	return odd
}

// sealing says since when a file is proven. If that is later than it should be, and nothing sealed explains it, why says so.
func (r *record) sealing(base, name string) (s Sealing, why string) {
	d, f := r.digests[name], r.files[name]
	s = Sealing{File: base, SealedAt: d.at}
	if f == nil {
		return s, "no sealed line says when it ended"
	}
	s.End = f.End
	if f.End.Sub(d.at) > lateAfter {
		return s, fmt.Sprintf("its line says that it ended at %s, and its bytes were sealed before, at %s", stamp(f.End), stamp(d.at))
	}
	if n, err := store.ParseName(name); err == nil && n.Start.Sub(f.Begin).Abs() > lateAfter {
		return s, fmt.Sprintf("its line says that it began at %s, and its name says another time", stamp(f.Begin))
	}
	if !f.after {
		return s, fmt.Sprintf("it was sealed at %s, behind files of its interface that are newer by their numbers or begins", stamp(d.at))
	}
	s.Late = d.at.Sub(f.End) > lateAfter
	if !s.Late {
		return s, ""
	}
	if r.resumed(f, d.at) {
		return s, ""
	}
	return s, fmt.Sprintf("its line says that it ended at %s, and its bytes were sealed at %s: before that nothing proves it", stamp(f.End), stamp(d.at))
}

// resumed reports whether the run that began first after the file's end has finished the file, or digested it: the run
// before ended with the file, or did not get to it.
func (r *record) resumed(f *sealedLine, sealed time.Time) bool {
	i := slices.IndexFunc(r.starts, func(s start) bool { return !s.sealed.Before(f.End) })
	if i < 0 {
		return false
	}
	s := &r.starts[i]
	of := func(t time.Time) bool {
		return s.sealed.Sub(t) <= lateAfter && (i+1 == len(r.starts) || t.Before(r.starts[i+1].sealed))
	}
	if !of(sealed) {
		return false
	}
	inTime := f.sealed.Sub(f.End) <= lateAfter
	return inTime || s.crash && of(f.sealed) && (!f.first || s.before.Sub(f.End) <= lateAfter)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// claim adds a line that is not sealed.
func (r *record) claim(e *ledger.Entry, why string) {
	r.see(e)
	switch e.Kind {
	case ledger.KindFile, ledger.KindDigest:
		if r.digests[e.Name].root == "" {
			r.claimed[e.Name] = why
		}
	case ledger.KindDeleting, ledger.KindDeleted:
		r.lost[e.Name] = true
	}
}

func (r *record) see(e *ledger.Entry) {
	if _, known := r.spans[e.Name]; e.Kind == ledger.KindFile && (!known || r.digests[e.Name].root == "") {
		r.spans[e.Name] = [2]time.Time{e.Begin, e.End}
	}
	if n, err := store.ParseName(e.Name); err == nil && e.Kind == ledger.KindFile {
		r.sequence[n.Of()] = max(r.sequence[n.Of()], n.Sequence)
	}
}
