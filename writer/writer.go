// Package writer records packets into rotated capture files that survive a
// crash.
//
// One goroutine feeds a Writer, and only copies: all memory is in a pool of chunks, and every
// call to the disk is made in the background. A file is named NAME.partial until it is whole and
// synced; then it is renamed.
package writer

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// reserveStep is how many bytes of a large file are preallocated at a time.
const reserveStep = 64 << 20

// A Writer records the packets of one interface. Its methods must be called from one goroutine,
// except Stats, Busy and Abort.
type Writer struct {
	opt      Options
	enc      *pcap.Encoder
	schedule schedule
	disk     disk
	journal  *Journal
	at       place
	sequence atomic.Uint64 // the highest number in use; the disk's goroutines take the next one where a name is taken

	current
	series
	ending
	totals
	latest
	outage
	owed []*chunk // see From

	abort   chan struct{} // closed by Abort
	aborted atomic.Bool

	published
}

// current is the file that the recorder fills.
type current struct {
	file   *file // nil while there is nothing to write
	chunk  *chunk
	index  int       // of chunk in file
	pieces mark      // of an encrypted file: the last end of a record before those of chunk that are no whole piece yet; see flushable
	joined operation // blocks that are lent and not submitted yet, all in front of chunk; without a file, there are none
}

// series places the files of a Writer in time.
type series struct {
	begun     uint64    // number of files begun so far
	completed []File    // see Completed
	after     time.Time // when the previous Writer of this directory and lane ended; zero if there was none
	since     time.Time // time up to which files cover the recording: the next file begins here or at its interval's start
	last      time.Time // time of the last packet
	taken     time.Time // time of the last packet that is in at
}

// ending is the state that End leaves for Close.
type ending struct {
	ended   bool  // End was called
	frozen  bool  // see freezes
	final   *file // the current file at the time of End
	unended *file // a file that could not be queued for completion before Abort; else nil
}

// totals are sums over the Writer's life.
type totals struct {
	total        Counts // of all packets given to Write
	ahead        Counts // of the packets that were counted already, but belong to a later file than the one that ends
	drops        Drops  // the kernel's counters at the last file's end
	before       Drops  // of the rings before the present one: see From
	inherits     bool   // drops are relative to an earlier process, until From
	recorded     uint64 // packets that are in at, and in the places of rings before; also those of earlier processes
	lost         uint64 // packets that were never encoded, because no file could be created
	lostReported uint64 // of these, already in a ledger entry
	waits        uint64 // times that Write waited for a chunk or for the queue of ended files
}

// latest holds the times of the latest flush and sync, on the monotonic clock.
type latest struct {
	flushed time.Duration
	synced  time.Duration
}

// An outage is a time in which the disk fails. It lasts while resume is not 0.
type outage struct {
	assessed uint64        // failures and successes of files up to this number have been taken into account
	pause    time.Duration // before the next try after a failure
	resume   time.Duration // when to try again, on the monotonic clock; 0: the disk works
	gap      ledger.Entry  // its ledger entry, which has no end yet
}

// published is what other goroutines may read of a Writer's state.
type published struct {
	mu   sync.Mutex // guards the fields below; held for moments only
	seen Stats
	open *file // the current file
}

// New makes a Writer and reserves its memory. Nothing is written before the first packet, except
// with KeepEmpty.
func New(opt Options) (*Writer, error) {
	opt.setDefaults()
	w := &Writer{opt: opt, enc: pcap.NewEncoder(opt.Header), abort: make(chan struct{})}
	w.schedule = schedule{interval: opt.RotateInterval, grace: opt.Grace}
	pool, err := newPool(opt.PoolSize/opt.ChunkSize, opt.ChunkSize, w.slack(), opt.Memory, opt.Log)
	if err != nil {
		return nil, err
	}
	pool.serve(opt.RotateSize)
	w.sequence.Store(opt.Sequence)
	if w.journal = opt.Journal; w.journal == nil {
		w.journal = newJournal(pool.count)
	}
	w.disk = disk{dir: opt.Directory, mode: opt.FileMode, pool: pool, journal: w.journal, sequence: &w.sequence, finished: opt.Finished, note: opt.Note, log: opt.Log, here: opt.Here, hashings: &hashings{most: mayHold(pool.count)}}
	w.disk.noDirect.Store(opt.NoDirect)
	if opt.RotateSize == 0 || opt.RotateSize > int64(opt.ChunkSize) {
		w.disk.reserve = reserveStep
		if opt.RotateSize > 0 {
			w.disk.reserve = min(reserveStep, opt.RotateSize)
		}
	}
	w.disk.start()
	w.inherit()
	w.publish()
	return w, nil
}

