package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"capd/config"
	"capd/internal/finish"
	"capd/ledger"
	"capd/store"
	"capd/writer"
)

// A finisher does with a directory's finished files what the configuration says,
// by a finish.Queue. When the configuration changes, steps that are being done
// end as they began, and a new Queue goes on with what is left to do.
type finisher struct {
	make func(*config.Config) (*finish.Queue, error) // nil without an error: nothing is done with files
	log  *slog.Logger

	hurry    context.Context // done: hooks of the old configuration have no more time
	hurryNow context.CancelFunc
	changes  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	queue    *finish.Queue
	current  *config.Config // that of queue
	wanted   *config.Config // the newest
	next     *config.Config // that of the next Queue; nil: the present one is to stay
	changing bool
	waiting  []writer.File // finished while that is so
}

// openFinisher makes the first Queue. Nothing is done before begin.
func (d *directory) openFinisher(c *config.Config, self []string, log *slog.Logger) error {
	w := &finisher{log: log.With("directory", d.path)}
	w.make = func(c *config.Config) (*finish.Queue, error) { return d.newQueue(c, self, w.log) }
	w.hurry, w.hurryNow = context.WithCancel(context.Background())
	var err error
	w.queue, err = w.make(c)
	w.current, w.wanted = c, c
	d.finish = w
	return err
}

func (d *directory) newQueue(c *config.Config, self []string, log *slog.Logger) (*finish.Queue, error) {
	f := &c.Finished
	keepFree := uint64(c.Retain.MinFree.Bytes)
	if len(f.KeepUntil) > 0 {
		keepFree = 0 // limits wait for the compression: it must not wait for them
	}
	q, err := finish.New(finish.Options{
		Directory:   d.store,
		Compression: finish.Compression(f.Compress),
		Level:       f.Level,
		KeepFree:    keepFree,
		Self:        self,
		Hook:        f.Hook,
		HookTimeout: time.Duration(f.Timeout),
		HookAtOnce:  f.AtOnce,
		Log:         log,
		Report:      func(o finish.Outcome) { d.report(o, log) },
	})
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", d.path, err)
	}
	if f.Compress == config.CompressNone && len(f.Hook) == 0 {
		return nil, q.Close(context.Background()) // New has forgotten what an earlier hook had done
	}
	return q, nil
}

// begin starts the Queue. Hooks may end after the recorders, so that only close
// ends it.
func (w *finisher) begin() {
	if w.queue != nil {
		go w.queue.Run(context.Background())
	}
}

// add gives it a finished file.
func (w *finisher) add(f writer.File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.changing:
		w.waiting = append(w.waiting, f)
	case w.queue != nil:
		w.queue.Add(f)
	}
}

// change has another configuration hold as soon as the hooks that run have ended.
// A compression is begun anew.
func (w *finisher) change(c *config.Config) {
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
func (w *finisher) turn() bool {
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
	w.queue, w.current = q, c
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
func (w *finisher) drain(ctx context.Context) {
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

func (w *finisher) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changing || w.queue != nil && w.queue.Stats().Waiting > 0
}

// steps returns the first step that has not succeeded for a finished file, and
// the first of those until which no limit may delete it. It does not use the
// Directory.
func (w *finisher) steps(f *store.File) (pending, keepUntil string) {
	w.mu.Lock()
	q, named := w.queue, w.wanted.Finished.KeepUntil
	settled := q != nil && (!w.changing || slices.Equal(named, w.current.Finished.KeepUntil))
	w.mu.Unlock()
	switch {
	case len(named) > 0 && !settled: // nobody knows yet, or the Queue could not be made: the file stays
		return named[0], named[0]
	case q == nil:
		return "", ""
	case len(named) > 0:
		keepUntil = q.Next(f, named...)
	}
	return q.Next(f), keepUntil
}

// close ends all work. Hooks may run until the context ends.
func (w *finisher) close(ctx context.Context) {
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

// report passes on to the ledger and to retention what became of a file.
func (d *directory) report(o finish.Outcome, log *slog.Logger) {
	if o.Step == finish.Hook {
		d.book.note(ledger.Hook(o.Name, o.ExitCode, o.Err))
	}
	if o.Err != nil {
		return // the queue logs it, and tries again
	}
	switch o.Step {
	case finish.Compress:
		d.book.note(ledger.Compressed(o.Name, o.Path, o.Packed))
	case finish.Hook:
		log.Debug("hook has run", "file", o.Path, "took", o.Took)
	}
	d.keeper.Wake() // limits may take the file now
}
