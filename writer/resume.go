package writer

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"capd/crypt"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// From says that the frames to come are of the ring with that number, which no other ring of the
// system has; 0 for one that ends with the process. An earlier Writer may have read a part of it, up
// to Position. The drops are those of the rings before, as in Options.Drops. Blocks that were lent to the earlier Writer and that it
// has not written are asked for by again: it returns no memory of one that is gone.
func (w *Writer) From(ring uint64, before Drops, again func(block uint64) (memory []byte, release func())) {
	same := w.at.ring == ring && ring != 0
	if w.inherits {
		w.inherits = false
		if !same {
			w.drops = Drops{}
		}
		w.drops = before.minus(Drops{}.minus(w.drops))
	}
	w.before = before
	if same {
		w.repay(again)
	} else {
		w.forsake()
		w.at = place{ring: ring}
	}
	w.commitFile()
}

// Inherited is what a Writer has from one before it with the same journal.
type Inherited struct {
	Position
	Accepted uint64    // packets that count as given to Write: those of the current file, and those that were not on the disk yet
	Drops    Drops     // the ring's counters that lines of the ledger account for already
	Until    time.Time // up to when it recorded, as far as it is known; zero: not at all
	File     bool      // there is a current file
}

// Inherited returns what the Writer has from one before it. It must be called before the first Tick.
func (w *Writer) Inherited() Inherited {
	return Inherited{Position: w.Position(), Accepted: w.total.Packets, Drops: w.drops, Until: w.until(), File: w.file != nil}
}

// A Position is a place in a ring, between two of its frames.
type Position struct {
	Ring   uint64 // see Writer.From
	Block  uint64 // all frames up to this block have been recorded; 0: none
	Frames uint64 // in these blocks
	Unread uint64 // of these, malformed ones that were not given to Write
	Taken  uint64 // frames of the next block that have been recorded too
}

// Position returns up to where the ring's frames are recorded.
func (w *Writer) Position() Position {
	return w.at.position()
}

// Position returns up to where the frames of the ring are recorded.
func (j *Journal) Position() Position {
	return j.cursor().at.position()
}

// Recorded returns how many packets were given to Write.
func (j *Journal) Recorded() uint64 { return j.cursor().recorded }

func (p place) position() Position {
	return Position{Ring: p.ring, Block: p.block, Frames: p.frames, Unread: p.unread, Taken: p.taken}
}

// Commit says that all frames up to that block have been given to Write, but the unread ones. The
// block has that number of frames. From here on it is not needed any more, even if the process dies:
// the caller releases it next. If Commit returns false, the block is left to another Writer with the
// same journal, and must not be released: Abort was called.
func (w *Writer) Commit(block, frames, unread uint64) bool {
	w.submitLent() // none of the block's frames may have been for Write
	if w.freezes() {
		return false
	}
	w.at.block, w.at.taken = block, 0
	w.at.frames += frames
	w.at.unread += unread
	w.commitFile()
	return true
}

// take moves the place in the ring behind the packets.
func (w *Writer) take(pkts []pcap.Packet) {
	w.at.taken += uint64(len(pkts))
	w.recorded += uint64(len(pkts))
	w.taken = pkts[len(pkts)-1].Time()
}

// errLeft says that files are left to another Writer.
var errLeft = errors.New("what the disk has not taken is left to the next process")

// errLost says that packets of a file are lost.
var errLost = errors.New("the disk failed, and the process before ended")

// freezes reports whether the Writer does nothing any more, because Abort was called and another
// Writer can go on at the last commit.
func (w *Writer) freezes() bool {
	w.frozen = w.frozen || w.aborted.Load() && w.opt.Journal != nil && w.at.ring != 0
	return w.frozen
}

// heading returns a number for what a file says of the interface. It leaves out what of that may
// differ in the next process although the interface is the same.
func heading(h pcap.Header) uint64 {
	h.Application, h.OS, h.Hardware, h.Speed = "", "", "", 0
	sum := fnv.New64a()
	_, _ = sum.Write(pcap.NewEncoder(h).Header())
	return sum.Sum64()
}