// slack is how far the records in a chunk may extend beyond its size.
func (w *Writer) slack() int { return w.enc.MaxRecord() + w.enc.TrailerSize() }

// Tick sets the wall clock and the monotonic clock, and does what is due: flush, rotate, react to
// disk failures. Call it after each batch, and about every 100 ms when there is none.
func (w *Writer) Tick(wall time.Time, mono time.Duration) {
	w.schedule.advance(wall, mono)
	if w.freezes() {
		return
	}
	if w.since.IsZero() {
		w.since = wall
		if !w.after.IsZero() && w.after.Before(wall) {
			w.since = w.after // the previous Writer has covered the time before
		}
		w.schedule.begin(wall)
	}
	w.checkDisk()
	if w.schedule.over() {
		w.rotate(ledger.ReasonInterval, earlier(wall, w.schedule.boundary()))
		w.schedule.begin(wall)
	}
	if w.opt.KeepEmpty && w.file == nil && w.ready() {
		w.begin(wall, nil)
	}
	if w.opt.FlushInterval > 0 && mono-w.flushed >= w.opt.FlushInterval {
		w.flush()
	}
	if w.opt.SyncInterval > 0 && mono-w.synced >= w.opt.SyncInterval {
		w.Sync(nil)
	}
	w.flushAsked()
	w.lateForDigests()
	w.publish()
}

// Write records packets, and counts those that are lost. It waits while no chunk is free or too
// many ended files are queued; meanwhile the ring holds new frames. Write does not keep the
// packets.
func (w *Writer) Write(pkts []pcap.Packet) {
	w.submitLent()
	for len(pkts) > 0 && !w.freezes() {
		if w.file == nil && w.schedule.agrees(&pkts[0]) {
			w.schedule.begin(pkts[0].Time()) // which may be before the interval that Tick has begun
		}
		n := w.count(pkts)
		if n == 0 {
			w.rotate(ledger.ReasonInterval, w.schedule.boundary())
			w.schedule.begin(pkts[0].Time())
			continue
		}
		w.record(pkts[:n])
		pkts = pkts[n:]
	}
}

// count adds up the packets of the current interval and returns how many there are.
func (w *Writer) count(pkts []pcap.Packet) int {
	c := tally(pkts, w.last, w.schedule.limit(&pkts[0]), w.chosen())
	n := int(c.Packets)
	if n > 0 {
		w.last = pkts[n-1].Time()
		w.schedule.follow(&pkts[n-1])
		w.total.add(c)
	}
	return n
}

// record encodes packets of one interval into files.
func (w *Writer) record(pkts []pcap.Packet) {
	for len(pkts) > 0 {
		if w.file == nil && w.ready() {
			w.begin(w.schedule.trusted(&pkts[0]), pkts)
		}
		if w.freezes() {
			return
		}
		if w.file == nil || w.aborted.Load() {
			w.lost += uint64(len(pkts))
			w.take(pkts)
			return
		}
		n := w.encode(pkts)
		if n == 0 {
			w.ahead = tally(pkts, pkts[0].Time(), everything, w.chosen())
			w.rotate(ledger.ReasonSize, w.schedule.trusted(&pkts[0]))
			w.ahead = Counts{}
			continue
		}
		pkts = pkts[n:]
	}
}

