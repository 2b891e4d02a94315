package web

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"capd/internal/extract"
	"capd/internal/inventory"
	"capd/ledger"
	"capd/store"
)

// A directory is one that is looked at again only when it may have changed.
type directory struct {
	path string

	turn chan struct{} // guards last, and is held while the directory is read: who comes meanwhile waits, and reads nothing
	last *look         // nil: it was not read
}

// A look is what was seen of a directory.
type look struct {
	listing  *inventory.Listing
	verdicts []ledger.Verdict // of all that is known
	retired  []span           // files that limits have deleted, as far as the ledger tells

	stamp stamp
	began time.Time
	took  time.Duration
	grows bool // files of it are being written
}

// A span is a time.
type span struct{ begin, end time.Time }

// A stamp changes with the directory or its ledger.
type stamp struct {
	names, lines time.Time
	size         int64
}

func stampOf(dir string) (s stamp, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return s, err
	}
	s.names = info.ModTime()
	info, err = os.Stat(filepath.Join(dir, ledger.FileName))
	if err == nil {
		s.lines, s.size = info.ModTime(), info.Size()
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
}

const (
	// tick is how long two changes of a directory may have one time.
	tick = time.Second
	// growing is how old a look at files that are being written may be.
	growing = 2 * time.Second
)

// fresh reports whether nothing can have changed.
func (l *look) fresh(now stamp) bool {
	if l == nil || l.stamp != now {
		return false
	}
	age := time.Since(l.began)
	if l.grows && age > max(growing, 10*l.took) {
		return false
	}
	settled := l.began.Sub(now.names) > tick && l.began.Sub(now.lines) > tick
	return settled || age < tick/4
}

// look returns what the directory has.
func (d *directory) look(ctx context.Context, by extract.Recorders) (*look, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	now, err := stampOf(d.path)
	if err != nil {
		return nil, &store.UnreadableError{Err: err}
	}
	if d.last.fresh(now) {
		return d.last, nil
	}
	l, err := lookInto(ctx, by, d.path)
	if err != nil {
		return nil, err
	}
	l.stamp = now
	d.last = l
	return l, nil
}

// lookInto reads names and ledger, at the same time.
func lookInto(ctx context.Context, by extract.Recorders, dir string) (l *look, err error) {
	l = &look{began: time.Now()}
	type asked struct {
		answer *ledger.Answer
		err    error
	}
	judged := make(chan asked, 1)
	go func() {
		a, err := by.Ask(ctx, dir, ledger.Question{})
		judged <- asked{a, err}
	}()
	files := make(map[string]span)
	keep := func(e *ledger.Entry) bool {
		switch e.Kind {
		case ledger.KindFile:
			files[e.Name] = span{e.Begin, e.End}
		case ledger.KindDeleted:
			l.retired = append(l.retired, deleted(files, e))
		}
		return true
	}
	l.listing, err = extract.List(dir, inventory.Query{Ledger: ledger.ReadOptions{Keep: keep}})
	verdict := <-judged
	if err = errors.Join(err, verdict.err); err != nil {
		return nil, err
	}
	l.verdicts = verdict.answer.Verdicts
	l.grows = slices.ContainsFunc(l.listing.Files, func(f *inventory.File) bool { return f.State == inventory.Recording })
	l.took = time.Since(l.began)
	return l, nil
}

// deleted returns the time of a file that a limit has deleted: without a line of it, that at which it began.
func deleted(files map[string]span, e *ledger.Entry) span {
	if s, ok := files[e.Name]; ok {
		delete(files, e.Name)
		return s
	}
	if n, err := store.ParseName(e.Name); err == nil {
		return span{n.Start, n.Start}
	}
	return span{e.Time, e.Time}
}

// looks returns what all directories have.
func (s *Server) looks(ctx context.Context) ([]*look, error) {
	var all []*look
	for _, d := range s.directories {
		l, err := d.look(ctx, s.config.Recorders)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// of returns the time of a file's packets, or else that of the file. A zero end is not known.
func of(f *inventory.File) span {
	if c := f.Contents; c != nil && !c.First.IsZero() && !c.Last.Before(c.First) {
		return span{c.First, c.Last}
	}
	return span{f.Begin, f.End}
}