// commitFile commits the present state, in which all packets that were counted are encoded.
func (w *Writer) commitFile() {
	var c Counts
	if w.file != nil {
		c = w.total
		c.subtract(w.file.before)
	}
	w.commit(c)
}

// commit makes the present state the one that counts after the end of the process. The counts are
// those of the current file.
func (w *Writer) commit(counts Counts) {
	c := cursor{
		at: w.at, begun: w.begun, sequence: w.sequence.Load(), since: stampOf(w.since), packet: stampOf(w.taken),
		end: w.schedule.end, lost: w.lost - w.lostReported, drops: w.drops.minus(w.before), gap: w.gapCursor(), recorded: w.recorded,
	}
	if w.since.IsZero() {
		c.since = stampOf(w.after)
	}
	if f := w.file; f != nil {
		c.file = fileCursor{
			number: f.number, mark: f.encoded, first: stampOf(f.report.First), last: stampOf(f.report.Last), counts: counts, checked: f.checked,
		}
	}
	w.journal.commit(&c)
}

// Lapse says that nothing was recorded since the Writer before ended, up to now. It ends the current
// file, if there is one, and returns when recording ended. It must be called before the first Tick.
func (w *Writer) Lapse(now time.Time) time.Time {
	w.forsake()
	from := w.until()
	if from.IsZero() {
		return now
	}
	w.rotate(ledger.ReasonError, from)
	w.since = now
	w.commitFile()
	return from
}

// Finish ends the current file, if there is one, when the last packet came that the Writer before
// recorded: it had read its ring to the end. It must be called before the first Tick, and only Close
// may follow.
func (w *Writer) Finish() {
	w.forsake()
	w.schedule.wall = w.until()
	w.rotate(ledger.ReasonLink, w.schedule.wall)
}

// until returns up to when the Writer before recorded, as far as it is known.
func (w *Writer) until() time.Time {
	if w.last.After(w.since) {
		return w.last
	}
	return w.since
}

// Last returns the time of the last packet.
func (w *Writer) Last() time.Time { return w.last }

// Memory returns the memory of the chunks, for a Writer of another process. It returns nil if it can't
// outlive this one.
func (w *Writer) Memory() (*os.File, error) { return w.disk.pool.region.file() }

// Unfinished returns the names of the files in the directory of which a Writer with this journal
// will go on, and so which nobody else may touch. Of the name, only the interface, the lane and the
// format are used.
func (j *Journal) Unfinished(of store.Name) []store.Name {
	return j.names(of, j.resumes)
}

// Ended returns the names of files that have ended and did not fail. A Writer that goes on has their reports in Completed, or
// passes them to Options.Finished. Of the name, only the interface, the lane and the format are used.
func (j *Journal) Ended(of store.Name) []store.Name {
	return j.names(of, func(r *fileRecord) bool {
		phase := r.phase.Load()
		return j.has(r) && (phase == fileEnded || phase == fileDone)
	})
}

func (j *Journal) names(of store.Name, keep func(*fileRecord) bool) (all []store.Name) {
	for i := range j.head.files {
		if r := &j.head.files[i]; keep(r) {
			all = append(all, r.name(of))
		}
	}
	return all
}

// has reports whether the record is of a file that a Writer has begun.
func (j *Journal) has(r *fileRecord) bool {
	n, c := r.number.Load(), j.cursor()
	return n != 0 && n <= c.begun && j.file(n) == r && c.valid() && r.valid()
}

// resumes reports whether a Writer goes on with the file of that record: the current one, and those
// that have ended and are not complete.
func (j *Journal) resumes(r *fileRecord) bool {
	if !j.has(r) {
		return false
	}
	switch r.phase.Load() {
	case fileBegun:
		return j.cursor().file.number == r.number.Load()
	case fileEnded:
		return true
	}
	return false
}

// encoded returns up to where the file's bytes are in chunks or on the disk.
func (r *fileRecord) encoded(c *cursor) mark {
	if r.number.Load() == c.file.number {
		return c.file.mark
	}
	return r.outcome.mark
}

func (r *fileRecord) name(of store.Name) store.Name {
	of.Start, of.Sequence, of.Encrypted = time.Unix(r.start, 0).UTC(), r.sequence.Load(), r.sealed == 1
	return of
}

