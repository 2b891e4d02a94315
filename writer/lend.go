package writer

import (
	"errors"
	"sync/atomic"
	"time"
	"unsafe"

	"capd/pcap"
)

// A Block is a block of the ring that is lent to a Writer.
type Block struct {
	Number  uint64 // in the ring: see Commit
	Frames  uint64 // in the block, all of which are given to Lend
	Memory  []byte // in which the packets lie; it begins at a page
	More    bool   // the next block is there already, and is given to Lend, or committed, at once: they are written together
	Release func() // gives the block back to the kernel
}

// mostLoans is how many blocks may be lent at a time: what is read while the disk is slow goes into chunks, of
// which there are more.
const mostLoans = 32

// MostInBlock is how many packets a block has at most that is lent.
const MostInBlock = 2048

// A loanRecord says in the journal which block is lent for which bytes of a file. The packets are framed where they lie,
// which destroys what the kernel said of them: the record has that, so that it can be done over.
type loanRecord struct {
	file   atomic.Uint64 // number of the file; 0: nothing is lent
	ring   uint64        // see place
	block  uint64
	off    int64 // in the file
	size   int64
	before mark // the last end of a record up to there
	after  mark // of its last record
	count  int64
	placed [MostInBlock]pcap.Placed
}

// A loan is a block on its way to the disk.
type loan struct {
	record  *loanRecord
	release func()    // nil until the block is there
	piece   operation // that waits for a block of an earlier process; without a file, none does
}

// giveBack gives the block back to the kernel.
func (l *loan) giveBack() {
	step()
	l.record.file.Store(0)
	step()
	if l.release != nil {
		l.release()
	}
}

// Lend records all packets of a block, in their order, without a copy, and commits them, as Write and Commit
// do. The block is released when it is on the disk, or given up. Lend returns false if it has done
// nothing: then the packets are for Write. It does nothing in an encrypted file, of which no byte is written as it is.
func (w *Writer) Lend(b Block, pkts []pcap.Packet) bool {
	f := w.file
	if f == nil || f.sealing != nil || f.failed.Load() || w.resume != 0 || w.aborted.Load() || len(pkts) == 0 || len(pkts) > MostInBlock || w.at.taken != 0 {
		return false
	}
	r := w.journal.freeLoan()
	if r == nil || !r.place(b.Memory, pkts) {
		return false
	}
	size, ok := w.enc.FitInPlace(b.Memory, r.placed[:r.count])
	if !ok || w.opt.RotateSize > 0 && f.encoded.bytes+int64(2*pcap.PlaceAlign+size+w.enc.TrailerSize()) > w.opt.RotateSize {
		return false
	}
	counts := tally(pkts, w.last, w.schedule.limit(&pkts[0]), w.chosen())
	if counts.Packets != uint64(len(pkts)) || !w.fillUp() {
		return false
	}
	last := &pkts[len(pkts)-1]
	w.last, w.taken = last.Time(), last.Time()
	w.schedule.follow(last)
	w.total.add(counts)
	f.report.observe(pkts)
	r.ring, r.block, r.off, r.size, r.before = w.at.ring, b.Number, f.encoded.bytes, int64(size), f.encoded
	f.encoded.add(size, len(pkts))
	r.after = f.encoded
	w.journal.free(w.chunk) // it is empty
	r.file.Store(f.number)
	step()
	w.at.block, w.at.frames = b.Number, w.at.frames+b.Frames
	w.recorded += uint64(len(pkts))
	w.commitFile() // from here on the packets are recorded, whenever the process dies
	w.enc.FrameInPlace(b.Memory, r.placed[:r.count], size)
	step()
	w.observeAt(r.off, b.Memory[:size])
	w.chunk.off = f.encoded.bytes
	w.journal.hold(w.chunk, f, f.encoded)
	w.disk.lent.Add(1)
	w.join(&chunk{buf: b.Memory[:size:size], off: r.off, fill: size, loan: &loan{record: r, release: b.Release}})
	if !b.More || len(w.joined.also) == mostAtOnce-1 {
		w.submitLent()
	}
	return true
}

// mostAtOnce is how many blocks one write takes at most. What a write costs beside its bytes is saved where several are there.
const mostAtOnce = 8

// join adds a block to those that are written together, which follow each other in the current file.
func (w *Writer) join(c *chunk) {
	f, g := w.file, &w.joined
	if g.file == nil {
		*g = operation{file: f, chunk: c, index: w.index, whole: true}
		w.index++
	} else {
		g.also = append(g.also, c)
	}
	g.to, g.mark = c.fill, f.encoded
	if due := w.checkpoint(position{f.encoded, w.last, nil}); due != nil {
		g.checkpoint = due
	}
}

// submitLent submits the blocks that are to be written together.
func (w *Writer) submitLent() {
	if w.joined.file != nil {
		w.disk.submit(w.joined)
		w.joined = operation{}
	}
}

// submit queues an operation behind the blocks before it.
func (w *Writer) submit(op operation) {
	w.submitLent()
	w.disk.submit(op)
}

