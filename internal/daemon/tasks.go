package daemon

import (
	"context"
	"log/slog"
	"sync"
)

// A task is work that a daemon does until the task's context ends, or until
// nothing is left to do.
type task interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{} // closed when the task has begun its work; nil means ready from the start
	String() string
}

// tasks run the tasks of a daemon, each in a goroutine. Every task ends with
// its context; wait returns when all have ended.
type tasks struct {
	log     *slog.Logger
	running sync.WaitGroup

	mu  sync.Mutex // guards what follows; held for assignments only
	all []task     // tasks that have not ended, in the order of their start
	err error      // error of the first task that failed
}

// start runs a task. It must not be called when all other tasks may have ended.
func (t *tasks) start(ctx context.Context, one task) {
	t.mu.Lock()
	t.all = append(t.all, one)
	t.mu.Unlock()
	t.log.Debug("task begins", "task", one.String())
	t.running.Go(func() {
		err := one.Run(ctx)
		if err != nil {
			t.log.Debug("task has failed", "task", one.String(), "error", err)
		} else {
			t.log.Debug("task has ended", "task", one.String())
		}
		t.end(one, err)
	})
}

func (t *tasks) end(ended task, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	for i, one := range t.all {
		if one == ended {
			t.all = append(t.all[:i:i], t.all[i+1:]...)
			return
		}
	}
}

// ready waits until all tasks that were started before are ready, or until the
// context ends.
func (t *tasks) ready(ctx context.Context) {
	t.mu.Lock()
	all := t.all
	t.mu.Unlock()
	for _, one := range all {
		if one.Ready() == nil {
			continue
		}
		select {
		case <-one.Ready():
		case <-ctx.Done():
			return
		}
	}
}

// wait waits until all tasks have ended and returns the first error.
func (t *tasks) wait() error {
	t.running.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
