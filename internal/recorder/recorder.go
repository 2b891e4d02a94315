// Package recorder records one interface, or one lane of it, into files. A
// recorder is an explicit state machine over a source of devices. It shares
// nothing with other recorders but a Shared and, while one replaces another, a
// Takeover.
package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"capd/capture"
	"capd/config"
	"capd/crypt"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

// idle is how long a recorder waits for frames before it looks at the clock.
const idle = 100 * time.Millisecond

// lookEvery is the time between two attempts to open an interface.
const lookEvery = time.Second

// Linger is how long a recorder waits for an interface that disappeared if the
// configuration names it by a glob only.
const Linger = 10 * time.Second

// ErrHeld is returned by a Source while other recorders still read the devices
// that it opened before.
var ErrHeld = errors.New("other recorders have not let go of the interface yet")

// A Source opens the devices of an interface.
type Source interface {
	// Open opens the device. A gated device lets no frame in until Device.Admit.
	Open(gated bool) (*Device, error)

	// Leave says that this lane will open no more devices.
	Leave()
}

// A Device is a device that a Source has opened, and what the Source knows of
// it.
type Device struct {
	*capture.Device
	Speed   uint64 // of the interface, in bit/s; 0 if unknown
	Remark  string // a warning about the filter; empty for none
	Closed  func() // called after the recorder has closed the device
	Adopted bool   // an earlier process opened it
	Ring    uint64 // identifies the ring in all processes that may read it; 0: it ends with this one
}

// A Config says what to record and how.
type Config struct {
	Lane     store.Lane
	Settings *config.Interface
	Source   Source
	Shared   *Shared
	Kept     Kept
	Takeover *Takeover    // from the predecessors; nil if there are none
	TookOver func()       // called when the takeover is over, unless it is nil
	Pool     int64        // bytes for packets on their way to the disk
	Sequence uint64       // the last sequence number in use
	Here     func() error // see writer.Options; may be nil
	Note     func(ledger.Entry)
	Digest   func() *writer.Digester                   // see writer.Options; may be nil
	Observe  func(pcap.Header, []byte) writer.Observer // see writer.Options; may be nil
	Finished func(writer.File)                         // called in the background for each file that has ended
	Changes  func() bool                               // reports whether Leave may be called although the context of Run has ended; may be nil
	Log      *slog.Logger
}

// A Kept is what of a recorder outlives its process, and what one of an earlier
// process has left. The zero value is nothing.
type Kept struct {
	Journal *writer.Journal // nil: nothing outlives the process
	Memory  *os.File        // of the chunks, from an earlier process; nil: the recorder makes its own
	Until   time.Time       // up to when a recorder of an earlier process recorded that ended in order and left no journal; zero: none
	Lapsed  bool            // the ring that a recorder of an earlier process read is lost
	Spent   bool            // that ring was read to its end: only its files are to be finished
}

// A Recorder records one lane of an interface. Run is its only goroutine. Other
// goroutines reach it through types that have locks of their own.
type Recorder struct {
	cfg        Config
	log        *slog.Logger
	writer     *writer.Writer
	tally      tally
	visible    visible
	orders     orders
	exit       exit
	progress   Progress
	endedFiles endedFiles
	ready      chan struct{} // see Ready
	loop       *loop         // used by Run alone; before Run, by the goroutine that called New
}

// orders are requests of other goroutines. The recorder follows them at its
// next turn.
type orders struct {
	rotate    atomic.Bool
	sync      atomic.Pointer[func()] // to be called when the present file is synced; nil for no order
	flush     chan flushOrder
	settings  atomic.Pointer[config.Interface] // new settings; nil for none
	giveUp    context.Context                  // done: files that the disk has not taken stay partial
	giveUpNow context.CancelFunc
}

