// Package inventory lists the capture files of a directory. The names of the
// directory say which files exist, the ledger says what they contain. No
// capture file is opened.
package inventory

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"capd/ledger"
	"capd/store"
)

// A Listing lists the capture files of a directory.
type Listing struct {
	Directory string  `json:"directory"`
	Files     []*File `json:"files"`   // ordered by begin
	Missing   int     `json:"missing"` // files with a line of the ledger and without a line of their deletion that do not exist
	Broken    int     `json:"broken"`  // lines of the ledger that can't be parsed
}

// A Query selects files with any time in [Since, Until).
type Query struct {
	Interface    string    // empty: all
	Since, Until time.Time // zero: no bound

	Ledger ledger.ReadOptions // Begin and Read are called while the ledger is read
}

// Read lists a directory. A recorder may use it meanwhile.
func Read(dir string, q Query) (*Listing, error) {
	l, err := read(dir, q)
	if err != nil {
		return nil, &store.UnreadableError{Err: err}
	}
	return l, nil
}

func read(dir string, q Query) (*Listing, error) {
	looked := time.Now()
	files, err := scan(dir)
	if err != nil {
		return nil, err
	}
	r := reading{files: files, looked: looked, gone: make(map[string]gone)}
	if err := r.ledger(dir, q.Ledger); err != nil {
		return nil, err
	}
	l := &Listing{Directory: dir, Files: []*File{}, Broken: r.broken}
	for _, e := range r.gone {
		if q.wants(e.iface, e.begin, e.end) {
			l.Missing++
		}
	}
	busy := inUse(dir)
	for base, f := range files {
		if q.Interface != "" && f.Interface != q.Interface {
			continue
		}
		f.settle(base, busy)
		f.clocks = r.clocks
		if there := f.measure(dir); there && q.wants(f.Interface, f.Begin, f.reach()) {
			l.Files = append(l.Files, f)
		}
	}
	slices.SortFunc(l.Files, inTime)
	return l, nil
}

// inUse reports whether capd records into the directory. If that is unknown, a
// name of an unfinished file is believed.
func inUse(dir string) bool {
	busy, err := store.InUse(dir)
	return busy || err != nil
}

func inTime(a, b *File) int {
	if c := a.Begin.Compare(b.Begin); c != 0 {
		return c
	}
	return cmp.Or(strings.Compare(a.Interface, b.Interface), cmp.Compare(a.sequence, b.sequence),
		cmp.Compare(a.Lane, b.Lane), strings.Compare(a.Name, b.Name))
}

// wants reports whether the query selects a file of the interface with frames
// between begin and end. A zero end is unknown.
func (q *Query) wants(iface string, begin, end time.Time) bool {
	return (q.Interface == "" || iface == q.Interface) &&
		(q.Since.IsZero() || end.IsZero() || end.After(q.Since) || !begin.Before(q.Since)) &&
		(q.Until.IsZero() || begin.Before(q.Until))
}

// A reading joins the lines of the ledger with the names in the directory.
type reading struct {
	files  map[string]*File // by name of the finished file
	looked time.Time        // when the directory was read, at the earliest
	gone   map[string]gone
	clocks []clock
	broken int
}

// A gone file has a line in the ledger and does not exist.
type gone struct {
	iface      string
	begin, end time.Time
}

func (r *reading) ledger(dir string, s ledger.ReadOptions) error {
	for e, err := range ledger.ReadWith(dir, s) {
		var damage *ledger.LineError
		switch {
		case err == nil:
			r.add(&e)
		case !errors.As(err, &damage):
			return err
		case !damage.Torn:
			r.broken++
		}
	}
	return nil
}

// add adds what a line of the ledger says. A line that was written after the
// directory was read also says that the directory has changed.
func (r *reading) add(e *ledger.Entry) {
	f, since := r.files[e.Name], e.Time.After(r.looked)
	switch {
	case e.Kind == ledger.KindClock:
		r.clocks = append(r.clocks, clock{e.Begin, e.End})
	case e.Kind == ledger.KindDeleted:
		delete(r.gone, e.Name)
		if since {
			delete(r.files, e.Name)
		}
	case e.Kind == ledger.KindFile && f == nil:
		if e.Packets > 0 && !since {
			r.gone[e.Name] = gone{e.Interface, e.Begin, e.End}
		}
	case f == nil:
	case e.Kind == ledger.KindFile:
		f.end(e)
	case e.Kind == ledger.KindCheckpoint && f.Contents == nil:
		f.End = e.End
	case e.Kind == ledger.KindCompressed:
		f.compress(e, since)
	}
}
