package afpacket

import (
	"slices"
	"sync/atomic"
	"unsafe"

	"capd/capture/device"
	"capd/pcap"
)

// A ring is memory that the kernel fills block by block, and that is lent to readers block by
// block. Only the status of a block is shared; the rest of the block belongs to its owner.
type ring struct {
	mem    []byte
	size   int // bytes of a block
	blocks int
	last   uint64 // number of the block lent last
	cur    int    // the next block to lend
	slots  []slot
	lent   atomic.Int64 // slots that are held

	missing uint64 // blocks after the first one to lend that are not in the ring
}

// A slot lends one block.
type slot struct {
	block
	ring  *ring
	index int
	batch *device.Batch
	held  atomic.Bool
	gap   bool // the block is missing: see find
	again bool // lent by again

	id     uint64 // number of the block that is lent
	frames int    // in it

	corrupt  *atomic.Uint64
	released func() // called after each Release
}

// newRing returns a ring on mem, whose length is a multiple of size. It starts after the block of
// the number last. It counts the frames of malformed blocks in corrupt.
//
// The kernel numbers blocks from 1 on and fills them in order, so that block n is always at the
// same place.
func newRing(mem []byte, size int, last uint64, f form, corrupt *atomic.Uint64, released func()) *ring {
	r := &ring{mem: mem, size: size, blocks: len(mem) / size, last: last}
	r.slots = make([]slot, r.blocks)
	for i := range r.slots {
		s := &r.slots[i]
		s.form, s.ring, s.index, s.corrupt, s.released = f, r, i, corrupt, released
		s.batch = device.NewBatch(s)
	}
	r.missing = r.find()
	return r
}

// place returns the place of the block with the number n.
func (r *ring) place(n uint64) int { return int((n - 1) % uint64(r.blocks)) }

func (r *ring) block(i int) []byte {
	return r.mem[i*r.size : (i+1)*r.size : (i+1)*r.size]
}

// status is the word that holds the block's owner. It is loaded before and stored after accesses to
// the block, which orders them with those of the kernel.
func (r *ring) status(i int) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.block(i)[blockStatus]))
}

func (r *ring) ours(i int) bool { return atomic.LoadUint32(r.status(i))&ownerUser != 0 }

// next lends the next block. It returns nil if the kernel still owns it, or if it is held.
func (r *ring) next() *slot {
	s := &r.slots[r.cur]
	if s.held.Load() || !r.ours(r.cur) {
		return nil
	}
	s.block = newBlock(r.block(r.cur), s.form)
	s.id, s.frames, s.again = r.seq(r.cur), int(s.count()), false
	if s.origins != nil {
		s.from.turn = s.origins.turn.Add(1)
	}
	s.hold()
	r.last = s.id
	r.cur = (r.cur + 1) % r.blocks
	r.skip()
	return s
}

func (s *slot) hold() {
	s.held.Store(true)
	s.ring.lent.Add(1)
}

// again lends a block that was lent before, perhaps by another process, and was not given back; nil if it is
// not there.
func (r *ring) again(n uint64) *slot {
	i := r.place(n)
	s := &r.slots[i]
	if n == 0 || n > r.last || s.held.Load() || !r.ours(i) || r.seq(i) != n {
		return nil
	}
	s.block = block{form: s.form, mem: r.block(i)} // nobody reads its frames, which may be changed
	s.id, s.frames, s.again = n, 0, true
	s.hold()
	return s
}

// mostLent is the part of a ring, as a divisor, up to which it may be held while blocks are offered for the disk: the kernel needs the others.
const mostLent = 4

// Memory returns the block from its first page on that may be changed.
func (s *slot) Memory() []byte {
	h := s.mem
	if s.link != pcap.LinkTypeEthernet || len(h) <= lead || host.Uint32(h[blockFirst:]) != blockLen+private {
		return nil
	}
	if s.again {
		return h[lead:]
	}
	fill := host.Uint32(h[blockFill:])
	if s.timedOut() || s.left == 0 || uint64(fill) < lead+largeFrame*s.count() || s.ring.lent.Load() > int64(s.ring.blocks/mostLent) {
		return nil
	}
	s.sparse = true
	return h[lead:]
}