// New makes a recorder. Nothing is recorded before Open or Run. A recorder that
// is never run must be discarded.
func New(cfg Config) (*Recorder, error) {
	c := cfg.Settings
	r := &Recorder{cfg: cfg, log: cfg.Log.With("interface", cfg.Lane.Interface), ready: make(chan struct{})}
	if cfg.Lane.Number > 0 {
		r.log = r.log.With("lane", cfg.Lane.Number)
	}
	recipients, err := recipientsOf(c)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", cfg.Lane.Interface, err)
	}
	r.loop = newLoop(r)
	w, err := writer.New(writer.Options{
		Directory:      c.Directory,
		Header:         r.loop.device.header(r.loop.device.link.now.LinkType),
		RotateSize:     int64(c.RotateSize),
		RotateInterval: time.Duration(c.RotateInterval),
		SyncInterval:   time.Duration(c.SyncInterval),
		FlushInterval:  time.Duration(c.FlushInterval),
		Grace:          2*time.Duration(c.BlockTimeout) + idle,
		KeepEmpty:      c.KeepEmpty,
		FileMode:       fs.FileMode(c.FileMode),
		PoolSize:       int(cfg.Pool),
		ChunkSize:      int(c.ChunkSize),
		NoDirect:       c.Direct == config.DirectOff,
		Recipients:     recipients,
		Lane:           cfg.Lane.Number,
		Sequence:       cfg.Sequence,
		Journal:        cfg.Kept.Journal,
		Memory:         cfg.Kept.Memory,
		Boot:           cfg.Shared.Boot,
		Here:           cfg.Here,
		Drops:          r.tally.drops,
		Note:           cfg.Note,
		Digest:         cfg.Digest,
		Observe:        cfg.Observe,
		Finished:       func(f writer.File) { r.endedFiles.add(f, r.log, cfg.Finished) },
		Log:            r.log,
	})
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", cfg.Lane.Interface, err)
	}
	r.writer = w
	r.tally.past.Received = w.Inherited().Accepted // the writer counts them as written, or as waiting
	switch {
	case cfg.Kept.Spent:
		w.Finish()
		r.loop.phase, r.loop.ready = ending, true
		close(r.ready)
	case cfg.Kept.Lapsed:
		r.loop.lapse(cfg.Kept.Until)
	case !cfg.Kept.Until.IsZero():
		w.Follow(writer.End{Time: cfg.Kept.Until})
	}
	r.progress.r, r.progress.start = r, time.Now()
	r.visible.set(Waiting)
	cfg.Shared.Claims.add(r)
	r.orders.flush = make(chan flushOrder, mostFlushes)
	r.orders.giveUp, r.orders.giveUpNow = context.WithCancel(context.Background())
	return r, nil
}

// recipientsOf returns whom files are encrypted for; nil: they are not.
func recipientsOf(c *config.Interface) (*crypt.Recipients, error) {
	if len(c.Recipients) == 0 {
		return nil, nil
	}
	return crypt.ParseRecipients(c.Recipients)
}

// Open opens the device before Run, so that its frames are collected from now
// on. In a takeover the device admits no frame until the predecessors are
// ready. The error is ErrHeld while other recorders hold the interface; Run
// then waits for it.
func (r *Recorder) Open() error {
	if t := r.cfg.Takeover; t.expects() {
		return r.loop.device.openGated(t)
	}
	err := r.loop.device.open()
	if err == nil {
		r.loop.tick() // frames are collected from now on
	}
	return err
}

// Memory returns the memory of the chunks, for a recorder of another process; nil if it can't outlive
// this one.
func (r *Recorder) Memory() (*os.File, error) { return r.writer.Memory() }

// Completed returns the reports of the latest files that were completed by a recorder of an earlier
// process, which may have ended before it could pass them to Config.Finished.
func (r *Recorder) Completed() []writer.File { return r.writer.Completed() }

// Discard releases what a recorder holds that was never run.
func (r *Recorder) Discard() {
	r.loop.device.close()
	r.cfg.Source.Leave()
	_ = r.writer.Close(context.Background())
	r.orders.giveUpNow()
	r.cfg.Shared.Claims.forget(r)
}

// Run records until the context ends. The interface may come and go. Run
// returns when all files are finished, or after GiveUp.
func (r *Recorder) Run(ctx context.Context) error {
	defer r.cfg.Shared.Claims.forget(r)
	defer r.orders.giveUpNow()
	return r.loop.run(ctx)
}