// encode appends packets to the current chunk, takes them, and submits the chunk when it is full. It returns how many
// packets it encoded: 0 when the file is full.
func (w *Writer) encode(pkts []pcap.Packet) int {
	c, d := w.chunk, &w.file.described
	room := len(c.buf) - c.fill
	if limit := w.mostBytes(); limit > 0 {
		left := limit - w.file.encoded.bytes - int64(w.enc.TrailerSize())
		room = int(min(int64(room), max(left, 0)))
	}
	// Encode as many records as fit, then one that crosses the end of the chunk; its rest moves to
	// the next chunk.
	n, count := w.enc.EncodeMixed(c.buf[c.fill:c.fill+max(0, min(room, w.atOnceUpTo()-c.fill))], w.atOnce(pkts), d)
	if count == 0 {
		n, count = w.enc.EncodeMixed(c.buf[c.fill:c.fill+room], pkts[:1], d)
	}
	if count == 0 && w.file.encoded.packets == 0 {
		n, count = w.enc.EncodeMixed(c.buf[c.fill:], pkts[:1], d) // a frame larger than RotateSize
	}
	if count == 0 {
		return 0
	}
	before := position{w.file.encoded, w.file.report.Last, pkts}
	w.observe(c.buf[c.fill : c.fill+n])
	if wholePieces(c.fill+n) > wholePieces(c.fill) {
		w.pieces = before.mark
	}
	c.fill += n
	w.file.encoded.add(n, count)
	w.file.report.observe(pkts[:count])
	w.take(pkts[:count])
	after := position{w.file.encoded, w.file.report.Last, pkts[count:]}
	for w.isFull() && w.submitChunk(before, after) {
	}
	return count
}

// observe updates the times of the file's first and last packet.
func (r *File) observe(pkts []pcap.Packet) {
	if len(pkts) == 0 {
		return
	}
	if r.First.IsZero() {
		r.First = pkts[0].Time()
	}
	r.Last = pkts[len(pkts)-1].Time()
}

// A position is the end of a record in the current file.
type position struct {
	mark
	last time.Time     // time of the packet before it
	rest []pcap.Packet // packets after it that are counted already
}

// submitChunk submits a full chunk to the disk and continues in the next one, with the bytes beyond
// the end of the full one. The last record ends at after. If it crosses the end of the chunk, the
// record before it ends at before.
func (w *Writer) submitChunk(before, after position) bool {
	full, size := w.chunk, w.disk.pool.size
	at := before
	if full.fill == size {
		at = after
	}
	if !w.nextChunk(full.off+int64(size), at.mark) {
		return false
	}
	w.chunk.fill = copy(w.chunk.buf, full.buf[size:full.fill])
	w.journal.whole(full, size, at.mark)
	w.commitSealed(after)
	w.submit(operation{
		file: w.file, chunk: full, index: w.index - 1, from: full.flushed, to: size, whole: true, mark: at.mark,
		checkpoint: w.checkpoint(at),
	})
	return true
}

// checkpoint describes what the current file holds before the position, if a checkpoint is due
// there; else it returns nil. It counts the bytes of packets only then, so that checkpoints cost
// nothing for each packet.
func (w *Writer) checkpoint(at position) *ledger.Checkpoint {
	f := w.file
	if at.bytes-f.checked < w.opt.CheckpointEvery {
		return nil
	}
	f.checked = at.bytes
	held := w.total
	held.subtract(f.before)
	held.subtract(tally(at.rest, at.last, everything, w.chosen()))
	return &ledger.Checkpoint{
		End: f.report.Last, First: f.report.First, Last: at.last, Packets: at.packets, Bytes: held.Bytes, Offset: at.bytes, Boot: w.opt.Boot,
	}
}

// nextChunk takes a free chunk for the file, from that offset on. The last record that begins before it ends at before.
// It waits for one, and returns false if the writer is aborted meanwhile.
func (w *Writer) nextChunk(off int64, before mark) bool {
	select {
	case <-w.disk.pool.free:
	default:
		if used, _ := w.disk.pool.usage(); used == w.disk.pool.count {
			w.waits++
			w.publish()
		} else {
			w.disk.pool.grow() // the disk is not to blame
		}
		if !w.awaitChunk() {
			return false
		}
	}
	c := w.disk.pool.take()
	if w.chunk != nil {
		w.index++
	}
	c.off = off
	w.chunk = c
	w.journal.hold(c, w.file, before)
	return true
}

// ready reports whether a file may be begun.
func (w *Writer) ready() bool {
	w.checkDisk() // the previous file may have failed since the last tick
	return !w.aborted.Load() && (w.resume == 0 || w.schedule.mono >= w.resume)
}

