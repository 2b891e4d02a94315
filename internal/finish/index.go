package finish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"capd/flow"
	"capd/internal/index"
	"capd/store"
)

// An indexStep makes the flow table of a file. That it is done can be seen in
// the directory: the table is there.
type indexStep struct {
	helper
	keepFree uint64
	recorded *recorded
}

func (*indexStep) name() string { return Index }

func (s *indexStep) needs(f *store.File) bool { return !f.Is(store.Flows) && !f.Name.Encrypted }

func (s *indexStep) do(name string) (Outcome, error) {
	var out Outcome
	var err error
	rows, drop := s.recorded.take(s.stop, name)
	defer drop()
	if len(s.self) > 0 {
		table := index.TablePath(filepath.Join(s.dir.Path(), name))
		out, err = s.helper.do(request{Step: Index, Name: name, KeepFree: s.keepFree, Rows: rows}, table+store.Packing.Ext())
	} else {
		out, err = (&indexer{dir: s.dir.Path(), keepFree: s.keepFree, rows: rows, stop: s.stop.Done()}).run(name)
	}
	if err != nil && !errors.Is(err, errNothing) {
		err = fmt.Errorf("index: %w", err)
	}
	return out, err
}

// An indexer makes flow tables.
type indexer struct {
	dir      string
	keepFree uint64
	rows     *flow.Rows      // of the file, from its recorder; nil: it must be read
	stop     <-chan struct{} // closed when the work must be given up
}

// run makes the table of a finished file. What it reads of the file does not
// stay in the page cache.
func (x *indexer) run(name string) (Outcome, error) {
	path := present(x.dir, name)
	out := Outcome{Path: path}
	if path == "" {
		return out, errNothing
	}
	src, info, err := openRegular(path)
	if err != nil {
		return x.result(out, err)
	}
	defer src.Close()
	out.Size = info.Size()
	if err := room(x.dir, uint64(flow.MaxTable(info.Size()))+x.keepFree, errNoTableSpace); err != nil {
		return out, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-x.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	built, recorded, err := x.build(ctx, src, path)
	if err == nil {
		out.Table, out.Recorded = built.Size, recorded
		_ = index.Catalogue(x.dir, []index.Built{built}) // without an entry the table itself is opened
	}
	if ctx.Err() != nil {
		err = errNothing
	}
	return x.result(out, err)
}

// build makes the table, from the rows if there are any, and they fit the file.
func (x *indexer) build(ctx context.Context, src *os.File, path string) (b index.Built, recorded bool, err error) {
	if x.rows != nil {
		if b, err = index.BuildRows(path, x.rows); err == nil {
			return b, b.Made, nil
		}
	}
	behind := behindReader{f: src}
	defer behind.drop()
	b, err = index.Build(ctx, path, false, behind.read)
	return b, false, err
}

var errNoTableSpace = errors.New("not enough space for a flow table")

// result is errNothing for a file that is gone, whose table must not stay: a
// limit may have deleted the file while its table was made.
func (x *indexer) result(out Outcome, err error) (Outcome, error) {
	name, _, parse := store.Parse(filepath.Base(out.Path))
	if parse != nil || present(x.dir, name.String()) != "" {
		return out, err
	}
	if err := os.Remove(index.TablePath(out.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	return out, errNothing
}

// present returns the present path of the finished file of that name, compressed
// or not; empty if it is gone.
func present(dir, name string) string {
	for _, state := range store.WithData() {
		path := filepath.Join(dir, name+state.Ext())
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return ""
}

// A behindReader drops from the page cache what was read of a file.
type behindReader struct {
	f            *os.File
	off, dropped int64
}

func (r *behindReader) read(n int) {
	if r.off += int64(n); r.off-r.dropped >= behindStep {
		r.drop()
	}
}

func (r *behindReader) drop() {
	store.DropCache(r.f, r.dropped, r.off-r.dropped)
	r.dropped = r.off
}
