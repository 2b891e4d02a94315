package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"capd/capture"
	"capd/ledger"
	"capd/pcap"
	"capd/writer"
)

// group is how many packets go from the ring to the writer at a time: enough
// to make the calls cheap, few enough to stay in the first-level cache.
const group = 64

// errRenamed is the reason why an interface is not read.
var errRenamed = errors.New("the interface has a name that is not recorded")

// A loop is the state that belongs to the goroutine of a recorder alone.
type loop struct {
	r     *Recorder
	phase phase
	ready bool // see Recorder.Ready

	device device
	gap    gap
	cover  cover

	missed time.Time // when the recorder began to wait for the interface
	ceased time.Time // when reception ended, while its last frames are read; else zero
	cause  error     // why the recorder waits or is to end reception; nil while frames are read
	full   bool      // the quota is used up

	resumption
	before *Takeover // the takeover from predecessors; nil once no frame can be theirs
	over   bool      // it ends with the block
	after  handoff   // the takeover by successors

	flushing []flushOrder // that are not followed yet

	pkts    []pcap.Packet // a group, allocated once: Batch.Read lets it escape to the heap
	lending lending
}

// A resumption is where a recorder of an earlier process ended in the ring.
type resumption struct {
	resumed   bool      // a device was read: no recorder of an earlier process has read the next one
	frozen    bool      // the writer was aborted, and the next process goes on where it committed last
	suspended bool      // nothing more is read of a device that copies its frames
	told      time.Time // when it was to leave a device that it could not leave yet
	skip      uint64    // frames of the next batch that a recorder of an earlier process has recorded
}

func newLoop(r *Recorder) *loop {
	l := &loop{
		r: r, phase: opening,
		device: device{r: r, link: newLink(r.cfg.Lane.Interface, r.cfg.Shared)},
		gap:    gap{lane: r.cfg.Lane, note: r.cfg.Note, ended: func(from, to time.Time) { r.writer.Interrupted(from, to) }, born: time.Now()},
		cover:  cover{lane: r.cfg.Lane, note: r.cfg.Note, log: r.log, visible: &r.visible},
		before: r.cfg.Takeover, after: handoff{exit: &r.exit},
		pkts: make([]pcap.Packet, group),
	}
	if l.before != nil {
		l.phase = takingOver
	}
	return l
}

// run goes from phase to phase until the recorder has ended.
func (l *loop) run(ctx context.Context) (err error) {
	pin(l.r)
	for l.phase != ended {
		switch l.phase {
		case takingOver:
			end, refusal := l.before.wait(l.r.cfg.Lane) // no timeout of its own: predecessors end within the stop timeout
			l.r.writer.Follow(end)
			if refusal == nil {
				l.to(released)
				break
			}
			l.gap.follow(end.Time)
			l.device.close() // the next one is opened as if there had been no predecessors
			l.cause = refusal
			l.to(refused)
		case opening:
			l.to(l.attach(ctx))
		case held, waiting:
			l.pause(ctx)
			l.to(l.attach(ctx))
		case recording, down:
			l.read(ctx)
		case draining:
			l.drain()
		case leaving:
			l.leave()
		case ending:
			err = l.end()
			l.to(closed)
		}
	}
	return err
}

// to makes the transition that belongs to the event, with its side effects. No
// other function changes the phase.
func (l *loop) to(e event) {
	from := l.phase
	next, ok := transitions[from][e]
	if !ok {
		panic(fmt.Sprintf("recorder: %v while %v", e, from))
	}
	l.phase = next
	l.r.progress.turn(l.r.progress.now())
	if s, ok := states[next]; ok {
		l.r.visible.set(s)
	}
	if from != held && from != waiting {
		l.missed = l.time()
	}
	switch {
	case next == down:
		l.device.link.downed = l.r.cfg.Shared.Links.Looks()
		l.gap.begin(ledger.CauseDown, l.time(), nil)
		l.r.log.Warn("interface is down")
	case next == recording && from == down:
		l.gap.over(l.time())
		l.r.log.Info("interface is up again")
	case next == recording:
		l.gap.over(l.device.opened)
		l.device.announce()
		l.cover.turn(l.device.link.now.XDP, l.device.opened)
	case next == waiting && from != waiting:
		l.gap.miss(l.cause, l.missed)
		complain(l.r.log, l.cause)
		l.cover.end(l.missed)
	case next == waiting && l.gap.miss(l.cause, l.time()):
		complain(l.r.log, l.cause)
	}
	l.r.visible.explain(l.gap.open.Why)
	if (from == opening || next == waiting) && !l.ready {
		l.ready = true
		close(l.r.ready)
	}
}

