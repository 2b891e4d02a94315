package main

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestReaderLease: what a reader has not read yet is held, up to a minute back and renewed before it ends; at the end nothing is. Failures are
// said once, and that they are over.
func TestReaderLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var mu sync.Mutex // guards what follows
		reads := true
		var since time.Time
		var fails error
		var said []error
		l := readerLease{
			lease: func(_ context.Context, t time.Time) error {
				mu.Lock()
				defer mu.Unlock()
				since = t
				return fails
			},
			say: func(err error) { said = append(said, err) },
			reached: func() time.Time {
				mu.Lock()
				defer mu.Unlock()
				if reads {
					return time.Now().Add(-time.Millisecond)
				}
				return begun.Add(time.Minute)
			},
		}
		ctx, end := context.WithCancel(t.Context())
		l.renew(ctx)
		ended := make(chan struct{})
		go func() { l.keep(ctx); close(ended) }()
		back := func(at, want time.Duration) {
			t.Helper()
			time.Sleep(time.Until(begun.Add(at)))
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if got := time.Since(since); got < want || got > want+20*time.Second {
				t.Errorf("at %v: held for %v back, want %v", at, got, want)
			}
		}
		back(0, lateness)
		back(time.Minute, lateness)
		set := func(r bool, err error) {
			mu.Lock()
			defer mu.Unlock()
			reads, fails = r, err
		}
		set(false, nil)
		back(90*time.Second, 21*time.Second)
		set(false, errors.New("x"))
		back(10*time.Minute, mostLag)
		set(false, nil)
		back(11*time.Minute, mostLag)
		end()
		<-ended
		if !since.IsZero() || len(said) != 2 || said[0] == nil || said[1] != nil {
			t.Errorf("%v, %v", since, said)
		}
	})
}
