// Package finish does what is left to do with a file once it is finished, step
// by step: it compresses the file, then runs the hook on it. The steps work in
// processes of their own, at the lowest priority, and are taken up again after a
// crash.
//
// Threads of the recorder's process would not do: one of low priority that is
// not let run holds up every stop of the world, and with it the recorder.
//
// The queue in memory is bounded; the directory is what lasts. Whether a file is
// compressed is told by its name. For which files the hook is done is in the
// directory's journal of marks, which package store describes.
//
// A hook runs at least once for a file: it is done when it has exited with 0
// and that is in the journal. A crash before, a failure and a timeout all make
// it run again, with the same file.
package finish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"capd/store"
	"capd/writer"
)

// A Compression is what finished files are compressed with.
type Compression string

// Compressions.
const (
	None Compression = "none"
	Zstd Compression = "zstd" // one frame a file: Wireshark reads no more of them
	Gzip Compression = "gzip"
)

// Ext returns what is appended to the name of a compressed file, with its dot.
func (c Compression) Ext() string {
	switch c {
	case Zstd:
		return store.Zstd.Ext()
	case Gzip:
		return store.Gzip.Ext()
	}
	return ""
}

// compressions are those that leave a compressed file.
var compressions = [...]Compression{Zstd, Gzip}

// Defaults of an Options' zero values.
const (
	DefaultHookTimeout = 5 * time.Minute
	DefaultLimit       = 1024
)

// Pause after a failure until the file is tried again: it doubles from the
// first to the last.
const (
	firstPause = time.Minute
	lastPause  = time.Hour
)

// Options say what to do with finished files. Zero values are defaults.
type Options struct {
	Directory   *store.Directory
	Compression Compression   // "": None
	Level       int           // of the compression: 1, the fastest, to 22 for Zstd or 9 for Gzip; 0: 1
	KeepFree    uint64        // bytes of the file system that no compression uses
	Self        []string      // command that calls Main; empty: compress in this process, at its priority
	Hook        []string      // absolute path of a program, and its arguments; empty: none
	HookTimeout time.Duration // after which a hook is killed; 0: DefaultHookTimeout
	HookAtOnce  int           // most hooks at a time; 0: 1
	Limit       int           // most files waiting in memory for each step; 0: DefaultLimit
	Log         *slog.Logger  // may be nil
	Report      func(Outcome) // called at each step's end, by several goroutines at once; may be nil
}

// An Outcome is how a step with one file ended.
type Outcome struct {
	Step     string
	Name     store.Name
	Path     string        // where the file is now
	Took     time.Duration // how long the step took
	Err      error         // nil when the step is done; else it is tried again
	Size     int64         // Compress: bytes of the file before
	Packed   int64         // Compress: and after
	SHA256   string        // Compress: of the file before, in hexadecimal
	ExitCode int           // Hook: -1 when it was killed or could not be started
}

// Stats are counters since the Queue was made.
type Stats struct {
	Waiting     int               // files in memory, waiting or being worked on
	Failing     int               // files whose last try failed
	Done        map[string]uint64 // files, by step
	Failed      map[string]uint64 // tries, by step
	BytesBefore uint64            // of compressed files
	BytesAfter  uint64
}

// A Queue works on the finished files of one directory, which its owner has
// locked: see store.LockDirectory. Its methods may be called from any goroutine.
type Queue struct {
	opt     Options
	dir     *store.Directory
	marks   *store.Marks // nil: no step has marks
	pack    *compressor
	steps   steps
	backlog *backlog
	wake    chan struct{} // there is something for keep to do
	ended   chan struct{} // closed: Run has returned
	orders

	mu      sync.Mutex    // guards what follows
	started bool          // Run was called
	fresh   []writer.File // what Add was given since keep looked
	taken   int           // of what keep looked at, not yet in the backlog
}

// Orders end work.
type orders struct {
	stop    context.Context // done: begin nothing more
	stopAll context.CancelFunc
	kill    context.Context // done: no more time for what runs; then stop is done too
	killAll context.CancelFunc
}

