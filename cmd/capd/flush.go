package main

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"capd/internal/control"
	"capd/internal/extract"
)

// flushPatience is for a running capd that is to write what has come.
const flushPatience = 3 * time.Second

// Flush makes the capd that records into the directory write what has come.
func (r recorders) Flush(ctx context.Context, dir string) (done extract.Flushed, err error) {
	done.Recorded, err = r.at(ctx, dir, func(c *control.Client) error {
		ctx, cancel := context.WithTimeout(ctx, flushPatience)
		defer cancel()
		all, err := c.Flush(ctx)
		for _, w := range all {
			if !sameDirectory(dir, filepath.Dir(w.Path)) {
				continue
			}
			if done.Whole == nil {
				done.Whole = make(map[string]int64)
			}
			done.Whole[filepath.Base(w.Path)] = w.Bytes
		}
		return err
	})
	return done, err
}

// A sharedFlush makes recorders flush what has come, for many questions: one that is about a time before the last flush needs no other.
type sharedFlush struct {
	recorders
	mu   sync.Mutex       // guards last, and is held while a flush goes on
	last map[string]flush // by directory
}

func newSharedFlush(by recorders) *sharedFlush {
	return &sharedFlush{recorders: by, last: make(map[string]flush)}
}

// A flush is what came of the last one.
type flush struct {
	begun time.Time
	extract.Flushed
	err error
}

// Flush flushes, unless that was begun after this call.
func (f *sharedFlush) Flush(ctx context.Context, dir string) (extract.Flushed, error) {
	return f.flush(ctx, dir, time.Now())
}

// upTo is for questions about packets up to a time.
func (f *sharedFlush) upTo(until time.Time) extract.Recorders { return flushUpTo{f, until} }

// A flushUpTo flushes what had come at a time.
type flushUpTo struct {
	*sharedFlush
	until time.Time
}

// Flush flushes, unless that was done after the time.
func (f flushUpTo) Flush(ctx context.Context, dir string) (extract.Flushed, error) {
	return f.flush(ctx, dir, f.until)
}

// flush makes what had come at a time readable. One that has failed counts for those who waited for it.
func (f *sharedFlush) flush(ctx context.Context, dir string, until time.Time) (extract.Flushed, error) {
	asked := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.last[dir]
	if !last.begun.After(until) || last.err != nil && !last.begun.After(asked) {
		last.begun = time.Now()
		last.Flushed, last.err = f.recorders.Flush(context.WithoutCancel(ctx), dir)
		f.last[dir] = last
	}
	return last.Flushed, last.err
}
