package daemon

import (
	"capd/config"
	"capd/internal/after"
	"capd/ledger"
	"capd/writer"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"
)

// A workshop does with a directory's finished files what the configuration
// says. When that is something else, what is under way ends by the old word,
// and a new queue finds in the directory what is left to do.
type workshop struct {
	make func(*config.Config) (*after.Queue, error) // nil: nothing is done with files
	log  *slog.Logger

	hurry    context.Context // done: hooks of the old word have no more time
	hurryNow context.CancelFunc
	changes  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	queue    *after.Queue
	wanted   *config.Config // to go by at last
	next     *config.Config // to go by from the end of what is under way on; nil: none
	changing bool
	waiting  []writer.File // finished while that is so
}

// openWorkshop makes the queue. Nothing is done before begin.
func (d *directory) openWorkshop(c *config.Config, self []string, log *slog.Logger) error {
	w := &workshop{log: log.With("directory", d.path)}
	w.make = func(c *config.Config) (*after.Queue, error) { return d.newQueue(c, self, w.log) }
	w.hurry, w.hurryNow = context.WithCancel(context.Background())
	var err error
	w.queue, err = w.make(c)
	w.wanted = c
	d.after = w
	return err
}

func (d *directory) newQueue(c *config.Config, self []string, log *slog.Logger) (*after.Queue, error) {
	f := &c.Finished
	q, err := after.New(after.Options{
		Directory:   d.path,
		Compression: after.Compression(f.Compress),
		Level:       f.Level,
		KeepFree:    uint64(c.Retain.MinFree.Bytes),
		Self:        self,
		Hook:        f.Hook,
		HookTimeout: time.Duration(f.Timeout),
		HookAtOnce:  f.AtOnce,
		Log:         log,
		Report:      func(o after.Outcome) { d.report(o, log) },
	})
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", d.path, err)
	}
	if f.Compress == config.CompressNone && len(f.Hook) == 0 {
		return nil, q.Close(context.Background()) // it has forgotten what an earlier hook had done
	}
	return q, nil
}

// begin begins to work: hooks may end after the recorders, so that only close
// ends it.
func (w *workshop) begin() {
	if w.queue != nil {
		go w.queue.Run(context.Background())
	}
}

// add gives it a finished file.
func (w *workshop) add(f writer.File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.changing:
		w.waiting = append(w.waiting, f)
	case w.queue != nil:
		w.queue.Add(f)
	}
}

// change has it go by another configuration as soon as the hooks that are under
// way have ended. A compression is begun anew.
func (w *workshop) change(c *config.Config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wanted.Retain.MinFree == c.Retain.MinFree && reflect.DeepEqual(w.wanted.Finished, c.Finished) {
		return
	}
	w.wanted, w.next = c, c
	if !w.changing {
		w.changing = true
		w.changes.Go(func() {
			for w.turn() {
			}
		})
	}
}

// turn replaces the queue, and reports whether it is to be replaced again.
func (w *workshop) turn() bool {
	w.mu.Lock()
	old, c := w.queue, w.next
	w.next = nil
	w.mu.Unlock()
	if old != nil {
		if err := old.Close(w.hurry); err != nil {
			w.log.Warn("stop what is done with finished files", "error", err)
		}
	}
	q, err := w.make(c)
	if err != nil {
		w.log.Error("nothing is done with finished files until the configuration is read again", "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = q
	w.begin()
	if w.next != nil {
		return true
	}
	for _, f := range w.waiting {
		if q != nil {
			q.Add(f)
		}
	}
	w.waiting, w.changing = nil, false
	return false
}

// drainLook is how often it is looked whether there is nothing left to do.
const drainLook = 50 * time.Millisecond

// drain returns when what is to be done with files is done, or has failed, or
// when the context ends.
func (w *workshop) drain(ctx context.Context) {
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	for w.busy() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *workshop) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changing || w.queue != nil && w.queue.Stats().Waiting > 0
}

// close ends it. Hooks may run until the context ends.
func (w *workshop) close(ctx context.Context) {
	defer context.AfterFunc(ctx, w.hurryNow)()
	w.changes.Wait()
	w.hurryNow()
	if w.queue == nil {
		return
	}
	if err := w.queue.Close(ctx); err != nil {
		w.log.Warn("stop what is done with finished files", "error", err)
	}
}

// report tells the ledger and retention what became of a file.
func (d *directory) report(o after.Outcome, log *slog.Logger) {
	if o.Step == after.RunHook {
		d.book.note(ledger.Hook(o.Name, o.ExitCode, o.Err))
	}
	if o.Err != nil {
		return // the queue logs it, and tries again
	}
	switch o.Step {
	case after.Compress:
		d.book.note(ledger.Compressed(o.Name, o.Path, o.Packed))
		d.store.Look(o.Name)
	case after.RunHook:
		log.Debug("hook has run", "file", o.Path, "took", o.Took)
	}
}
