package daemon

import (
	"capd/capture"
	"capd/config"
	"capd/internal/setup"
	"capd/internal/text"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// idle is how long a recorder waits for frames before it looks at the clock.
const idle = 100 * time.Millisecond

// linger is how long the recorder of an interface that a glob took waits for
// it to come back, once it is gone.
const linger = 10 * time.Second

// group is how many packets go from the ring to the writer at a time: enough
// to make the calls cheap, few enough to stay in the first-level cache.
const group = 64

// A recorder records one interface. It is one goroutine, run; what others see
// is behind mu or atomic.
type recorder struct {
	d      *Daemon
	name   string
	lane   store.Lane
	source *source
	cfg    *config.Interface
	dir    *directory
	log    *slog.Logger
	writer *writer.Writer
	device *capture.Device // opened and not yet attached to; nil else
	link   capture.Interface
	speed  uint64        // of the interface in bit/s; 0 is unknown
	looked *links        // as of which link is
	downed uint64        // the daemon's looks when the interface went down
	gone   time.Duration // when the interface went, by now
	stray  bool          // the interface has a name that is not recorded
	full   bool          // the daemon's quota is used up
	pool   int64         // bytes for packets on their way to the disk
	born   time.Time     // when it was made
	opened bool          // it has recorded once
	gap    ledger.Entry  // in the ledger, that is open; no Cause: none
	taken  uint64        // frames of the handle's batches given to the writer
	ceased time.Time     // when reception was ended, while its last frames are read; zero else

	notes    *handover // keeps what is read; nil without one
	inherit  *handover // knows what others have read; nil when that is past
	departed bool      // see depart
	adapted  *config.Interface

	index  atomic.Int64                     // of the interface that the device is of; 0 without one
	leave  atomic.Pointer[handover]         // to others; set before the context ends
	adjust atomic.Pointer[config.Interface] // settings to take over
	cancel context.CancelFunc               // ends the recorder alone

	rotate atomic.Bool
	filed  atomic.Uint64 // highest sequence number of a file that ended
	stall  time.Duration // how long a call to the disk has taken at the last look, if too long; for Daemon.reportStalls
	turned atomic.Int64  // when it last turned, by now; see Daemon.Stuck

	mu     sync.Mutex
	handle *capture.Handle
	past   capture.Stats // of handles before this one
	unread uint64        // frames that were left in the rings of these
	twice  uint64        // frames received that the recorder before has written
	state  State
	since  time.Time
}

// newRecorders makes the recorders of an interface: one, or as many as its
// fanout says. Those that were made are returned with an error too. The caller
// holds mu.
func newRecorders(d *Daemon, name string, c *config.Interface) ([]*recorder, error) {
	src := newSource(d.opt.System, name, c)
	pool := d.poolSize(name, c)
	lanes := make([]*recorder, 0, c.Fanout)
	for i := range c.Fanout {
		lane := store.Lane{Interface: name}
		if c.Fanout > 1 {
			lane.Number = i + 1
		}
		r, err := newRecorder(d, lane, src, c, pool)
		if err != nil {
			return lanes, err
		}
		lanes = append(lanes, r)
	}
	return lanes, nil
}

func newRecorder(d *Daemon, lane store.Lane, src *source, c *config.Interface, pool int64) (*recorder, error) {
	name := lane.Interface
	r := &recorder{d: d, name: name, lane: lane, source: src, cfg: c, pool: pool, state: Waiting, since: time.Now(), born: time.Now()}
	r.dir, r.link.Name = d.dirs.at(c.Directory), name
	r.log = d.log.With("interface", name)
	if lane.Number > 0 {
		r.log = r.log.With("lane", lane.Number)
	}
	r.refresh()
	w, err := writer.New(writer.Options{
		Directory:      c.Directory,
		Header:         r.header(r.link.LinkType),
		RotateSize:     int64(c.RotateSize),
		RotateInterval: time.Duration(c.RotateInterval),
		SyncInterval:   time.Duration(c.SyncInterval),
		FlushInterval:  time.Duration(c.FlushInterval),
		Grace:          2*time.Duration(c.BlockTimeout) + idle,
		KeepEmpty:      c.KeepEmpty,
		FileMode:       fs.FileMode(c.FileMode),
		PoolSize:       int(pool),
		ChunkSize:      int(c.ChunkSize),
		NoDirect:       c.Direct == config.DirectOff,
		Lane:           lane.Number,
		Sequence:       r.dir.store.Sequence(lane),
		Boot:           d.dirs.run.Boot,
		Drops:          r.drops,
		Note:           func(e ledger.Entry) { r.book().note(e) },
		Finished:       r.finished,
		Log:            r.log,
	})
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", name, err)
	}
	r.writer = w
	return r, nil
}

