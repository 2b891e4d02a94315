package daemon

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// A slowTask takes a while to be ready, and fails when its context ends.
type slowTask struct {
	ready chan struct{}
	err   error
}

func (t *slowTask) String() string         { return "slow task" }
func (t *slowTask) Ready() <-chan struct{} { return t.ready }

func (t *slowTask) Run(ctx context.Context) error {
	time.Sleep(time.Second)
	if t.ready != nil {
		close(t.ready)
	}
	<-ctx.Done()
	return t.err
}

// TestTasks: tasks are ready when each is ready, end with their context, and
// return the first error.
func TestTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := tasks{log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		failed := errors.New("failed")
		begun := time.Now()
		all.start(ctx, &slowTask{nil, nil})
		all.start(ctx, &slowTask{make(chan struct{}), failed})
		all.ready(ctx)
		if took := time.Since(begun); took != time.Second || len(all.all) != 2 {
			t.Errorf("%d tasks are ready after %v", len(all.all), took)
		}
		cancel()
		if err := all.wait(); err != failed || len(all.all) != 0 {
			t.Errorf("%v, and %d tasks are left", err, len(all.all))
		}
		all.start(ctx, &slowTask{make(chan struct{}), nil})
		all.ready(ctx) // must return, as the context has ended
		_ = all.wait()
	})
}