func newOrders() (o orders) {
	o.kill, o.killAll = context.WithCancel(context.Background())
	o.stop, o.stopAll = context.WithCancel(o.kill)
	return o
}

// New makes a Queue. Called with a hook for a directory that had none so far,
// it takes the finished files that are there as done: the hook is for those
// that come. So it belongs before the salvage of unfinished files.
func New(opt Options) (*Queue, error) {
	if err := opt.complete(); err != nil {
		return nil, fmt.Errorf("finish: %w", err)
	}
	q := &Queue{
		opt:    opt,
		dir:    opt.Directory,
		wake:   make(chan struct{}, 1),
		ended:  make(chan struct{}),
		orders: newOrders(),
	}
	q.pack = &compressor{dir: opt.Directory.Path(), opt: opt, stop: q.stop.Done(), stage: func(string) {}}
	if err := q.makeSteps(); err != nil {
		return nil, fmt.Errorf("finish: %w", err)
	}
	q.backlog = newBacklog(len(q.steps), opt.Limit)
	return q, nil
}

func (o *Options) complete() error {
	levels := map[Compression]int{"": 0, None: 0, Zstd: 22, Gzip: 9}
	most, ok := levels[o.Compression]
	switch {
	case !ok:
		return fmt.Errorf("no compression %q", o.Compression)
	case o.Compression.Ext() != "" && (o.Level < 0 || o.Level > most):
		return fmt.Errorf("level %d of %s is not within 1 and %d", o.Level, o.Compression, most)
	case len(o.Hook) > 0 && !filepath.IsAbs(o.Hook[0]):
		return fmt.Errorf("hook %q is not an absolute path", o.Hook[0])
	}
	o.Level = max(o.Level, 1)
	o.HookAtOnce = max(o.HookAtOnce, 1)
	if o.HookTimeout <= 0 {
		o.HookTimeout = DefaultHookTimeout
	}
	if o.Limit <= 0 {
		o.Limit = DefaultLimit
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Report == nil {
		o.Report = func(Outcome) {}
	}
	return nil
}

// Add gives the Queue a finished file of its directory. It never blocks and
// never touches the disk. A file that finds no room is found again later.
func (q *Queue) Add(f writer.File) {
	if f.Err != nil {
		return // it is not finished
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.fresh) == q.opt.Limit {
		q.backlog.miss() // its facts are lost: the hook gets what the name says
	} else {
		q.fresh = append(q.fresh, f)
	}
	q.nudge()
}

// Stats returns the counters.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	added := len(q.fresh) + q.taken
	q.mu.Unlock()
	s := q.backlog.counters() // only now: a file that gets there meanwhile counts twice, not never
	s.Waiting += added
	return s
}

// Close stops the Queue. A compression under way is given up: it begins anew
// at the next start. Hooks under way may end until ctx is done; then they are
// killed with their children, and Close returns ctx's cause. Files that Add was
// given before are in the journal when Close returns.
func (q *Queue) Close(ctx context.Context) error {
	started := q.halt()
	var err error
	if started {
		err = q.await(ctx)
	}
	q.killAll()
	if q.marks == nil {
		return err
	}
	q.record()
	return errors.Join(err, q.marks.Close())
}

// lastWait is how long Close waits for what was killed to be gone. More does
// not help: it hangs in the kernel, on a dead disk.
const lastWait = time.Second

func (q *Queue) await(ctx context.Context) error {
	select {
	case <-q.ended:
		return nil
	case <-ctx.Done():
	}
	q.killAll()
	timer := time.NewTimer(lastWait)
	defer timer.Stop()
	select {
	case <-q.ended:
	case <-timer.C:
	}
	return fmt.Errorf("finish: stop hooks: %w", context.Cause(ctx))
}

// halt lets nothing begin any more and reports whether Run was called.
func (q *Queue) halt() (started bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopAll()
	q.backlog.stop()
	return q.started
}