// begin starts a file for a first packet at time t. The file covers the time since the last one
// ended, or since the start of its interval if nothing was recorded since. pkts are the packets,
// already counted, that go into it or the files after it.
func (w *Writer) begin(t time.Time, pkts []pcap.Packet) {
	start := w.since
	if start.After(t) {
		start = t
	}
	if w.opt.RotateInterval > 0 {
		if floor := w.schedule.floor(t); floor.After(start) {
			start = floor
		}
	}
	if start.After(w.since) && w.resume == 0 {
		w.opt.Note(ledger.Quiet(w.opt.Header.Interface, w.since, start, ledger.Drops{}))
	}
	w.begun++
	w.file = &file{
		number: w.begun,
		dir:    w.opt.Directory, sealing: w.newSealing(), digest: w.newDigest(),
		header: w.enc.Header(), recorded: recorded{heading: heading(w.opt.Header)},
		report: File{LinkType: w.opt.Header.LinkType, Filter: w.opt.Header.Filter, Snaplen: w.snaplen(), Begin: start, Observer: w.observer(), Name: store.Name{
			Interface: w.opt.Header.Interface,
			Start:     start.Truncate(time.Second),
			Sequence:  w.sequence.Add(1),
			Lane:      w.opt.Lane,
			Format:    w.opt.Header.Format,
			Encrypted: w.opt.Recipients != nil,
		}},
	}
	w.file.before = w.total
	if len(pkts) > 0 {
		w.file.before.subtract(tally(pkts, pkts[0].Time(), everything, w.chosen()))
	}
	w.journal.begin(w.file)
	w.index, w.pieces = 0, mark{}
	if w.chunk = nil; !w.nextChunk(0, mark{}) {
		w.file = nil
		return
	}
	w.chunk.fill = copy(w.chunk.buf, w.file.header)
	w.file.encoded.bytes = int64(w.chunk.fill)
	w.schedule.begin(t)
	w.commit(Counts{})
}

// flush submits the records of the current chunk that were not submitted yet.
func (w *Writer) flush() {
	c := w.chunk
	to, end := w.flushable()
	if w.file == nil || to == c.flushed {
		w.flushed = w.schedule.mono
		return
	}
	if c.flush.Load() {
		return // the previous flush is not done
	}
	w.flushed = w.schedule.mono
	at := position{w.file.encoded, w.file.report.Last, nil}
	w.commitSealed(at)
	w.submit(operation{
		file: w.file, chunk: c, index: w.index, from: c.flushed, to: to, mark: end, checkpoint: w.checkpoint(at),
	})
	c.flushed = to
}

// Describe changes the description of the interface for further files. The current file ends if its
// description differs. Format and snaplen stay.
func (w *Writer) Describe(h pcap.Header) {
	h.Format, h.Micro, h.Snaplen = w.opt.Header.Format, w.opt.Header.Micro, w.opt.Header.Snaplen
	enc := pcap.NewEncoder(h)
	differs := !bytes.Equal(enc.Header(), w.enc.Header())
	if w.file != nil && w.file.resumed { // this process has not made its header
		differs = w.file.record.heading != heading(h)
	}
	if differs {
		w.rotate(ledger.ReasonLink, w.schedule.wall)
	}
	w.opt.Header, w.enc = h, enc
}

// Sequence returns the highest sequence number in use.
func (w *Writer) Sequence() uint64 { return w.sequence.Load() }

// Rotate ends the current file; the next begins with the next packet.
func (w *Writer) Rotate(reason ledger.Reason) { w.rotate(reason, w.schedule.wall) }

// rotate ends the current file, which holds what was captured before end. It waits while too many
// ended files are queued.
func (w *Writer) rotate(reason ledger.Reason, end time.Time) {
	f := w.endFile(reason, end)
	if f == nil {
		return
	}
	select {
	case w.disk.ending <- f:
		return
	default:
	}
	w.waits++
	w.publish()
	select {
	case w.disk.ending <- f:
	case <-w.abort:
		w.unended = f
	}
}

