package writer

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"capd/crypt"
	"capd/store"
)

// Encrypted files. The recorder encodes into chunks as ever. The disk's goroutines encrypt what they
// write, so plaintext is in memory only. A piece of 64 KiB must never be encrypted twice with different bytes
// (package crypt). So nothing is submitted before it is committed: a Writer that goes on after the
// process was killed has the same bytes up to there. And only whole pieces are written before a
// file's end. The last byte of a chunk stays in it until another one follows, as the piece that it is in
// may be the last of the file.
//
// The key of a file is in the journal from the file's creation to its end, and in memory. Nothing of it is on the
// disk, and the journal is in memory too, on the systems where a journal outlives its process.

// A sealing is how the bytes of an encrypted file get to the disk.
type sealing struct {
	recipients *crypt.Recipients
	header     []byte        // that the file begins with, until it is written
	begin      int64         // bytes of it
	sealer     *crypt.Sealer // nil until the file is created; begin and sealer are set under file.io, before the first write
}

// newSealing returns how the next file is encrypted; nil: it is not.
func (w *Writer) newSealing() *sealing {
	if w.opt.Recipients == nil {
		return nil
	}
	return &sealing{recipients: w.opt.Recipients}
}

// mostBytes returns the most bytes that may be encoded into the current file, or 0. RotateSize is of what
// is on the disk.
func (w *Writer) mostBytes() int64 {
	if w.opt.RotateSize == 0 || w.file.sealing == nil || w.opt.Recipients == nil {
		return w.opt.RotateSize
	}
	return max(1, crypt.Plain(w.opt.Recipients.Size(), w.opt.RotateSize))
}

// wholePieces returns how many of the bytes are whole pieces that are not the last.
func wholePieces(bytes int) int { return max(0, bytes-1) &^ (crypt.PieceSize - 1) }

// atOnceUpTo returns up to where in the current chunk records are encoded together. One that crosses that is encoded
// alone, so that the end of the record before it is known.
func (w *Writer) atOnceUpTo() int {
	if w.file.sealing == nil {
		return w.disk.pool.size
	}
	return min(w.disk.pool.size, w.chunk.fill&^(crypt.PieceSize-1)+crypt.PieceSize)
}

// isFull reports whether the current chunk can be submitted for the last time.
func (w *Writer) isFull() bool {
	if w.file.sealing == nil {
		return w.chunk.fill >= w.disk.pool.size
	}
	return wholePieces(w.chunk.fill) >= w.disk.pool.size
}

// flushable returns up to where the current chunk can be written now, and the last end of a record up to there.
func (w *Writer) flushable() (to int, end mark) {
	switch {
	case w.file == nil:
		return 0, mark{}
	case w.file.sealing == nil:
		return w.chunk.fill, w.file.encoded
	}
	return wholePieces(w.chunk.fill), w.pieces
}

// commitSealed commits what is encoded up to the position, before it is encrypted.
func (w *Writer) commitSealed(at position) {
	if w.file.sealing == nil {
		return
	}
	counts := w.total
	counts.subtract(w.file.before)
	counts.subtract(tally(at.rest, at.last, everything, w.chosen()))
	w.commit(counts)
}

// newKey makes the key of an encrypted file that is created, and what it begins with. The caller holds io.
func (f *file) newKey() error {
	s, r := f.sealing, f.record
	if s == nil {
		return nil
	}
	if s.recipients == nil {
		return errors.New("nobody is known to encrypt the file for")
	}
	begin, key, err := s.recipients.Begin()
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	r.key, r.sealBegin = key, int64(len(begin))
	s.begin, s.sealer, s.header = r.sealBegin, crypt.NewSealer(key), begin
	return nil
}

// writeBegin writes what an encrypted file begins with. The caller holds io.
func (f *file) writeBegin() error {
	if f.sealing == nil {
		return nil
	}
	if err := f.openPlain(); err != nil {
		return err
	}
	_, err := f.plain.WriteAt(f.sealing.header, 0)
	f.digest.addSmall(0, f.sealing.header)
	f.sealing.header = nil
	step()
	return err
}

// resumeSealed goes on with an encrypted file of that size, and returns the most bytes that it has by now. One whose
// begin was not written whole has nothing else, and begins anew. The caller holds io.
func (f *file) resumeSealed(size int64) (most int64, err error) {
	s, r := f.sealing, f.record
	if r.sealBegin <= 0 || size < r.sealBegin {
		if err := f.handle().Truncate(0); err != nil {
			return 0, err
		}
		if err := f.newKey(); err != nil {
			return 0, err
		}
		return s.begin, f.writeBegin()
	}
	s.begin, s.sealer = r.sealBegin, crypt.NewSealer(r.key)
	return crypt.Size(s.begin, f.resumeEnd), nil
}

// forgetKey removes the key of a file to which nothing is written any more.
func (r *fileRecord) forgetKey() { r.key = crypt.Key{} }