// pin binds the goroutine to its processor. Lanes get consecutive processors.
func pin(r *Recorder) {
	if r.cfg.Settings.CPU < 0 {
		return
	}
	runtime.LockOSThread() // the thread ends with the goroutine
	cpu := r.cfg.Settings.CPU + max(r.cfg.Lane.Number-1, 0)
	if err := capture.Pin(cpu); err != nil {
		r.log.Warn("can't pin to the processor", "cpu", cpu, "error", err)
	}
}

// time returns the moment up to which every received frame has been recorded.
func (l *loop) time() time.Time {
	if l.ceased.IsZero() {
		return time.Now()
	}
	return l.ceased
}

// tick does periodic work and follows the orders of other goroutines.
func (l *loop) tick() {
	hang(l.r.cfg.Lane.Interface)
	r, now := l.r, l.r.progress.now()
	r.progress.turn(now)
	r.writer.Tick(l.time(), now)
	if c := r.orders.settings.Swap(nil); c != nil {
		r.writer.Adjust(writer.Options{
			RotateSize: int64(c.RotateSize), RotateInterval: time.Duration(c.RotateInterval),
			SyncInterval: time.Duration(c.SyncInterval), FlushInterval: time.Duration(c.FlushInterval), KeepEmpty: c.KeepEmpty,
		})
	}
	if done := r.orders.sync.Swap(nil); done != nil {
		r.writer.Sync(*done)
	}
	if r.orders.rotate.Swap(false) {
		r.writer.Rotate(ledger.ReasonSignal)
	}
}

// patience returns how long to wait for frames: until the writer has work, and
// at most for idle.
func patience(r *Recorder) time.Duration {
	return min(idle, max(r.writer.Due(r.progress.now()), time.Millisecond))
}

// attach begins to read the interface, unless the recorder is to end. A device
// that is open already is read even then, since it has collected frames.
func (l *loop) attach(ctx context.Context) event {
	if l.full || l.abandoned() || ctx.Err() != nil && !l.device.isOpen() {
		return finished
	}
	if errors.Is(l.cause, ErrHeld) && l.device.stillHeld() {
		return busy
	}
	err := l.device.open()
	if err == nil {
		l.tick() // frames are collected from now on, unless Open did this before
		err = l.device.attach()
	}
	l.cause = err
	switch {
	case errors.Is(err, ErrHeld):
		return busy
	case err != nil:
		return refused
	}
	return attached
}

// abandoned reports whether an interface that only a glob names has been
// missing for longer than Linger.
func (l *loop) abandoned() bool {
	return l.r.cfg.Settings.Glob() && (l.phase == held || l.phase == waiting) && time.Since(l.missed) > Linger
}

// pause waits before the next attempt to open the interface.
func (l *loop) pause(ctx context.Context) {
	wait := lookEvery
	switch {
	case errors.Is(l.cause, errRenamed), errors.Is(l.cause, errNotAdmitted):
		return // no attempt to open the next interface was made yet
	case errors.Is(l.cause, ErrHeld):
		wait = idle
	}
	timer := time.NewTimer(patience(l.r))
	defer timer.Stop()
	for began := time.Now(); time.Since(began) < wait; {
		select {
		case <-ctx.Done():
			return
		case <-l.r.cfg.Shared.Quota.Reached():
			l.full = true
			return
		case <-timer.C:
			timer.Reset(patience(l.r))
			l.tick()
			l.flush(true)
		}
		if l.device.link.back() {
			return
		}
	}
}

// read reads one batch, or ends reception.
func (l *loop) read(ctx context.Context) {
	if l.frozen {
		l.to(stays)
		return
	}
	if l.cause != nil || ctx.Err() != nil && !l.changes() && l.after.ready() && !l.mixed() {
		if l.cause == nil && l.device.Ring != 0 && l.after.joined == nil && l.leaves() && l.suspend() {
			l.ceased = time.Now()
			l.to(stays)
		} else {
			l.stop()
		}
		return
	}
	batch, err := l.device.handle.Next(patience(l.r))
	l.tick()
	switch {
	case errors.Is(err, capture.ErrDown):
		l.to(wentDown)
	case errors.Is(err, capture.ErrGone), errors.Is(err, capture.ErrClosed):
		unread(l, err)
		l.device.detach(false)
		l.to(vanished)
		return
	case err != nil:
		l.r.log.Error("can't read: opening the interface again", "error", err)
		l.device.detach(false)
		l.to(vanished)
		return
	case batch != nil:
		l.record(batch)
	}
	l.flush(batch == nil)
	if l.full {
		l.device.detach(true)
		l.to(finished)
		return
	}
	l.compare()
}