func (r *recorder) book() *book { return r.dir.book }

// header describes the interface as it is now.
func (r *recorder) header(link pcap.LinkType) pcap.Header {
	var f pcap.Format
	_ = f.UnmarshalText([]byte(r.cfg.Format)) // validated with the configuration
	return pcap.Header{
		Format: f, LinkType: link, Snaplen: uint32(r.cfg.Snaplen),
		Interface: r.name, MAC: r.link.Address, Speed: r.speed, Filter: r.cfg.Filter,
		Hardware: runtime.GOARCH, OS: r.d.os, Application: r.d.opt.Application,
	}
}

// open opens the device, if that is not done.
func (r *recorder) open() error {
	if r.device != nil {
		return nil
	}
	r.refresh()
	if err := r.takeDevice(); err != nil {
		return err
	}
	if r.barred() { // renamed just now: see follow
		r.closeDevice()
		return errHeld
	}
	r.tick() // frames are collected from now on
	return nil
}

// errChanged is returned when an interface is not what the filter was compiled
// for: it has been replaced just now.
var errChanged = errors.New("the link type changed while the interface was opened")

// discard gives back what a recorder holds that never ran.
func (r *recorder) discard() {
	r.closeDevice()
	r.source.leave()
	_ = r.writer.Close(context.Background())
}

// now is a time on a clock that never steps.
func (r *recorder) now() time.Duration { return time.Since(r.d.start) }

// time is the moment up to which everything is recorded, as far as is known.
func (r *recorder) time() time.Time {
	if r.ceased.IsZero() {
		return time.Now()
	}
	return r.ceased
}

func (r *recorder) tick() {
	hang(r.name)
	now := r.now()
	r.turned.Store(int64(now))
	r.writer.Tick(r.time(), now)
	r.adapt()
	if r.rotate.Swap(false) {
		r.writer.Rotate(ledger.ReasonSignal)
	}
}

// run records until the context ends. The interface may come and go.
func (r *recorder) run(ctx context.Context) error {
	if r.inherit != nil {
		<-r.inherit.done // those before end in the time of a stop
		r.writer.Follow(r.inherit.ends[r.lane.Number])
	}
	r.turned.Store(int64(r.now()))
	if r.cfg.CPU >= 0 {
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := capture.Pin(r.cpu()); err != nil {
			r.log.Warn("can't pin to the processor", "cpu", r.cpu(), "error", err)
		}
	}
	stop, cancel := r.deadline(ctx)
	defer cancel()
	// A device that is open has collected frames, even if the end has come.
	for (ctx.Err() == nil || r.device != nil) && !r.full && !r.lost() {
		if err := r.attach(); err != nil {
			r.waitFor(ctx, err)
			continue
		}
		r.capture(ctx)
		r.detach()
		if r.stray {
			r.letGo()
		}
	}
	r.closeDevice()
	r.source.leave()
	r.resume()
	r.writer.End()
	r.depart()
	err := r.writer.Close(stop)
	r.setState(Ended)
	return err
}

// cpu is the processor to run on: one after the other where there are lanes.
func (r *recorder) cpu() int { return r.cfg.CPU + max(r.lane.Number-1, 0) }

// deadline returns a context for the end: from the moment when ctx ends there
// are the configured seconds, and none after an abort.
func (r *recorder) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	stop, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-ctx.Done():
		case <-r.d.abort:
		case <-stop.Done():
			return
		}
		late, done := r.d.deadline()
		defer done()
		select {
		case <-late.Done():
			r.writer.Abort()
			cancel()
		case <-stop.Done():
		}
	}()
	return stop, cancel
}

// attach starts to read the interface.
func (r *recorder) attach() error {
	if err := r.open(); err != nil {
		return err
	}
	h, err := r.device.Attach()
	if err != nil {
		r.closeDevice()
		return err
	}
	if link, err := setup.LinkType(r.cfg.LinkType, r.link.LinkType); r.cfg.Filter != "" && (err != nil || h.LinkType() != link) {
		_ = h.Close()
		r.closeDevice()
		return errChanged
	}
	if details, err := capture.Inspect(r.name); err == nil {
		r.speed = uint64(details.SpeedMbps) * 1_000_000
	}
	r.writer.Describe(r.header(h.LinkType()))
	r.taken, r.opened = 0, true
	r.mu.Lock()
	r.handle = h
	r.mu.Unlock()
	r.setState(Recording)
	r.resume()
	r.log.Info("recording", "directory", r.cfg.Directory, "link_type", h.LinkType().String(), "mode", string(h.Mode()),
		"ring", text.Size(r.device.RingSize()))
	for _, w := range r.device.Warnings() {
		r.log.Warn(w)
	}
	if w := setup.Remark(r.cfg.Filter, h.LinkType()); w != "" {
		r.log.Warn(w, "filter", r.cfg.Filter)
	}
	return nil
}