// inherit goes on with the files of an earlier Writer that used the journal. What its chunks hold is
// written to its place, even if it was written before.
func (w *Writer) inherit() {
	c := *w.journal.cursor()
	if !c.valid() {
		c = cursor{}
	}
	held := w.heldChunks(&c)
	w.disk.pool.begin()
	if c.begun == 0 && c.at.ring == 0 {
		return
	}
	w.at, w.recorded = c.at, c.recorded
	w.begun, w.since, w.last, w.schedule.end = c.begun, c.since.time(), c.packet.time(), c.end
	w.taken = w.last
	w.lost, w.drops, w.inherits = c.lost, c.drops, true
	w.schedule.await()
	w.total.Packets = c.lost
	w.sequence.Store(max(w.sequence.Load(), c.sequence))
	for n := c.begun - min(c.begun, journalFiles-1); n <= c.begun; n++ {
		r := w.journal.file(n)
		if n == 0 || r.number.Load() != n || !r.valid() {
			continue
		}
		w.sequence.Store(max(w.sequence.Load(), r.sequence.Load())) // it may have changed since the last commit
		switch {
		case r.phase.Load() == fileDone:
			r.forgetKey()
			w.completed = append(w.completed, w.fileOf(r).report)
		case r.phase.Load() == fileFailed:
			r.phase.Store(fileLost)
			r.forgetKey()
			if n == c.file.number && w.last.After(w.since) {
				w.since = w.last // its line covers the time up to there
			}
		case w.journal.resumes(r):
			w.goOnWith(r, &c, held[n])
		}
	}
	w.inheritOutage(c.gap)
}

// Failed returns the reports of files of which the disk has not taken everything. The Writer may have died before it
// could pass them to Options.Finished. How many of their packets are on the disk is not known: all count as lost.
// Of the name, only the interface, the lane and the format are used.
func (j *Journal) Failed(of store.Name) (all []File) {
	c := j.cursor()
	for i := range j.head.files {
		r := &j.head.files[i]
		if !j.has(r) || r.phase.Load() != fileFailed {
			continue
		}
		o := r.outcome
		if r.number.Load() == c.file.number { // it has not ended
			o = fileOutcome{mark: c.file.mark, first: c.file.first, last: c.file.last, end: c.file.last, reason: codeOf(ledger.ReasonError), counts: c.file.counts}
		}
		f := File{
			Name: r.name(of), LinkType: pcap.LinkType(r.link), Snaplen: r.snaplen, Begin: r.begin.time(), End: o.end.time(),
			First: o.first.time(), Last: o.last.time(), Reason: o.reason.reason(), Err: errLost, Counts: o.counts,
		}
		f.Lost, f.Packets, f.Bytes = f.Lost+o.mark.packets, 0, 0
		all = append(all, f)
	}
	return all
}

// goOnWith goes on with the file of a record.
func (w *Writer) goOnWith(r *fileRecord, c *cursor, held []*chunk) {
	f := w.fileOf(r)
	switch {
	case f.number == c.file.number:
		w.goOn(f, &c.file, held)
	case f.isComplete():
		for _, one := range held {
			if one.loan == nil { // the others are given back in From
				w.disk.release(one)
			}
		}
		r.phase.Store(fileDone)
		r.forgetKey()
		w.completed = append(w.completed, f.report)
	default:
		w.complete(f, held)
	}
}

// A journal in memory of another process is only as good as that memory. What follows keeps a damaged one
// from doing harm: it refuses what no Writer has written.

// mostBytes is more than any file has.
const mostBytes = 1 << 60

func (m mark) valid() bool { return m.bytes >= 0 && m.bytes < mostBytes }

func (c *cursor) valid() bool {
	return c.begun < 1<<60 && c.file.number <= c.begun && c.file.mark.valid() && c.sequence < 1<<60
}

// valid reports whether the chunk has bytes of a file that ends there.
func (h *chunkRecord) valid(end mark) bool {
	return h.off >= 0 && h.off <= end.bytes && h.off%align == 0 && h.before.valid() && h.after.valid()
}

func (r *fileRecord) valid() bool {
	const last = 253402300799 // the end of the year 9999, the last one that names have
	return r.start >= 0 && r.start <= last && r.sequence.Load() < 1<<60 && r.outcome.mark.valid()
}

