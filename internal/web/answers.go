package web

import (
	"context"
	"errors"
	"slices"
	"time"

	"capd/filter"
	"capd/internal/inventory"
	"capd/ledger"
)

// An info says what the page is about.
type info struct {
	Software    string   `json:"software"`
	Directories []string `json:"directories"`
	Interfaces  []string `json:"interfaces"`
	Files       int      `json:"files"`
}

// info answers GET /v1/info.
func (s *Server) info(ctx context.Context, _ *query) (any, error) {
	looks, err := s.looks(ctx)
	if err != nil {
		return nil, err
	}
	out := &info{Software: s.config.Software, Directories: s.config.Directories, Interfaces: []string{}}
	seen := make(map[string]bool)
	for _, l := range looks {
		out.Files += len(l.listing.Files)
		for _, f := range l.listing.Files {
			seen[f.Interface] = true
		}
		for i := range l.verdicts {
			seen[l.verdicts[i].Interface] = true
		}
	}
	for name := range seen {
		if name != "" {
			out.Interfaces = append(out.Interfaces, name)
		}
	}
	slices.Sort(out.Interfaces)
	return out, nil
}

// A command is the command line that answers the same question.
type command struct {
	Command   string `json:"command"`
	Condition string `json:"condition,omitempty"` // that flow tables are asked for
}

// filter answers GET /v1/filter: parameters that are wrong are refused before.
func (s *Server) filter(_ context.Context, q *query) (any, error) {
	x := s.question(q)
	c := &command{Command: x.Text}
	if condition, err := filter.Conditions(q.expression); err == nil && q.expression != "" {
		c.Condition = condition.String()
	}
	return c, nil
}

// Files are those of a time.
type files struct {
	Files []file `json:"files"`
	More  bool   `json:"more"`
}

// A file is one of a directory.
type file struct {
	Directory string `json:"directory"`
	*inventory.File
}

// files answers GET /v1/files.
func (s *Server) files(ctx context.Context, q *query) (any, error) {
	looks, err := s.looks(ctx)
	if err != nil {
		return nil, err
	}
	var all []file
	for i, l := range looks {
		for _, f := range l.listing.Files {
			t := of(f)
			if q.names(f.Interface) && (q.until.IsZero() || t.begin.Before(q.until)) && (q.since.IsZero() || t.end.IsZero() || !t.end.Before(q.since)) {
				all = append(all, file{s.directories[i].path, f})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b file) int { return a.Begin.Compare(b.Begin) })
	out := new(files)
	out.Files, out.More = page(all, q)
	return out, nil
}

// Lines are the newest of the ledgers.
type lines struct {
	Lines  []line `json:"lines"` // oldest first
	More   bool   `json:"more"`  // older ones were left out
	Broken int    `json:"broken,omitempty"`
}

// A line is one of a ledger.
type line struct {
	Directory string `json:"directory"`
	ledger.Entry
}

// lines answers GET /v1/ledger.
func (s *Server) lines(ctx context.Context, q *query) (any, error) {
	out := &lines{Lines: []line{}}
	for _, d := range s.directories {
		for e, err := range ledger.Read(d.path, q.concerns) {
			var damage *ledger.LineError
			switch {
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case errors.As(err, &damage):
				out.Broken++
			case err != nil:
				return nil, err
			default:
				out.Lines = append(out.Lines, line{d.path, e})
			}
			if len(out.Lines) > 2*q.limit {
				out.Lines, out.More = newest(out.Lines, q.limit), true
			}
		}
	}
	if len(out.Lines) > q.limit {
		out.Lines, out.More = newest(out.Lines, q.limit), true
	}
	return out, nil
}

// newest returns the n newest lines, in order.
func newest(all []line, n int) []line {
	slices.SortStableFunc(all, func(a, b line) int { return a.Time.Compare(b.Time) })
	return append(all[:0], all[len(all)-n:]...)
}

// concerns reports whether a line is of the interfaces and the time.
func (q *query) concerns(e *ledger.Entry) bool {
	begin, end := e.Begin, e.End
	if begin.IsZero() {
		begin = e.Time
	}
	if end.IsZero() {
		end = later(e.Time, begin)
	}
	return (e.Interface == "" || q.names(e.Interface)) && (q.until.IsZero() || begin.Before(q.until)) && (q.since.IsZero() || !end.Before(q.since))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