// detach gives the handle back and keeps its counters.
func (r *recorder) detach() {
	h := r.handle
	h.Refresh()
	s, _ := h.Stats()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.past = sum(r.past, s)
	if left := s.Received - min(s.Received, s.Dropped+s.Corrupt+r.taken); !r.full {
		r.unread += left
	} else {
		r.past.Received -= left // beyond the count that was asked for
	}
	r.handle = nil
	_ = h.Close()
	r.closeDevice()
}

// capture reads the handle until the context ends, then what is left in it, or
// until the interface is gone.
func (r *recorder) capture(ctx context.Context) {
	stopping := false
	pkts := make([]pcap.Packet, group) // once: what Batch.Read fills is on the heap
	for !r.full {
		if !stopping && (r.stray || ctx.Err() != nil && r.mayStop()) {
			r.handle.Refresh() // the last that counts, and it may take its time
			stopping, r.ceased = true, time.Now()
			if err := r.handle.Stop(); err != nil {
				r.log.Error("can't end reception in order: frames in the ring may be lost", "error", err)
				return
			}
		}
		batch, err := r.handle.Next(idle)
		r.tick()
		switch {
		case errors.Is(err, capture.ErrDown):
			r.downed = r.d.looks.Load()
			r.setState(Down)
			r.interrupt(ledger.CauseDown)
			r.log.Warn("interface is down")
		case errors.Is(err, capture.ErrGone), errors.Is(err, capture.ErrClosed):
			return
		case err != nil:
			r.log.Error("can't read: opening the interface again", "error", err)
			return
		case batch != nil:
			r.record(batch, pkts)
		default:
			r.compare()
		}
		if r.looked != r.d.links.Load() {
			r.compare()
		}
	}
}

// record gives the batch to the writer, a group of packets at a time.
func (r *recorder) record(batch *capture.Batch, pkts []pcap.Packet) {
	defer batch.Release() // only now: the packets point into it
	for n := batch.Read(pkts); n > 0; n = batch.Read(pkts) {
		own := pkts[:n]
		if r.inherit != nil {
			own = r.own(own)
		}
		n = r.d.count.take(len(own))
		if n == 0 && len(own) > 0 {
			r.full = true
			return
		}
		if r.notes != nil {
			r.notes.note(own[:n])
		}
		r.writer.Write(own[:n])
		r.taken += uint64(n)
	}
	if err := batch.Err(); err != nil {
		r.log.Error("frames lost: the kernel's ring makes no sense", "error", err)
	}
}

// own returns the packets that the recorder before has not written.
func (r *recorder) own(pkts []pcap.Packet) []pcap.Packet {
	own, more := r.inherit.fresh(pkts)
	if !more {
		r.inherit = nil
	}
	twice := uint64(len(pkts) - len(own))
	r.taken += twice
	r.mu.Lock()
	r.twice += twice
	r.mu.Unlock()
	return own
}

// refresh takes over what is known of the interface, and reports whether it is
// there.
func (r *recorder) refresh() bool {
	r.looked = r.d.links.Load()
	if r.name == capture.Any {
		r.link = capture.Interface{Name: r.name, LinkType: pcap.LinkTypeLinuxSLL2, Up: true}
		return true
	}
	if link, ok := r.looked.find(r.name, int(r.index.Load())); ok {
		r.link = link
		return true
	}
	return false
}

// compare follows a change of the interface: of its state, or of its address,
// which starts a new file.
func (r *recorder) compare() {
	// An interface may be up again before the list of interfaces showed it down.
	// A look that began after that is the second one to end.
	recheck := r.current() == Down && r.d.looks.Load() > r.downed+1
	if r.looked == r.d.links.Load() && !recheck {
		return
	}
	before := r.link
	there := r.refresh()
	r.stray = r.strays()
	if r.link.Address.String() != before.Address.String() {
		r.log.Info("address changed", "from", before.Address, "to", r.link.Address)
		r.writer.Describe(r.header(r.handle.LinkType()))
	}
	if r.current() == Down && there && r.link.Up {
		r.setState(Recording)
		r.resume()
		r.log.Info("interface is up again")
	}
}