// Completed returns the reports of the latest files that an earlier Writer has completed. It may
// have died before it could pass them to Options.Finished.
func (w *Writer) Completed() []File { return w.completed }

// heldChunks takes the chunks that hold committed bytes of files to go on with from the pool. It
// returns those of each file, in the order of their offsets. The others are free.
func (w *Writer) heldChunks(c *cursor) map[uint64][]*chunk {
	held := make(map[uint64][]*chunk)
	for number := range w.journal.chunks {
		h := &w.journal.chunks[number]
		n := h.file.Load()
		r := w.journal.file(n)
		if n == 0 || r.number.Load() != n || !w.journal.resumes(r) || !h.valid(r.encoded(c)) {
			h.file.Store(0)
			continue
		}
		one := w.disk.pool.claim(number)
		one.off = h.off
		held[n] = append(held[n], one)
	}
	w.heldLoans(c, held)
	for _, all := range held {
		slices.SortFunc(all, func(a, b *chunk) int { return cmp.Compare(a.off, b.off) })
	}
	return held
}

// fileOf makes the file of a record. Its report is that of a file that has ended.
func (w *Writer) fileOf(r *fileRecord) *file {
	o := &r.outcome
	f := &file{
		number: r.number.Load(), dir: w.opt.Directory, header: make([]byte, max(0, min(r.header, 1<<20))),
		recorded: recorded{record: r, resumed: true}, encoded: r.outcome.mark, dropped: r.dropped,
		report: File{
			LinkType: pcap.LinkType(r.link), Filter: w.opt.Header.Filter, Snaplen: r.snaplen,
			Name:  r.name(store.Name{Interface: w.opt.Header.Interface, Lane: w.opt.Lane, Format: w.opt.Header.Format}),
			Begin: r.begin.time(), End: o.end.time(), First: o.first.time(), Last: o.last.time(),
			Reason: o.reason.reason(), Size: o.mark.bytes, Counts: o.counts,
		},
	}
	f.report.Path = filepath.Join(f.dir, f.report.Name.String())
	if r.sealed == 1 {
		f.sealing = &sealing{recipients: w.opt.Recipients}
		f.report.Size = crypt.Size(r.sealBegin, o.mark.bytes)
	}
	f.described.Anew() // which interfaces it describes is not in the journal
	return f
}

// known sets up to where the file is on the disk: up to the first of the chunks that hold its bytes.
// What is between them is on the disk too.
func (f *file) known(j *Journal, held []*chunk) {
	f.good = f.encoded
	if len(held) > 0 {
		f.good = j.before(held[0])
	}
	f.resumeEnd = f.encoded.bytes
}

// isComplete reports whether the file has its final name: the process may have died before the
// record said so.
func (f *file) isComplete() bool {
	if _, err := os.Lstat(f.path()); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, err := os.Lstat(filepath.Join(f.dir, f.report.Name.String()))
	return err == nil
}

// complete submits what is left to do for a file that has ended.
func (w *Writer) complete(f *file, held []*chunk) {
	f.known(w.journal, held)
	w.total.Packets += f.encoded.packets - f.good.packets // they count as accepted, and as written when they are
	w.submitHeld(f, held, true)
	w.disk.ending <- f
}

// goOn makes the file the current one again. The chunk that has the committed end is filled further;
// those before it are submitted.
func (w *Writer) goOn(f *file, c *fileCursor, held []*chunk) {
	w.file = f
	f.record.phase.Store(fileBegun) // it may have ended, but before the cursor said so
	f.encoded, f.checked = c.mark, c.checked
	f.report.First, f.report.Last, f.report.Reason, f.report.Counts = c.first.time(), c.last.time(), "", Counts{}
	f.known(w.journal, held)
	f.before = w.total
	w.total.add(c.counts)
	w.disk.packets.Add(f.good.packets)
	if n := len(held) - 1; n >= 0 && w.reaches(held[n], c.mark) {
		w.chunk, w.index, w.pieces = held[n], n, w.journal.before(held[n])
		w.journal.chunks[w.chunk.number].size = 0 // it may have been submitted whole, but before the cursor said so
		w.chunk.fill = int(c.mark.bytes - w.chunk.off)
		w.submitHeld(f, held[:n], false)
		return
	}
	// The bytes around the end are on the disk only: their chunk was written, and used again.
	w.submitHeld(f, held, true)
	w.index = len(held)
	w.disk.pool.grow()
	<-w.disk.pool.free
	w.chunk = w.disk.pool.take()
	if err := w.readBack(f); err != nil {
		w.disk.fail(f, fmt.Errorf("go on with the file: %w", err))
	}
	w.journal.hold(w.chunk, f, c.mark)
}

