package afpacket

import (
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
	cur    int // the next block to lend
	slots  []slot
}

// A slot lends one block.
type slot struct {
	block
	ring  *ring
	index int
	batch *device.Batch
	held  atomic.Bool

	corrupt  *atomic.Uint64
	released func() // called after each Release
}

// newRing returns a ring on mem, whose length is a multiple of size. It counts the frames of
// malformed blocks in corrupt.
func newRing(mem []byte, size int, f form, corrupt *atomic.Uint64, released func()) *ring {
	r := &ring{mem: mem, size: size, blocks: len(mem) / size}
	r.slots = make([]slot, r.blocks)
	for i := range r.slots {
		s := &r.slots[i]
		s.form, s.ring, s.index, s.corrupt, s.released = f, r, i, corrupt, released
		s.batch = device.NewBatch(s)
	}
	r.seek()
	return r
}

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
	s.held.Store(true)
	r.cur = (r.cur + 1) % r.blocks
	return s
}

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
	s.released()
}

// seek finds the block to start with: of the blocks in user space, the one with the lowest sequence
// number. If there is none, it is the block that the kernel fills now, which has the highest
// sequence number, unless the kernel has handed over an older block meanwhile.
func (r *ring) seek() {
	if r.oldest() {
		return
	}
	for i := range r.blocks {
		if r.seq(i) > r.seq(r.cur) {
			r.cur = i
		}
	}
	r.oldest()
}

// oldest moves to the oldest block in user space, if there is one.
func (r *ring) oldest() bool {
	found := false
	for i := range r.blocks {
		if r.ours(i) && (!found || r.seq(i) < r.seq(r.cur)) {
			r.cur, found = i, true
		}
	}
	return found
}

func (r *ring) seq(i int) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&r.block(i)[blockSeq])))
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