// waitFor waits a while for an interface that could not be opened.
func (r *recorder) waitFor(ctx context.Context, err error) {
	if r.setState(Waiting) || r.gone == 0 {
		r.gone = r.now()
		if !errors.Is(err, errHeld) {
			r.interrupt(ledger.CauseAbsent)
		}
		switch {
		case errors.Is(err, errHeld):
		case errors.Is(err, capture.ErrNoInterface):
			r.log.Warn("interface is not there: waiting for it")
		default:
			r.log.Error("can't open the interface: trying again", "error", err)
		}
	}
	timer := time.NewTimer(idle)
	defer timer.Stop()
	pause := lookEvery
	if errors.Is(err, errHeld) {
		pause = idle
	}
	for end := r.now() + pause; r.now() < end; {
		select {
		case <-ctx.Done():
			return
		case <-r.d.count.reached:
			r.full = true
			return
		case <-timer.C:
			timer.Reset(idle)
			r.tick()
		}
		if link, ok := (*r.d.links.Load())[r.name]; ok && link.Index != r.link.Index {
			return // it is there again
		}
	}
}

// lost reports whether an interface that a glob took is gone for good.
func (r *recorder) lost() bool {
	return r.cfg.Glob() && r.current() == Waiting && r.gone > 0 && r.now()-r.gone > linger
}

func (r *recorder) finished(f writer.File) {
	d := r.dir
	d.book.note(f.Entry())
	defer r.filed.Store(max(f.Name.Sequence, r.filed.Load())) // when everybody knows it
	if f.Err == nil {
		d.store.Add(f.Name, f.Size)
		d.finish.add(f)
	} else {
		d.keeper.Wake() // more space may be what it wants
	}
	if f.Err != nil {
		r.log.Error("file failed", "file", f.Path, "lost", f.Lost, "error", f.Err)
		return
	}
	r.log.Debug("file finished", "file", f.Path, "reason", string(f.Reason), "packets", f.Packets, "size", f.Size,
		"kernel_drops", f.KernelDrops)
	if f.KernelDrops > 0 {
		r.log.Warn("the kernel dropped frames: the ring was full", "file", f.Path, "count", f.KernelDrops)
	}
}

// drops tells the writer what was lost before it.
func (r *recorder) drops() writer.Drops {
	s := r.counters()
	return writer.Drops{Kernel: s.Dropped, Freezes: s.Freezes, NIC: s.NICDropped, Unread: s.Corrupt + r.left()}
}

// counters returns the kernel's counters of all handles together.
func (r *recorder) counters() capture.Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.past
	if r.handle != nil {
		s, _ := r.handle.Stats()
		all = sum(all, s)
	}
	all.Received -= min(all.Received, r.twice)
	return all
}

// reading returns the handle, or nil where there is none now.
func (r *recorder) reading() *capture.Handle {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.handle
}

// left returns how many frames were left unread in rings.
func (r *recorder) left() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unread
}

// interrupt begins a gap in the ledger, and ends the one before.
func (r *recorder) interrupt(cause ledger.Cause) {
	if r.gap.Cause == cause || r.lane.Number > 1 {
		return
	}
	r.resume()
	r.gap = ledger.GapOpened(r.name, r.time(), cause)
	if !r.opened {
		r.gap.Begin = r.born
	}
	r.book().note(r.gap)
}

// resume ends the gap that is open, if one is.
func (r *recorder) resume() {
	if r.gap.Cause == "" {
		return
	}
	r.book().note(ledger.GapClosed(r.gap, time.Now(), 0))
	r.gap = ledger.Entry{}
}

func (r *recorder) current() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// setState reports whether the state is another now.
func (r *recorder) setState(s State) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == s {
		return false
	}
	r.state, r.since = s, time.Now()
	return true
}

func (r *recorder) status() Status {
	w := r.writer.Stats()
	k := r.counters()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{
		Interface: r.name, Directory: r.cfg.Directory, Filter: r.cfg.Filter, Lane: r.lane.Number, State: r.state, Since: r.since,
		Received: k.Received, Bytes: w.Bytes, Written: w.Written,
		KernelDropped: k.Dropped, Dropped: w.Lost + k.Corrupt + r.unread,
		NICDropped: k.NICDropped, Freezes: k.Freezes,
		RingBlocks: k.RingBlocks, RingFilled: k.FilledBlock, Writer: w,
		RingSize: int64(k.RingBlocks) * int64(r.cfg.BlockSize), PoolSize: int64(w.Chunks) * int64(r.cfg.ChunkSize),
	}
	if s.State == Recording && w.Suspended {
		s.State = Suspended
	}
	return s
}