// leaves reports whether the ring is to be left to the next process.
func (l *loop) leaves() bool {
	leave := l.r.cfg.Shared.Leave
	return leave == nil || leave.Load()
}

// changes reports whether it is open if the recorder hands over to successors or leaves its ring to
// the next process.
func (l *loop) changes() bool {
	changes := l.r.cfg.Changes
	return changes != nil && !l.r.Left() && changes()
}

// stop ends reception.
func (l *loop) stop() {
	h := l.device.handle
	h.Refresh() // the last value of the counter; reading it may take time
	l.ceased = time.Now()
	err := h.Stop()
	l.to(stopped)
	if err != nil {
		l.r.log.Error("can't end reception in order: frames in the ring may be lost", "error", err)
		l.drained()
	}
}

// drain reads one batch of the frames that came before reception ended. Changes
// of the interface do not matter to these frames.
func (l *loop) drain() {
	batch, err := l.device.handle.Next(patience(l.r))
	l.tick()
	switch {
	case errors.Is(err, capture.ErrDown):
	case errors.Is(err, capture.ErrGone), errors.Is(err, capture.ErrClosed):
		unread(l, err)
		l.drained()
		return
	case err != nil:
		l.r.log.Error("can't read: frames in the ring are lost", "error", err)
		l.drained()
		return
	case batch != nil:
		l.record(batch)
	}
	l.flush(batch == nil)
	switch {
	case l.frozen:
		l.leaveRing()
	case l.full:
		l.drained()
	}
}

// unread says where it matters that the system may have discarded frames together with the interface.
func unread(l *loop, err error) {
	var lost *capture.UnreadError
	if !errors.As(err, &lost) {
		return
	}
	now := l.time()
	l.gap.unread(lost.Since, now)
	l.r.visible.unread(now)
	l.r.log.Warn("frames may be lost: the interface was removed before all were read, and how many there were is unknown", "since", lost.Since)
}

// drained gives up the device when all of its frames are read. If the interface
// was renamed, the recorder waits for another one of the old name.
func (l *loop) drained() {
	l.device.detach(l.full)
	if l.full || l.cause == nil {
		l.to(finished)
		return
	}
	l.r.writer.Rotate(ledger.ReasonLink)
	l.r.log.Warn("interface was renamed, and its new name is not recorded: waiting for another", "to", l.device.link.now.Name)
	l.device.link.lose()
	l.to(drained)
	l.ceased = time.Time{}
}

// lapse notes that nothing was recorded since a recorder of an earlier process ended: at the time, or when its
// journal says.
func (l *loop) lapse(until time.Time) {
	now := time.Now()
	from := l.r.writer.Lapse(now)
	if !until.IsZero() {
		from = until
	}
	if from.Before(now) {
		l.gap.write(ledger.GapClosed(ledger.GapOpened(l.r.cfg.Lane.Interface, from, ledger.CauseStopped), now, 0))
	}
}

// mixed reports whether a device that copies its frames can't be left to the next process yet: some of them may be those
// of predecessors, which that process would not know. That lasts as long as a frame is on its way.
func (l *loop) mixed() bool {
	if l.before == nil || l.r.cfg.Kept.Journal != nil || l.device.Ring == 0 || l.after.joined != nil || !l.leaves() {
		return false
	}
	if l.told.IsZero() {
		l.told = time.Now()
	}
	return time.Since(l.told) < 2*late
}

// suspend ends the reading of a device that copies its frames. It returns false if what is still in the
// kernel can't be left to the next process.
func (l *loop) suspend() bool {
	if l.r.cfg.Kept.Journal != nil { // a ring, in which frames are until they are recorded
		return true
	}
	if l.before != nil { // some of the frames are those of predecessors, which the next process does not know
		return false
	}
	err := l.device.handle.Suspend()
	if err != nil {
		l.r.log.Warn("the device can't be left to the next process", "error", err)
	}
	l.suspended = err == nil
	return l.suspended
}

// leave reads one batch of a ring that the next process goes on to read. It ends when all frames are
// recorded that had come when the process was told to end. The files have those then, and the newer
// ones that came with them.
func (l *loop) leave() {
	wait := 2*time.Duration(l.r.cfg.Settings.BlockTimeout) + idle
	batch, err := l.device.handle.Next(patience(l.r))
	l.r.progress.turn(l.r.progress.now())
	switch {
	case errors.Is(err, capture.ErrDown):
		return
	case l.suspended && errors.Is(err, capture.ErrClosed): // all is recorded that was read
		l.ceased = time.Now()
		l.tick()
		l.leaveRing()
		return
	case err != nil:
		l.r.log.Warn("the ring can't be left to the next process", "error", err)
	case batch != nil:
		l.record(batch)
	}
	last := l.r.writer.Last()
	if err == nil && !l.full && !l.frozen && l.suspended {
		return
	}
	if err == nil && !l.full && !l.frozen && !last.After(l.ceased) && time.Since(l.ceased) < wait {
		return
	}
	if last.After(l.ceased) {
		l.ceased = last
	}
	l.tick()
	l.leaveRing()
}

