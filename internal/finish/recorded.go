package finish

import (
	"context"
	"slices"
	"sync"

	"capd/flow"
	"capd/writer"
)

// A source is an Observer of a file that has made the file's rows, or makes them.
type source interface {
	Rows(context.Context) *flow.Rows // nil: it has not
	Drop()                           // must be called once
}

// Drop frees what is kept in memory of a finished file for its steps, if it is not given to Add.
func Drop(f *writer.File) {
	if s, ok := f.Observer.(source); ok {
		s.Drop()
	}
}

// recorded are the rows of files that wait for their tables.
type recorded struct {
	mu    sync.Mutex // guards what follows
	files []recordedFile
}

type recordedFile struct {
	name    string
	packets uint64 // as the ledger has them
	source
}

// mostRecorded is how many files may wait. Those beyond are read, so that what is in memory of files that are never asked for
// does not stay.
const mostRecorded = 256

func (r *recorded) add(f *writer.File) {
	s, ok := f.Observer.(source)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.files) == mostRecorded {
		r.files[0].Drop()
		r.files = slices.Delete(r.files, 0, 1)
	}
	r.files = append(r.files, recordedFile{f.Name.String(), f.Packets, s})
}

// take returns the rows of a file, or nil, and what frees them. Rows of more or fewer packets than the ledger has are none.
func (r *recorded) take(ctx context.Context, name string) (rows *flow.Rows, drop func()) {
	r.mu.Lock()
	i := slices.IndexFunc(r.files, func(f recordedFile) bool { return f.name == name })
	if i < 0 {
		r.mu.Unlock()
		return nil, func() {}
	}
	f := r.files[i]
	r.files = slices.Delete(r.files, i, i+1)
	r.mu.Unlock()
	if rows = f.Rows(ctx); rows != nil && rows.Totals.Packets != f.packets {
		rows = nil
	}
	return rows, f.Drop
}

// drop drops all.
func (r *recorded) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.files {
		f.Drop()
	}
	r.files = nil
}
