package writer

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"capd/seal"
)

// Digests of files, made while they are recorded: from chunks, from lent blocks of the ring, and from what is encrypted, as
// it lies in memory on its way to the disk. Hashing begins with the write of such a memory, in a goroutine for each, and is over
// before the write in most cases. So it costs no copy, and no time of the recorder or of a goroutine that writes.
//
// Memory that is written and not hashed yet is held back from the recorder, and a block of the ring from the
// kernel. There are bounds of how much is held, and for how long. What is beyond is released, without a hash: then its file
// has no digest, and whoever needs one has to read it from the disk.

// A Digester is processor time for digests, for any number of Writers.
type Digester struct {
	slots chan struct{} // holds an element for each memory that is hashed now
}

// NewDigester returns a Digester that leaves at least one processor to others, if there are several.
func NewDigester() *Digester {
	return &Digester{make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))}
}

// A digest is that of a file in the making.
type digest struct {
	*Digester
	lost  atomic.Bool // the file gets none
	mu    sync.Mutex  // guards parts; held for moments only
	parts seal.Spans
}

// newDigest returns the digest of a new file; nil: it gets none.
func (w *Writer) newDigest() *digest {
	if w.opt.Digest == nil {
		return nil
	}
	d := w.opt.Digest()
	if d == nil {
		return nil
	}
	return &digest{Digester: d}
}

// getsDigest reports whether the file may get a digest.
func (f *file) getsDigest() bool { return f.digest != nil && !f.digest.lost.Load() && !f.failed.Load() }

func (g *digest) add(s *seal.Span) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parts.Add(s)
}

// addSmall hashes bytes that are fewer than those of a part, at once.
func (g *digest) addSmall(off int64, b []byte) {
	if g != nil {
		s := seal.NewSpan(off)
		_, _ = s.Write(b)
		g.add(s)
	}
}

// setDigest sets the digest in the report of a file that nothing is written to any more.
func (f *file) setDigest() {
	if !f.getsDigest() {
		return
	}
	f.digest.mu.Lock()
	defer f.digest.mu.Unlock()
	if d, ok := f.digest.parts.Digest(f.report.Size); ok {
		f.report.Digest = &d
	}
}

// Kinds of memory that is hashed.
const (
	inChunk int = iota
	inBlock
	inSealed
	memories
)

// Bounds of memory that is held because it is not hashed yet.
const (
	chunksHeld = 4 // of the chunks of a Writer one out of so many
	blocksHeld = mostLoans / 4
	sealedHeld = 4
)

// Replaced in tests.
var (
	heldFor = 20 * time.Millisecond // memory may be held: rings have room for many times as much
	mayHold = func(chunks int) [memories]int {
		return [memories]int{inChunk: max(1, chunks/chunksHeld), inBlock: blocksHeld, inSealed: sealedHeld}
	}
	hashes = func() {} // called before bytes that are hashed at once
)

// hashedAtOnce is how many bytes are hashed before the goroutine gives way to others, such as the recorder, and sees whether the
// hash is still wanted.
const hashedAtOnce = 64 << 10

// A hashing is bytes of a file, in memory that is released when they are written and hashed.
type hashing struct {
	file    *file
	off     int64
	bytes   []byte
	kind    int
	release func()
	gone    chan struct{} // closed when it is given up before it has begun

	// Guarded by the mutex of hashings.
	begun, over bool
	since       time.Time // held by nothing else since then
}

// hashings are those of one Writer.
type hashings struct {
	most    [memories]int  // that may be held
	running sync.WaitGroup // goroutines that may use the memory of a hashing
	some    atomic.Int64   // length of held

	mu   sync.Mutex // guards held, and the state of each hashing; held for moments only
	held []*hashing // written, but not hashed yet
}

// hash begins to hash bytes that are about to be written. It returns nil if their file gets no digest.
func (all *hashings) hash(f *file, off int64, b []byte, kind int, release func()) *hashing {
	if !f.getsDigest() || len(b) == 0 {
		return nil
	}
	h := &hashing{file: f, off: off, bytes: b, kind: kind, release: release, gone: make(chan struct{})}
	f.pending.Add(1)
	all.running.Add(1)
	go all.run(h)
	return h
}