// More reports whether the next block of the ring can be lent.
func (s *slot) More() bool {
	r := s.ring
	return !r.slots[r.cur].held.Load() && r.ours(r.cur)
}

// timedOut reports whether the timer closed the block before it was full.
func (s *slot) timedOut() bool { return atomic.LoadUint32(s.ring.status(s.index))&timedOut != 0 }

// full reports whether the next block is held. Blocks are lent in order, so all blocks are held
// then.
func (r *ring) full() bool { return r.slots[r.cur].held.Load() }

// Read returns the next packets of the block.
func (s *slot) Read(dst []pcap.Packet) int {
	n := s.read(dst)
	if s.lost > 0 {
		s.corrupt.Add(uint64(s.lost))
		s.lost = 0
	}
	return n
}

// Block returns the kernel's number of the block.
func (s *slot) Block() uint64 { return s.id }

// Len returns the number of frames in the block.
func (s *slot) Len() int { return s.frames }

// Err returns why the rest of the block could not be read, or nil.
func (s *slot) Err() error {
	if s.reason == "" {
		return nil
	}
	return &device.CorruptError{Offset: s.off, Reason: s.reason}
}

// Release returns the block to the kernel. Only after that the slot is not held any more: otherwise
// the same content could be lent again.
func (s *slot) Release() {
	s.block = block{form: s.form}
	atomic.StoreUint32(s.ring.status(s.index), 0) // TP_STATUS_KERNEL
	s.held.Store(false)
	s.ring.lent.Add(-1)
	s.released()
}

func (r *ring) seq(i int) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&r.block(i)[blockSeq])))
}

// find finds the block to start with, and the blocks before the newest one that are missing,
// because somebody gave them back to the kernel. It returns how many these are. The newest block may
// be the one that the kernel fills now, and is never taken for missing.
func (r *ring) find() (missing uint64) {
	newest := max(r.newest(), r.last)
	first := r.last + 1
	if n := uint64(r.blocks); newest-r.last > n {
		first = newest - n + 1
		missing = first - 1 - r.last
	}
	r.cur = r.place(first)
	for n := first; n < newest; n++ {
		if i := r.place(n); !r.ours(i) || r.seq(i) != n {
			r.slots[i].gap = true
			missing++
		}
	}
	r.skip()
	return missing
}

// skip moves on to a block that is not missing.
func (r *ring) skip() {
	for r.slots[r.cur].gap {
		r.slots[r.cur].gap = false
		r.cur = (r.cur + 1) % r.blocks
	}
}

// newest returns the number of the block that the kernel fills now, or filled last.
func (r *ring) newest() uint64 {
	var n uint64
	for i := range r.blocks {
		n = max(n, r.seq(i))
	}
	return n
}

// ordered reports whether each block is where its number belongs.
func (r *ring) ordered() bool {
	for i := range r.blocks {
		if n := r.seq(i); n != 0 && r.place(n) != i {
			return false
		}
	}
	return true
}

// hardware returns the hardware type of the interface, as any frame in the ring has it, read or not.
func (r *ring) hardware() (kind uint16, ok bool) {
	for i := range r.blocks {
		b := newBlock(r.block(i), form{})
		if kind, ok := b.hardware(); ok {
			return kind, true
		}
	}
	return 0, false
}

// giveBack gives all blocks up to the number n to the kernel, but those that are lent.
func (r *ring) giveBack(n uint64, lent ...uint64) {
	for i := range r.blocks {
		if r.ours(i) && r.seq(i) <= n && !slices.Contains(lent, r.seq(i)) {
			atomic.StoreUint32(r.status(i), 0)
		}
	}
}

// filled counts the blocks in user space.
func (r *ring) filled() int {
	n := 0
	for i := range r.blocks {
		if r.ours(i) {
			n++
		}
	}
	return n
}
