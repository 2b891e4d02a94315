package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"capd/internal/alert"
	"capd/internal/control"
	"capd/internal/text"
)

// leaseSince makes the capds that record into directories hold what has packets from a time on, for a while; with the zero time no more.
func (r recorders) leaseSince(ctx context.Context, dirs []string, holder string, since time.Time, lasts string) error {
	var failed error
	for _, dir := range dirs {
		_, err := r.at(ctx, dir, func(c *control.Client) error {
			if since.IsZero() {
				_, err := c.Release(ctx, control.Selection{Holder: holder})
				return err
			}
			_, err := c.Hold(ctx, control.Selection{Holder: holder, Since: since, For: lasts})
			return err
		})
		failed = errors.Join(failed, err)
	}
	return failed
}

// sayHeld says that limits may delete files before they are read, or without an error that they may not any more.
func sayHeld(w io.Writer, err error) {
	if err != nil {
		fmt.Fprintf(w, "capd: limits may delete files before they are read: %s\n", text.Line(err.Error()))
	} else {
		fmt.Fprintln(w, "capd: files are held again until they are read")
	}
}

const (
	// mostLag is how far back limits leave what a reader has not read yet: one that reads more slowly than is recorded may not fill the
	// disk.
	mostLag = time.Minute
	// lateness is how much older than what was read before packets may be that are read later.
	lateness = time.Second
)

// A readerLease keeps limits from deleting what a reader has not read yet.
type readerLease struct {
	lease   func(ctx context.Context, since time.Time) error
	say     func(error) // whether that has failed, if it is news
	reached func() time.Time
	failing bool
}

// keep renews the lease until the context ends, and then ends it.
func (l *readerLease) keep(ctx context.Context) {
	tick := time.NewTicker(alert.LeaseTime / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.renew(ctx)
		case <-ctx.Done():
			_ = l.lease(context.WithoutCancel(ctx), time.Time{}) // it ends by itself too
			return
		}
	}
}

// renew holds what the reader needs from now on.
func (l *readerLease) renew(ctx context.Context) {
	since := l.reached().Add(-lateness)
	if oldest := time.Now().Add(-mostLag); since.Before(oldest) {
		since = oldest
	}
	if err := l.lease(ctx, since); (err != nil) != l.failing && ctx.Err() == nil {
		l.failing = err != nil
		l.say(err)
	}
}