// onDisk returns how many bytes the file has on the disk, up to the end of the last record that is there
// without a hole. A file that failed ends with a whole piece.
func (f *file) onDisk() int64 {
	s := f.sealing
	switch {
	case s == nil:
		return f.good.bytes
	case s.sealer == nil:
		return 0
	case f.good == f.encoded: // with its last piece
		return crypt.Size(s.begin, f.good.bytes)
	}
	return crypt.Offset(s.begin, f.good.bytes+crypt.PieceSize-1)
}

// sealsPiece is called for each piece that is encrypted. Replaced in tests.
var sealsPiece = func(f *file, number int64, piece []byte, last bool) {}

// sealPart is how many bytes are encrypted before they are written.
const sealPart = 16 * crypt.PieceSize

// A sealBuffer is memory for encrypted bytes. It begins at a page.
type sealBuffer struct{ b []byte }

var sealBuffers = sync.Pool{New: func() any {
	mem := make([]byte, sealPart+sealPart/crypt.PieceSize*16+3*align)
	skip := -int(uintptr(unsafe.Pointer(&mem[0]))) & (align - 1)
	return &sealBuffer{mem[skip : len(mem)-align+skip]}
}}

// writeSealed encrypts the operation's pieces and writes them. Whole pages of the file go past the page cache where
// possible. The pages at both ends, which have bytes of other operations too, go through it: nothing writes
// these directly.
func (op operation) writeSealed(d *disk) error {
	c, s := op.chunk, op.file.sealing
	if op.from >= op.to {
		return nil
	}
	buf := sealBuffers.Get().(*sealBuffer)
	defer func() { sealBuffers.Put(buf) }()
	first := crypt.Offset(s.begin, c.off+int64(op.from))
	w := sealedWrite{disk: d, op: op, at: first &^ (align - 1), begin: int(first & (align - 1))}
	b := buf.b[:w.begin]
	for from := op.from; from < op.to; {
		end, begun := min(from+sealPart, op.to), len(b)
		for from < end {
			to := min(from+crypt.PieceSize, end)
			number, piece, last := (c.off+int64(from))/crypt.PieceSize, c.buf[from:to], op.last && to == op.to
			sealsPiece(op.file, number, piece, last)
			b = s.sealer.Seal(b, number, piece, last)
			from = to
		}
		part := d.hashings.hashSealed(op.file, w.at+int64(begun), b[begun:], buf)
		rest, err := w.write(b, from == op.to)
		if part != nil { // it keeps its buffer for as long as it takes
			buf = sealBuffers.Get().(*sealBuffer)
		}
		b = buf.b[:copy(buf.b, rest)]
		if part != nil {
			d.hashings.written(part)
		}
		if err != nil {
			return err
		}
	}
	if d.noDirect.Load() && op.to >= d.pool.size {
		h, err := op.file.buffered(false)
		if err != nil {
			return err
		}
		return writeBehind(h, first&^(align-1), w.at-first&^(align-1))
	}
	return nil
}

// A sealedWrite writes encrypted bytes of an operation, which are in parts that follow each other.
type sealedWrite struct {
	disk  *disk
	op    operation
	at    int64 // in the file, at a page, of the next part
	begin int   // of its bytes at that place, those before it are not of the operation
}

// write writes a part, and returns the bytes at its end that are to be written with the next one.
func (w *sealedWrite) write(b []byte, last bool) (rest []byte, err error) {
	f, d := w.op.file, w.disk
	pages := len(b) &^ (align - 1)
	from := w.begin
	if from > 0 && pages > 0 {
		if err := w.buffer(b[:align], 0); err != nil {
			return nil, err
		}
		from = align
	}
	if f.direct != nil && w.op.whole && !d.noDirect.Load() && from < pages {
		done, err := w.op.writeDirect(d, b[from:pages], w.at+int64(from))
		if err != nil {
			return nil, err
		}
		if done {
			from = pages
		}
	}
	if from < pages {
		if err := w.buffer(b[:pages], from); err != nil {
			return nil, err
		}
	}
	if last && pages < len(b) {
		if err := w.buffer(b, max(pages, w.begin)); err != nil {
			return nil, err
		}
	}
	if pages > 0 {
		w.begin = 0
	}
	w.at += int64(pages)
	return b[pages:], nil
}

// buffer writes the bytes from an index on through the page cache.
func (w *sealedWrite) buffer(b []byte, from int) error {
	from = max(from, w.begin)
	h, err := w.op.file.buffered(false)
	if err != nil {
		return err
	}
	_, err = h.WriteAt(b[from:], w.at+int64(from))
	return err
}

// openPlain opens the file for buffered writes, once. The caller holds io.
func (f *file) openPlain() error {
	if f.plain != nil {
		return nil
	}
	h, err := store.OpenFile(f.path(), os.O_WRONLY, 0)
	if err == nil {
		f.plain = h
	}
	return err
}