// endFile submits the last records and the trailer of the current file. It returns the file, which the
// caller queues for completion; nil if there is no current file.
func (w *Writer) endFile(reason ledger.Reason, end time.Time) *file {
	f, c := w.file, w.chunk
	if f == nil || w.freezes() {
		return nil
	}
	w.describe(&f.report, reason, end)
	trailer := w.enc.TrailerMixed(c.buf[c.fill:c.fill], f.report.statistics(), &f.described)
	c.fill += len(trailer)
	f.encoded.bytes += int64(len(trailer))
	f.report.observeEnd(f.encoded.bytes)
	w.journal.end(f, c.off)
	w.file, w.chunk, w.since = nil, nil, end
	w.commit(Counts{}) // from here on the file is not the current one, whenever the process dies
	w.submit(operation{
		file: f, chunk: c, index: w.index, from: c.flushed, to: c.fill, whole: true, last: true, mark: f.encoded,
	})
	w.publish()
	return f
}

// describe fills in a file's report at its end, except for the results from the disk.
func (w *Writer) describe(r *File, reason ledger.Reason, end time.Time) {
	r.Reason, r.End = reason, end
	r.Counts = w.total
	r.Counts.subtract(w.ahead)
	r.Counts.subtract(w.file.before)
	d := w.newDrops()
	w.file.dropped += d.Unread
	r.Packets, r.Lost = w.file.encoded.packets, w.file.dropped
	r.KernelDrops, r.Freezes, r.NICDrops, r.NICDiscards = d.Kernel, d.Freezes, d.NIC, d.Discarded
}

func (r *File) statistics() pcap.Statistics {
	return pcap.Statistics{
		Start: r.Begin, End: r.End,
		Received: r.Packets + r.Lost + r.KernelDrops, NICDropped: r.NICDrops, KernelDropped: r.KernelDrops,
		Accepted: r.Packets + r.Lost + r.KernelDrops, Delivered: r.Packets,
	}
}

// Abort makes Write and Close give up what waits for the disk. It may be called from any goroutine.
func (w *Writer) Abort() {
	if w.aborted.CompareAndSwap(false, true) {
		close(w.abort)
	}
}

// An End is the state in which a Writer ended, for its successor.
type End struct {
	Time     time.Time // end of the last file
	Sequence uint64    // the highest number in use
}

// End ends the current file, and notes in the ledger what belongs to no file. Only Close may be
// called afterwards; it waits for the disk.
func (w *Writer) End() End {
	w.submitLent()
	w.forsake()
	if !w.ended && !w.freezes() {
		w.final = w.endFile(ledger.ReasonShutdown, w.schedule.wall)
		w.noteRest()
		w.since = w.schedule.wall
		w.commit(Counts{})
	}
	w.ended = true
	return End{Time: w.schedule.wall, Sequence: w.sequence.Load()}
}

// Follow continues after another Writer of the same directory and lane, which has ended. It must be
// called before the first Tick.
func (w *Writer) Follow(e End) {
	w.after = e.Time
	defer w.commitFile()
	w.sequence.Store(max(e.Sequence, w.sequence.Load()))
}

// Adjust changes when files end, are flushed and are synced. The other options stay.
func (w *Writer) Adjust(to Options) {
	w.disk.pool.serve(to.RotateSize)
	w.opt.RotateSize, w.opt.FlushInterval, w.opt.SyncInterval, w.opt.KeepEmpty = to.RotateSize, to.FlushInterval, to.SyncInterval, to.KeepEmpty
	if w.schedule.interval != to.RotateInterval {
		w.opt.RotateInterval, w.schedule.interval = to.RotateInterval, to.RotateInterval
		w.schedule.begin(w.schedule.wall)
	}
}

// Close ends the current file, waits until all files are finished and frees the memory. If the
// context ends first, unfinished files keep the suffix Partial and the memory is not freed.
func (w *Writer) Close(ctx context.Context) error {
	w.End()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, f := range []*file{w.unended, w.final} {
			if f != nil {
				w.disk.ending <- f
			}
		}
		w.disk.close()
		w.disk.pool.close()
	}()
	select {
	case <-done:
		w.publish()
		if w.frozen {
			return fmt.Errorf("finish files in %s: %w", w.opt.Directory, errLeft)
		}
		return nil
	case <-ctx.Done():
		w.publish()
		return fmt.Errorf("finish files in %s: %w", w.opt.Directory, ctx.Err())
	}
}
