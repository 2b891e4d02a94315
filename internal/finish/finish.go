// Package finish processes finished files in steps: first it digests a file whose
// bytes are to be sealed, then it makes the flow table of a file, then it compresses the file, then it runs the hook on it. The steps run in processes of their own at the
// lowest priority, and are resumed after a crash.
//
// Threads of the recorder's process would not do: every stop-the-world pause of
// the Go runtime waits for all running threads, and so the recorder would wait
// for a thread of low priority that gets no processor.
//
// The queue in memory is bounded; the directory is the durable state. The name
// of a file says whether it is compressed, and a table beside it that it has one.
// The directory's journal of marks,
// which package store describes, says for which files the hook is done.
//
// A hook runs at least once for a file. It is done when it has exited with 0
// and the journal says so. After a crash before that, a failure or a timeout it
// runs again for the same file.
package finish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"capd/seal"
	"capd/store"
	"capd/writer"
)

// A Compression is the format in which finished files are compressed.
type Compression string

// Compressions.
const (
	None Compression = "none"
	Zstd Compression = "zstd" // one frame per file, since Wireshark reads only the first frame
	Gzip Compression = "gzip"
)

// Ext returns the extension of compressed files, with its dot; empty for None.
func (c Compression) Ext() string {
	switch c {
	case Zstd:
		return store.Zstd.Ext()
	case Gzip:
		return store.Gzip.Ext()
	}
	return ""
}

// compressions are the formats that compress.
var compressions = [...]Compression{Zstd, Gzip}

// Defaults for zero values of Options.
const (
	DefaultHookTimeout = 5 * time.Minute
	DefaultLimit       = 1024
)

// Pauses between a failure and the next try: they double from firstPause up to
// lastPause.
const (
	firstPause = time.Minute
	lastPause  = time.Hour
)

// Options configure a Queue. Zero values select the defaults.
type Options struct {
	Directory *store.Directory
	Index     bool // make flow tables

	// Undigested reports whether a file has to be digested; nil: none has. It must
	// not wait: the Directory's lock may be held.
	Undigested func(store.Name) bool

	Compression Compression   // "": None
	Level       int           // of the compression: 1, the fastest, to 22 for Zstd or 9 for Gzip; 0: 1
	Seekable    bool          // Zstd: in frames that can be read by themselves, as Gzip always is
	KeepFree    uint64        // bytes of the file system that compressions and tables must leave free
	Self        []string      // command of a process that calls Main; empty: work in this process, at its priority
	Hook        []string      // absolute path of a program, and its arguments; empty: none
	HookTimeout time.Duration // after which a hook is killed; 0: DefaultHookTimeout
	HookAtOnce  int           // most hooks that run at once; 0: 1
	Limit       int           // most files waiting in memory for each step; 0: DefaultLimit
	Log         *slog.Logger  // may be nil
	Report      func(Outcome) // called after each step, by several goroutines at once; may be nil
}

// An Outcome is the result of one step for one file.
type Outcome struct {
	Step     string
	Name     store.Name
	Path     string        // the file's present path
	Took     time.Duration // how long the step took
	Err      error         // nil if the step is done; otherwise it is tried again
	Size     int64         // Index, Compress: bytes of the original
	Packed   int64         // Compress: bytes of the compressed file
	SHA256   string        // Compress: of the original, in hexadecimal
	Digest   seal.Digest   // Seal: of what was recorded
	Table    int64         // Index: bytes of the table
	Recorded bool          // Index: its rows are those of the recorder, and the file was not read
	ExitCode int           // Hook: exit code; -1 if it was killed or could not be started
}

// Stats count since the Queue was made.
type Stats struct {
	Waiting     int               // files in memory that wait or are being worked on
	Failing     int               // files whose last try failed
	Done        map[string]uint64 // successful tries, by step
	Failed      map[string]uint64 // failed tries, by step
	BytesBefore uint64            // of the files that were compressed
	BytesAfter  uint64
}

// A Queue processes the finished files of one directory. The caller must hold
// the directory's lock: see store.LockDirectory. Any goroutine may call its
// methods.
type Queue struct {
	opt     Options
	dir     *store.Directory
	marks   *store.Marks // nil: no step has marks
	pack    *compressor
	steps   steps
	backlog *backlog
	wake    chan struct{} // wakes keep
	ended   chan struct{} // closed: Run has returned
	orders
	recorded recorded

	mu      sync.Mutex    // guards what follows
	started bool          // Run was called
	fresh   []writer.File // files from Add that record has not taken yet
	taken   int           // files that record has taken and not yet put into the backlog
}

// orders stop the work of a Queue.
type orders struct {
	stop    context.Context // done: begin no further work
	stopAll context.CancelFunc
	kill    context.Context // done: kill running work; then stop is done too
	killAll context.CancelFunc
}

func newOrders() (o orders) {
	o.kill, o.killAll = context.WithCancel(context.Background())
	o.stop, o.stopAll = context.WithCancel(o.kill)
	return o
}

// New makes a Queue. If the directory had no hook before and now has one, New
// marks the hook as done for the finished files in it, since the hook is for
// new files only. New must therefore run before unfinished files are salvaged.
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
// never touches the disk. A file that finds no room is found by a later scan.
func (q *Queue) Add(f writer.File) {
	if f.Err == nil && q.opt.Index {
		q.recorded.add(&f)
	} else {
		Drop(&f)
	}
	if f.Err != nil {
		return // it is not finished
	}
	f.Observer = nil
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.fresh) == q.opt.Limit {
		q.backlog.miss() // its facts are lost: the hook gets only what the name says
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
	s := q.backlog.counters() // read last, so that a file that enters the backlog in between counts twice rather than never
	s.Waiting += added
	return s
}

// Close stops the Queue. A table or compression that is being made is given up and
// begins again at the next start. Running hooks may end until ctx is done; then they and their
// children are killed, and Close returns the cause of ctx. When Close returns,
// the journal has the files that were added before.
func (q *Queue) Close(ctx context.Context) error {
	started := q.halt()
	var err error
	if started {
		err = q.await(ctx)
	}
	q.killAll()
	q.recorded.drop()
	if q.marks == nil {
		return err
	}
	q.record()
	return errors.Join(err, q.marks.Close())
}

// Rest stops the steps and lets running hooks end as Close does. Files may be added until Close.
func (q *Queue) Rest(ctx context.Context) error {
	if !q.halt() {
		return nil
	}
	return q.await(ctx)
}

// lastWait is how long Close waits for killed processes to end. A longer wait
// would not help: such a process hangs in the kernel, on a dead disk.
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

// halt stops new work from beginning and reports whether Run was called.
func (q *Queue) halt() (started bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopAll()
	q.backlog.stop()
	return q.started
}