// Ready is closed once Run records or waits for the interface.
func (r *Recorder) Ready() <-chan struct{} { return r.ready }

// String names the recorder.
func (r *Recorder) String() string {
	if r.cfg.Lane.Number > 0 {
		return fmt.Sprintf("recorder of %s, lane %d", r.cfg.Lane.Interface, r.cfg.Lane.Number)
	}
	return "recorder of " + r.cfg.Lane.Interface
}

// Leave makes the recorder hand its interface over to the successors in the
// takeover. The caller ends the context of Run next. Successors may claim the
// interface from now on.
func (r *Recorder) Leave(t *Takeover) {
	r.cfg.Shared.Claims.leave(r)
	r.exit.begin(t, r.cfg.Lane)
}

// Lane returns what the recorder records.
func (r *Recorder) Lane() store.Lane { return r.cfg.Lane }

// Until returns up to when a recorder of an earlier process recorded, as far as it is known; zero
// without one. It must be called before Open.
func (r *Recorder) Until() time.Time {
	if !r.cfg.Kept.Until.IsZero() {
		return r.cfg.Kept.Until
	}
	return r.writer.Inherited().Until
}

// Ended returns up to when every frame was recorded. It must be called after Run.
func (r *Recorder) Ended() time.Time { return r.loop.time() }

// Left reports whether Leave was called.
func (r *Recorder) Left() bool { return r.exit.get() != nil }

// GiveUp makes Run return soon, whatever the disk does. Files stay partial.
func (r *Recorder) GiveUp() {
	r.writer.Abort()
	r.orders.giveUpNow()
}

// Adjust gives the recorder settings that need no new device and no new file.
func (r *Recorder) Adjust(c *config.Interface) { r.orders.settings.Store(c) }

// Rotate makes the recorder begin a new file and returns the name of the
// present one. It returns false if there is no present file.
func (r *Recorder) Rotate() (store.Name, bool) {
	name, err := store.ParseName(strings.TrimSuffix(filepath.Base(r.writer.Stats().File), store.Partial))
	r.orders.rotate.Store(true)
	return name, err == nil
}

// Sync makes the recorder sync its present file in the background, and calls done when that is over. A
// recorder that waits or ends may not come to it.
func (r *Recorder) Sync(done func()) { r.orders.sync.Store(&done) }

// EndedSequence returns the highest sequence number of the files that have ended
// and that Config.Finished has been called for.
func (r *Recorder) EndedSequence() uint64 { return r.endedFiles.sequence.Load() }

// Index returns the index of the interface whose device is open; 0 if none is.
func (r *Recorder) Index() int { return r.cfg.Shared.Claims.index(r) }

// Sequence returns the last sequence number in use.
func (r *Recorder) Sequence() uint64 { return r.writer.Sequence() }

// Progress reports whether the recorder makes progress.
func (r *Recorder) Progress() *Progress { return &r.progress }

// Refresh asks the interface for its own counter of lost frames. It may block.
func (r *Recorder) Refresh() { r.tally.refresh() }

// endedFiles remembers which files have ended.
type endedFiles struct {
	sequence atomic.Uint64 // highest one of a file that Config.Finished has returned for
}

// add is called by the writer, in the background, for each file that has ended.
func (d *endedFiles) add(f writer.File, log *slog.Logger, notify func(writer.File)) {
	notify(f)
	defer d.sequence.Store(max(f.Name.Sequence, d.sequence.Load())) // after notify has returned
	if f.Err != nil {
		log.Error("file failed", "file", f.Path, "lost", f.Lost, "error", f.Err)
		return
	}
	log.Debug("file finished", "file", f.Path, "reason", string(f.Reason), "packets", f.Packets, "size", f.Size,
		"kernel_drops", f.KernelDrops)
	if f.KernelDrops > 0 {
		log.Warn("the kernel dropped frames: the ring was full", "file", f.Path, "count", f.KernelDrops)
	}
}