// reaches reports whether the chunk has the bytes before the mark, or begins there.
func (w *Writer) reaches(c *chunk, m mark) bool {
	if c.loan != nil {
		return false
	}
	size := int64(w.disk.pool.size)
	if s := w.journal.chunks[c.number].size; 0 < s && s < size {
		size = s // a block of the ring follows it
	}
	return m.bytes-c.off <= size
}

// submitHeld submits whole chunks of a file. If they are all that is missing, the file is on the
// disk up to its end when they are.
func (w *Writer) submitHeld(f *file, held []*chunk, all bool) {
	for i, c := range held {
		end := all && i == len(held)-1
		if c.loan != nil {
			m := c.loan.record.after
			if end {
				m = f.encoded
			}
			w.owe(operation{file: f, chunk: c, index: i, whole: true, mark: m})
			continue
		}
		r := &w.journal.chunks[c.number]
		c.fill = w.disk.pool.size
		if 0 < r.size && r.size <= int64(len(c.buf)) {
			c.fill = int(r.size)
		}
		m, last := r.after, false
		if left := f.encoded.bytes - c.off; f.record.phase.Load() == fileEnded && c.off == f.record.outcome.tail {
			c.fill, last = min(int(left), len(c.buf)), true
		}
		if end {
			m = f.encoded
		}
		w.disk.submit(operation{file: f, chunk: c, index: i, to: c.fill, whole: true, last: last, mark: m})
	}
}

// readBack fills the chunk with the file's last bytes, from a page's begin.
func (w *Writer) readBack(f *file) error {
	c := w.chunk
	if f.sealing != nil {
		return errBlockGone
	}
	c.off = f.resumeEnd &^ (align - 1)
	c.fill = int(f.resumeEnd - c.off)
	c.flushed = c.fill
	if c.fill == 0 {
		return nil
	}
	h, err := os.Open(f.path())
	if err != nil {
		return err
	}
	defer h.Close()
	_, err = h.ReadAt(c.buf[:c.fill], c.off)
	return err
}

// reopen opens the file that an earlier Writer has created. What is behind the committed end was
// written by nobody who lives: the same frames come again.
func (f *file) reopen(d *disk) error {
	const flags = os.O_WRONLY
	if !d.noDirect.Load() {
		h, err := store.OpenDirect(f.path(), flags, d.mode)
		switch {
		case err == nil:
			f.direct = h
		case !store.RefusesDirect(err):
			return err
		default:
			d.noDirect.Store(true)
		}
	}
	if f.direct == nil {
		h, err := os.OpenFile(f.path(), flags, d.mode)
		if err != nil {
			return err
		}
		f.plain = h
	}
	info, err := f.handle().Stat()
	if err != nil {
		return err
	}
	end := f.resumeEnd
	if f.sealing != nil {
		if end, err = f.resumeSealed(info.Size()); err != nil {
			return err
		}
	}
	if info.Size() > end {
		err = f.handle().Truncate(end)
	}
	f.allocated = max(f.allocated, end)
	return err
}

// ensure opens a file that an earlier Writer has begun, even if nothing is left to be written to it.
func (f *file) ensure(d *disk) error {
	if !f.resumed {
		return nil
	}
	return f.create(d)
}

// removeEmpty removes the file if it has nothing in it.
func (f *file) removeEmpty() {
	if info, err := os.Lstat(f.path()); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		_ = os.Remove(f.path())
	}
}

// before returns up to where the file is whole before the piece.
func (j *Journal) before(c *chunk) mark {
	if c.loan != nil {
		return c.loan.record.before
	}
	return j.chunks[c.number].before
}
