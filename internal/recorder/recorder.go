// Package recorder records one interface, or one lane of it, into files: an
// explicit state machine over a source of devices. It knows nothing of those
// beside it but what Shared and Takeover say.
package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"capd/capture"
	"capd/config"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

// idle is how long a recorder waits for frames before it looks at the clock.
const idle = 100 * time.Millisecond

// lookEvery is how often it is tried to open an interface that can't be opened.
const lookEvery = time.Second

// Linger is how long the recorder of an interface that a glob took waits for it
// to come back, once it is gone.
const Linger = 10 * time.Second

// ErrHeld is returned by a Source while others still read the devices that were
// opened before.
var ErrHeld = errors.New("other recorders have not let go of the interface yet")

// A Source opens the devices of an interface.
type Source interface {
	// Open opens the device for an interface whose own link type is given. A
	// gated device lets no frame in until Device.Admit.
	Open(own pcap.LinkType, gated bool) (*Device, error)

	// Leave tells that no device will be opened any more.
	Leave()
}

// A Device is a device that a Source has opened, and what it knows of it.
type Device struct {
	*capture.Device
	LinkType pcap.LinkType // that the filter is for
	Speed    uint64        // of the interface in bit/s; 0 is unknown
	Remark   string        // what is odd about the filter; empty for nothing
	Closed   func()        // called when the recorder has closed the device
}

// A Config says what to record and how.
type Config struct {
	Lane     store.Lane
	Settings *config.Interface
	Source   Source
	Shared   *Shared
	Takeover *Takeover // from the recorders before; nil without any
	Pool     int64     // bytes for packets on their way to the disk
	Sequence uint64    // the last sequence number in use
	Note     func(ledger.Entry)
	Finished func(writer.File) // called for each file that ended, in the background
	Log      *slog.Logger
}

// A Recorder records one lane of an interface. Run is its one goroutine; what
// other goroutines ask and order goes through types with a lock of their own.
type Recorder struct {
	cfg      Config
	log      *slog.Logger
	writer   *writer.Writer
	tally    tally
	shown    shown
	orders   orders
	exit     exit
	progress Progress
	filed    filed
	ready    chan struct{} // see Ready
	loop     *loop         // of Run; before Run, of the one goroutine that made the Recorder
}

// orders are what other goroutines want of a recorder. It follows them at its
// next turn.
type orders struct {
	rotate    atomic.Bool
	settings  atomic.Pointer[config.Interface] // to go by
	giveUp    context.Context                  // done: what the disk has not taken stays as it is
	giveUpNow context.CancelFunc
}

// New makes a recorder. Nothing is recorded before Open or Run. One that is not
// run is to be discarded.
func New(cfg Config) (*Recorder, error) {
	c := cfg.Settings
	r := &Recorder{cfg: cfg, log: cfg.Log.With("interface", cfg.Lane.Interface), ready: make(chan struct{})}
	if cfg.Lane.Number > 0 {
		r.log = r.log.With("lane", cfg.Lane.Number)
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
		Lane:           cfg.Lane.Number,
		Sequence:       cfg.Sequence,
		Boot:           cfg.Shared.Boot,
		Drops:          r.tally.drops,
		Note:           cfg.Note,
		Finished:       func(f writer.File) { r.filed.add(f, r.log, cfg.Finished) },
		Log:            r.log,
	})
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", cfg.Lane.Interface, err)
	}
	r.writer = w
	r.progress.r, r.progress.start = r, time.Now()
	r.shown.set(Waiting)
	cfg.Shared.Claims.add(r)
	r.orders.giveUp, r.orders.giveUpNow = context.WithCancel(context.Background())
	return r, nil
}

// Open opens the device before Run, so that its frames are collected from now
// on. For a takeover the device lets nothing in before the others are ready.
// The error is ErrHeld while others hold the interface: Run waits for it.
func (r *Recorder) Open() error {
	if r.cfg.Takeover != nil {
		return r.loop.device.openGated(r.cfg.Takeover)
	}
	err := r.loop.device.open()
	if err == nil {
		r.loop.tick() // frames are collected from now on
	}
	return err
}

// Discard gives back what a recorder holds that never ran.
func (r *Recorder) Discard() {
	r.loop.device.close()
	r.cfg.Source.Leave()
	_ = r.writer.Close(context.Background())
	r.orders.giveUpNow()
	r.cfg.Shared.Claims.forget(r)
}

// Run records until the context ends. The interface may come and go. Run returns
// when all files are finished, or after GiveUp.
func (r *Recorder) Run(ctx context.Context) error {
	defer r.cfg.Shared.Claims.forget(r)
	defer r.orders.giveUpNow()
	return r.loop.run(ctx)
}

// Ready is closed when Run records, or waits for the interface.
func (r *Recorder) Ready() <-chan struct{} { return r.ready }

// String names the recorder.
func (r *Recorder) String() string {
	if r.cfg.Lane.Number > 0 {
		return fmt.Sprintf("recorder of %s, lane %d", r.cfg.Lane.Interface, r.cfg.Lane.Number)
	}
	return "recorder of " + r.cfg.Lane.Interface
}

// Leave has others take over from the recorder when the context of Run ends,
// which is to be ended next. They may claim its interface from now on.
func (r *Recorder) Leave(t *Takeover) {
	r.cfg.Shared.Claims.leave(r)
	r.exit.begin(t, r.cfg.Lane)
}

// GiveUp makes Run return soon, whatever the disk does. Files stay partial.
func (r *Recorder) GiveUp() {
	r.writer.Abort()
	r.orders.giveUpNow()
}

// Adjust has the recorder take over settings that hold in place.
func (r *Recorder) Adjust(c *config.Interface) { r.orders.settings.Store(c) }

// Rotate has the recorder begin a new file, and returns the name of the present
// one. It is false if there is none.
func (r *Recorder) Rotate() (store.Name, bool) {
	name, err := store.ParseName(strings.TrimSuffix(filepath.Base(r.writer.Stats().File), store.Partial))
	r.orders.rotate.Store(true)
	return name, err == nil
}

// Filed returns the highest sequence number of a file that has ended, and of
// which everybody knows.
func (r *Recorder) Filed() uint64 { return r.filed.sequence.Load() }

// Index returns the index of the interface whose device is open; 0 without one.
func (r *Recorder) Index() int { return r.cfg.Shared.Claims.index(r) }

// Sequence returns the last sequence number in use.
func (r *Recorder) Sequence() uint64 { return r.writer.Sequence() }

// Progress tells whether the recorder goes on.
func (r *Recorder) Progress() *Progress { return &r.progress }

// Refresh asks the interface for its own counter of lost frames. It may wait.
func (r *Recorder) Refresh() { r.tally.refresh() }

// filed knows the files that have ended.
type filed struct {
	sequence atomic.Uint64 // the highest, once everybody knows it
}

// add is called by the writer, in the background, for each file that ended.
func (d *filed) add(f writer.File, log *slog.Logger, tell func(writer.File)) {
	tell(f)
	defer d.sequence.Store(max(f.Name.Sequence, d.sequence.Load())) // when everybody knows it
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
