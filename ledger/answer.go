package ledger

import (
	"errors"
	"slices"

	"capd/store"
)

// An Answer is what a directory's ledger says about a time.
type Answer struct {
	Complete *bool     `json:"complete"` // nothing is missing; null where nothing is known
	Verdicts []Verdict `json:"verdicts"` // not of interfaces of which nothing was recorded then
	Lines    []Entry   `json:"lines"`    // in the time
}

// Ask answers a question about a directory, which may be in use. Names of the question are ignored: the directory is read.
// Keep of the options chooses the lines of the answer among those of the interface and the time.
func Ask(dir string, q Question, o ReadOptions) (*Answer, error) {
	a, err := ask(dir, q, o)
	if err != nil {
		return nil, &store.UnreadableError{Err: err}
	}
	return a, nil
}

func ask(dir string, q Question, o ReadOptions) (*Answer, error) {
	var err error
	if q.Names, err = listNames(dir); err != nil {
		return nil, err
	}
	busy, err := store.InUse(dir)
	q.Live = busy || err != nil // where that can't be known, names are believed
	a := &Answer{Verdicts: []Verdict{}, Lines: []Entry{}}
	if !o.NoLines {
		if err := a.read(dir, &q, o); err != nil {
			return nil, err
		}
		o.Begin = nil
	}
	verdicts, err := Judge(ReadWith(dir, ReadOptions{Begin: o.Begin, Read: o.Read}), q)
	if err != nil {
		return nil, err
	}
	a.Verdicts = append(a.Verdicts, slices.DeleteFunc(verdicts, ofNothing)...)
	a.Complete = whole(a.Verdicts)
	return a, nil
}

// read reads the lines of the answer, and adds the names that have come meanwhile.
func (a *Answer) read(dir string, q *Question, o ReadOptions) error {
	keep := o.Keep
	o.Keep = func(e *Entry) bool { return q.concerns(e) && (keep == nil || keep(e)) }
	if begin := o.Begin; begin != nil {
		o.Begin = func(bytes int64) { begin(2 * bytes) } // it is read twice
	}
	var damage *LineError
	for e, err := range ReadWith(dir, o) {
		switch {
		case errors.As(err, &damage): // is in the verdict
		case err != nil:
			return err
		default:
			a.Lines = append(a.Lines, e)
		}
	}
	finished, err := listNames(dir) // since the reading began
	q.Names = append(q.Names, finished...)
	return err
}

// concerns reports whether an entry is of the interface and overlaps the time.
func (q *Question) concerns(e *Entry) bool {
	switch {
	case q.Interface != "" && e.Interface != "" && e.Interface != q.Interface:
	case !q.Since.IsZero() && !e.End.IsZero() && e.End.Before(q.Since):
	case !q.Until.IsZero() && !e.Begin.Before(q.Until):
	default:
		return true
	}
	return false
}

// whole reports whether nothing is missing; nil if nothing is missing for all
// that is known, and something is not known.
func whole(all []Verdict) *bool {
	known := len(all) > 0
	for i := range all {
		switch all[i].Outcome() {
		case Incomplete:
			return new(bool)
		case Unknown:
			known = false
		}
	}
	if !known {
		return nil
	}
	return &known
}

// ofNothing reports whether a verdict is on an interface that neither the ledger
// nor the directory knows, or on a time before its first line.
func ofNothing(v Verdict) bool {
	return v.Files == 0 && len(v.Missing) == 0 && len(v.Recording) == 0 && !v.Since.Before(v.Until)
}