// place notes where in the memory the packets lie. It returns false if one does not.
func (r *loanRecord) place(memory []byte, pkts []pcap.Packet) bool {
	base := uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	for i := range pkts {
		p := &pkts[i]
		at := uintptr(unsafe.Pointer(unsafe.SliceData(p.Data))) - base
		if at >= uintptr(len(memory)) {
			return false
		}
		r.placed[i] = pcap.Placed{At: uint32(at), Captured: uint32(len(p.Data)), Length: p.Length, Sec: p.Sec, Nsec: p.Nsec, Flags: p.Flags}
	}
	r.count = int64(len(pkts))
	return true
}

// freeLoan returns a record that is not in use; nil if there is none.
func (j *Journal) freeLoan() *loanRecord {
	if j.loans == nil {
		j.loans = make([]loanRecord, mostLoans)
	}
	for i := range j.loans {
		if r := &j.loans[i]; r.file.Load() == 0 {
			return r
		}
	}
	return nil
}

// fillUp ends the current chunk at a page's end, so that a block can follow. It returns false if the writer is aborted
// while it waits for the next chunk.
func (w *Writer) fillUp() bool {
	c, f := w.chunk, w.file
	if c.fill == 0 {
		return true
	}
	n := len(w.enc.AppendFiller(c.buf[c.fill:c.fill], c.off+int64(c.fill), f.report.Last))
	c.fill += n
	f.encoded.bytes += int64(n)
	if !w.nextChunk(f.encoded.bytes, f.encoded) {
		return false
	}
	w.journal.whole(c, c.fill, f.encoded)
	w.submit(operation{
		file: f, chunk: c, index: w.index - 1, from: c.flushed, to: c.fill, whole: true, mark: f.encoded,
		checkpoint: w.checkpoint(position{f.encoded, f.report.Last, nil}),
	})
	return true
}

// loanPatience is how long AwaitLoans waits: a disk that hangs must not keep the recorder from the next ring.
const loanPatience = time.Second

// AwaitLoans returns when no block is lent, after Abort, or after a second. Until then the ring should be left to the
// next process: blocks that are lent are lost with it if the process is killed.
func (w *Writer) AwaitLoans() {
	w.submitLent()
	back := make(chan struct{})
	go func() {
		w.disk.lent.Wait()
		close(back)
	}()
	late := time.NewTimer(loanPatience)
	defer late.Stop()
	select {
	case <-back:
	case <-w.abort:
	case <-late.C:
	}
}

// committed reports whether the packets of the block are recorded by the record alone.
func (r *loanRecord) committed(c *cursor) bool {
	return r.file.Load() != 0 && r.ring == c.at.ring && c.at.ring != 0 && r.block <= c.at.block
}

// Lent returns the numbers of the blocks up to Position that are not on the disk yet: they must not go back to the
// kernel before the next Writer has asked for them.
func (j *Journal) Lent() []uint64 {
	var all []uint64
	for i := range j.loans {
		if r := &j.loans[i]; r.committed(j.cursor()) {
			all = append(all, r.block)
		}
	}
	return all
}

// valid reports whether the record is of a piece of a file that ends there.
func (r *loanRecord) valid(end mark) bool {
	return r.off >= 0 && r.off%align == 0 && r.size > 0 && r.off <= end.bytes && r.size <= end.bytes-r.off &&
		0 < r.count && r.count <= MostInBlock && r.before.valid() && r.after.valid()
}

// heldLoans adds the blocks that hold committed bytes of files to go on with. Those that nobody needs any more are
// only given back.
func (w *Writer) heldLoans(c *cursor, held map[uint64][]*chunk) {
	for i := range w.journal.loans {
		r := &w.journal.loans[i]
		if !r.committed(c) {
			r.file.Store(0)
			continue
		}
		one, n := &chunk{off: r.off, loan: &loan{record: r}}, r.file.Load()
		w.owed = append(w.owed, one)
		if of := w.journal.file(n); of.number.Load() == n && w.journal.resumes(of) && r.valid(of.encoded(c)) {
			held[n] = append(held[n], one)
		}
	}
}

// owe makes the piece's file wait for a block.
func (w *Writer) owe(piece operation) {
	piece.chunk.loan.piece = piece
	piece.file.pending.Add(1)
}

// repay submits the blocks that files wait for.
func (w *Writer) repay(again func(block uint64) (memory []byte, release func())) {
	owed := w.owed
	w.owed = nil
	for _, c := range owed {
		l, r := c.loan, c.loan.record
		memory, release := again(r.block)
		l.release = release
		size, fits := 0, false
		if l.piece.file != nil && memory != nil {
			size, fits = w.enc.FitInPlace(memory, r.placed[:r.count])
		}
		if !fits || int64(size) != r.size {
			w.writeOff(c)
			continue
		}
		w.enc.FrameInPlace(memory, r.placed[:r.count], size)
		c.buf, c.fill = memory[:size:size], size
		l.piece.to = size
		w.disk.lent.Add(1)
		w.disk.submit(l.piece)
		l.piece.file.pending.Done()
	}
}

// forsake gives up the blocks that files wait for.
func (w *Writer) forsake() {
	for _, c := range w.owed {
		w.writeOff(c)
	}
	w.owed = nil
}

var errBlockGone = errors.New("a block of the ring that was to be written is gone")

// writeOff gives up a block, and the file that waits for it.
func (w *Writer) writeOff(c *chunk) {
	if f := c.loan.piece.file; f != nil {
		w.disk.fail(f, errBlockGone)
		f.pending.Done()
	}
	c.loan.giveBack()
}