// leaveRing leaves the ring to the next process.
func (l *loop) leaveRing() {
	if !l.full {
		l.device.Closed = func() {}
	}
	l.device.detach(true) // what is left in the ring is not lost
	l.to(finished)
}

// record gives the batch to the writer: as a whole, or one group of packets at a time.
func (l *loop) record(batch *capture.Batch) {
	rest, lent := l.lend(batch)
	if lent {
		return
	}
	defer func() {
		if !l.frozen {
			batch.Release() // the packets point into the batch
		}
	}()
	block, frames, read := batch.Block(), uint64(batch.Len()), uint64(len(rest))
	for len(rest) > 0 {
		n := min(group, len(rest))
		if !l.give(rest[:n]) {
			return
		}
		rest = rest[n:]
	}
	for n := batch.Read(l.pkts); n > 0; n = batch.Read(l.pkts) {
		read += uint64(n)
		if !l.give(l.pkts[:n]) {
			return
		}
	}
	if err := batch.Err(); err != nil {
		l.r.log.Error("frames lost: the kernel's ring is corrupt", "error", err)
	}
	if l.frozen = !l.r.writer.Commit(block, frames, frames-min(frames, read)); l.frozen {
		return
	}
	if l.over {
		l.tookOver()
	}
}

// give gives a group of packets to the writer. It returns false when the quota is used up.
func (l *loop) give(own []pcap.Packet) bool {
	if l.before != nil {
		own = l.own(own)
	}
	if l.skip > 0 { // of the frames that are this recorder's
		n := min(l.skip, uint64(len(own)))
		l.skip -= n
		own = own[n:]
	}
	if l.phase == down && len(own) > 0 && own[0].Time().After(l.gap.open.Begin) {
		l.gap.over(own[0].Time()) // frames mean that the interface is up; the list of interfaces will follow
	}
	n := l.r.cfg.Shared.Quota.take(len(own))
	l.after.remember(own[:n])
	l.r.writer.Write(own[:n])
	l.device.taken += uint64(n)
	l.full = n < len(own)
	return !l.full
}

// own returns the packets that no predecessor has recorded.
func (l *loop) own(pkts []pcap.Packet) []pcap.Packet {
	own, more := l.before.fresh(pkts)
	l.over = !more
	repeated := len(pkts) - len(own)
	l.device.taken += uint64(repeated)
	l.r.tally.repeat(repeated)
	return own
}

// tookOver ends the takeover: no frame can be a predecessor's any more. It must
// be called when a block is recorded whole, for what is recorded of a block is
// counted without the frames of predecessors.
func (l *loop) tookOver() {
	l.before, l.over = nil, false
	if over := l.r.cfg.TookOver; over != nil {
		over()
	}
}

// compare reacts to a change of the interface: of its state, its name, or its
// address, which starts a new file.
func (l *loop) compare() {
	link := &l.device.link
	if !link.changed(l.phase == down) {
		return
	}
	address := link.now.Address.String()
	there := link.refresh(l.device.Index())
	l.cover.turn(link.now.XDP, l.time())
	l.cause = nil
	if link.renamed() {
		l.cause = errRenamed
	}
	if link.now.Address.String() != address {
		l.r.log.Info("address changed", "from", address, "to", link.now.Address)
		l.r.writer.Describe(l.device.header(l.device.handle.LinkType()))
	}
	if l.phase == down && there && link.now.Up {
		l.to(cameUp)
	}
}

// end closes the device, releases the successors, and waits for the files.
func (l *loop) end() error {
	r := l.r
	l.device.close()
	r.cfg.Source.Leave()
	l.gap.end(l.time())
	l.cover.end(l.time())
	l.after.end(r.cfg.Lane, r.writer.End())
	return r.writer.Close(r.orders.giveUp)
}

// complain logs why nothing is recorded.
func complain(log *slog.Logger, cause error) {
	switch {
	case errors.Is(cause, errRenamed): // was logged with the new name
	case errors.Is(cause, capture.ErrNoInterface):
		log.Warn("interface is not there: waiting for it")
	default:
		log.Error("can't open the interface: trying again", "error", cause)
	}
}
