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

// A finisher processes a directory's finished files as the configuration says,
// by a finish.Queue. When the configuration changes, running steps end under
// the old one, and a new Queue continues with the remaining work.
type finisher struct {
	make func(*config.Config) (*finish.Queue, error) // a nil Queue without an error means that no step is configured
	log  *slog.Logger

	hurry    context.Context // done: hooks of the old configuration must end now
	hurryNow context.CancelFunc
	changes  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	queue    *finish.Queue
	current  *config.Config // configuration of queue
	wanted   *config.Config // the newest configuration
	next     *config.Config // configuration of the next Queue; nil: no change is pending
	changing bool
	waiting  []writer.File // files that finished while changing was set
}

// openFinisher makes the first Queue. No step runs before begin.
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
		keepFree = 0 // limits wait for the compression, so the compression must not wait for limits
	}
	var undigested func(store.Name) bool
	if c.Seal.Enabled {
		undigested = d.seals.wants
	}
	q, err := finish.New(finish.Options{
		Directory:   d.store,
		Index:       c.Index.Enabled,
		Undigested:  undigested,
		Compression: finish.Compression(f.Compress),
		Level:       f.Level,
		Seekable:    f.Seekable,
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
	if !c.Seal.Enabled && !c.Index.Enabled && f.Compress == config.CompressNone && len(f.Hook) == 0 {
		return nil, q.Close(context.Background()) // New has removed the marks of an earlier hook
	}
	return q, nil
}

// begin starts the Queue. It runs until close, since hooks may end after the
// recorders.
func (w *finisher) begin() {
	if w.queue != nil {
		go w.queue.Run(context.Background())
	}
}

// add gives the finisher a finished file.
func (w *finisher) add(f writer.File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.changing:
		w.waiting = append(w.waiting, f)
	case w.queue != nil:
		w.queue.Add(f)
	default:
		finish.Drop(&f)
	}
}

// change puts another configuration into effect once the running hooks have
// ended. A running compression begins again.
func (w *finisher) change(c *config.Config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wanted.Retain.MinFree == c.Retain.MinFree && w.wanted.Index == c.Index && w.wanted.Seal == c.Seal && reflect.DeepEqual(w.wanted.Finished, c.Finished) {
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

// turn replaces the Queue, and reports whether it must be replaced again.
func (w *finisher) turn() bool {
	w.mu.Lock()
	old, c := w.queue, w.next
	w.next = nil
	w.mu.Unlock()
	if old != nil {
		if err := old.Close(w.hurry); err != nil {
			w.log.Warn("the steps on finished files did not stop in order", "error", err)
		}
	}
	q, err := w.make(c)
	if err != nil {
		w.log.Error("no step runs on finished files until the configuration is reloaded", "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue, w.current = q, c
	w.begin()
	if w.next != nil {
		return true
	}
	for _, f := range w.waiting {
		if q == nil {
			finish.Drop(&f)
			continue
		}
		q.Add(f)
	}
	w.waiting, w.changing = nil, false
	return false
}

// drainLook is the time between two checks of drain.
const drainLook = 50 * time.Millisecond

// drain returns when every step on the directory's files has succeeded or
// failed, or when the context ends.
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
// the first of those that keep_until names. It does not use the Directory,
// whose lock may be held.
func (w *finisher) steps(f *store.File) (pending, keepUntil string) {
	w.mu.Lock()
	q, named := w.queue, w.wanted.Finished.KeepUntil
	settled := q != nil && (!w.changing || slices.Equal(named, w.current.Finished.KeepUntil))
	w.mu.Unlock()
	switch {
	case len(named) > 0 && !settled: // unknown yet, or the Queue could not be made: the file stays
		return named[0], named[0]
	case q == nil:
		return "", ""
	case len(named) > 0:
		keepUntil = q.Next(f, named...)
	}
	return q.Next(f), keepUntil
}

// close stops all steps. Hooks may run until the context ends.
func (w *finisher) close(ctx context.Context) { w.stop(ctx, (*finish.Queue).Close) }

// rest stops all steps as close does. Files may be added until close.
func (w *finisher) rest(ctx context.Context) { w.stop(ctx, (*finish.Queue).Rest) }

func (w *finisher) stop(ctx context.Context, end func(*finish.Queue, context.Context) error) {
	defer context.AfterFunc(ctx, w.hurryNow)()
	w.changes.Wait()
	w.hurryNow()
	w.mu.Lock()
	q := w.queue
	w.mu.Unlock()
	if q == nil {
		return
	}
	if err := end(q, ctx); err != nil {
		w.log.Warn("the steps on finished files did not stop in order", "error", err)
	}
}

// report reports the outcome of a step to the ledger and to retention.
func (d *directory) report(o finish.Outcome, log *slog.Logger) {
	if o.Step == finish.Hook {
		d.ledger.note(ledger.Hook(o.Name, o.ExitCode, o.Err))
	}
	if o.Err != nil {
		return // the Queue logs the error and tries again
	}
	switch o.Step {
	case finish.Seal:
		d.ledger.note(ledger.Digest(o.Name, o.Digest))
		log.Debug("file digested", "file", o.Path, "bytes", o.Size, "took", o.Took)
	case finish.Compress:
		d.ledger.note(ledger.Compressed(o.Name, o.Path, o.Packed))
	case finish.Index:
		log.Debug("flow table made", "file", o.Path, "bytes", o.Size, "table_bytes", o.Table, "read", !o.Recorded, "took", o.Took)
	case finish.Hook:
		log.Debug("hook has run", "file", o.Path, "took", o.Took)
	}
	d.keeper.Wake() // limits may now delete the file
}