// hash begins to hash a chunk of the operation, or a block. Of an encrypted file, what is hashed is what the chunk is encrypted into.
func (op operation) hash(d *disk, c *chunk) *hashing {
	switch release := func() { d.release(c) }; {
	case op.file.sealing != nil:
		return nil
	case c.loan != nil:
		return d.hashings.hash(op.file, c.off, c.buf[:c.fill], inBlock, release)
	default:
		return d.hashings.hash(op.file, c.off, c.buf[:op.to], inChunk, release)
	}
}

// hashSealed begins to hash encrypted bytes in a buffer.
func (all *hashings) hashSealed(f *file, off int64, b []byte, buf *sealBuffer) *hashing {
	return all.hash(f, off, b, inSealed, func() { sealBuffers.Put(buf) })
}

// leave releases a chunk or block that the disk does not need any more, when it is hashed.
func (h *hashing) leave(d *disk, c *chunk) {
	if h == nil {
		d.release(c)
		return
	}
	d.hashings.written(h)
}

// run hashes when there is a processor for it. It ends with the hashing.
func (all *hashings) run(h *hashing) {
	defer h.file.pending.Done()
	defer all.running.Done()
	slots := h.file.digest.slots
	select {
	case slots <- struct{}{}:
	case <-h.gone:
		return
	}
	defer func() { <-slots }()
	if !all.begin(h) {
		return
	}
	s := seal.NewSpan(h.off)
	for rest := h.bytes; len(rest) > 0 && h.file.getsDigest(); {
		hashes()
		n := min(hashedAtOnce, len(rest))
		_, _ = s.Write(rest[:n])
		rest = rest[n:]
		runtime.Gosched()
	}
	all.end(h)
	if h.file.getsDigest() {
		h.file.digest.add(s)
	}
}

// begin reports whether the hash is still wanted. From then on the memory is in use.
func (all *hashings) begin(h *hashing) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	if !h.over && h.file.getsDigest() {
		h.begun = true
		return true
	}
	all.finish(h)
	return false
}

func (all *hashings) end(h *hashing) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.finish(h)
}

// finish releases the memory, unless it is not written yet, or released already. The caller holds mu.
func (all *hashings) finish(h *hashing) {
	h.over = true
	if i := slices.Index(all.held, h); i >= 0 {
		all.held = slices.Delete(all.held, i, i+1)
		all.some.Add(-1)
		h.release()
	}
}

// written says that the disk does not need the memory any more.
func (all *hashings) written(h *hashing) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if h.over {
		h.release()
		return
	}
	h.since = time.Now()
	all.held = append(all.held, h)
	all.some.Add(1)
	n := 0
	for _, one := range all.held {
		if one.kind == h.kind {
			n++
		}
	}
	if n > all.most[h.kind] && !h.begun {
		h.file.digest.lost.Store(true)
	}
	all.sweep()
}

// giveUp gives up the digests of files of which memory is held for too long.
func (all *hashings) giveUp() {
	if all.some.Load() == 0 {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	now := time.Now()
	for _, h := range all.held {
		if now.Sub(h.since) >= heldFor {
			h.file.digest.lost.Store(true)
		}
	}
	all.sweep()
}

// sweep releases what is held for hashes that are not wanted any more. One that is being made notices by itself, soon. The caller
// holds mu.
func (all *hashings) sweep() {
	for _, h := range slices.Clone(all.held) {
		if !h.begun && !h.file.getsDigest() {
			all.finish(h)
			close(h.gone)
		}
	}
}

// lateForDigests gives up the current file's digest if frames come out of the ring later than they should: then the recorder
// needs the processor, or what is held.
func (w *Writer) lateForDigests() {
	if w.file != nil && w.file.digest != nil && w.schedule.lag > w.schedule.grace {
		w.file.digest.lost.Store(true)
	}
	w.disk.hashings.giveUp()
}

// awaitChunk waits until a chunk is free, and returns false if the Writer is aborted meanwhile.
func (w *Writer) awaitChunk() bool {
	for {
		select {
		case <-w.disk.pool.free:
			return true
		case <-w.abort:
			return false
		case <-time.After(heldFor):
			w.disk.hashings.giveUp()
		}
	}
}
