package afpacket

import (
	"sync/atomic"
	"unsafe"

	"capd/capture/device"
	"capd/pcap"
)

// A ring is the memory that the kernel fills, block after block, and that is
// lent block by block. Of a block only its status is shared; the rest is its
// owner's.
type ring struct {
	mem    []byte
	size   int // of a block
	blocks int
	cur    int // the next block to lend
	slots  []slot
}

// A slot lends a block.
type slot struct {
	block
	ring  *ring
	index int
	batch *device.Batch
	held  atomic.Bool

	corrupt  *atomic.Uint64
	released func() // called after each Release
}

// newRing returns a ring over the memory, which is a multiple of size long. It
// counts the frames of blocks that make no sense in corrupt.
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

// status is the block's owner. Loading it before and storing it after the
// block's other bytes orders them with the kernel's.
func (r *ring) status(i int) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.block(i)[blockStatus]))
}

func (r *ring) ours(i int) bool { return atomic.LoadUint32(r.status(i))&ownerUser != 0 }

// next lends the next block; nil if the kernel has it still, or if it is held.
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

// full says whether the next block is held, and so are all: they are lent in
// the order in which they lie.
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

// Err returns what is wrong with the rest of the block.
func (s *slot) Err() error {
	if s.reason == "" {
		return nil
	}
	return &device.CorruptError{Offset: s.off, Reason: s.reason}
}

// Release gives the block back to the kernel. Only after that it counts as not
// held: else it could be lent again as it is.
func (s *slot) Release() {
	s.block = block{form: s.form}
	atomic.StoreUint32(s.ring.status(s.index), 0) // TP_STATUS_KERNEL
	s.held.Store(false)
	s.released()
}

// seek finds the block to start with: of ours the one with the lowest sequence
// number. If there is none it is the one that the kernel fills now, which has
// the highest; unless it handed over an older one since we looked at that.
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

// oldest moves to the oldest of our blocks, if we have any.
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

// filled counts the blocks that are ours.
func (r *ring) filled() int {
	n := 0
	for i := range r.blocks {
		if r.ours(i) {
			n++
		}
	}
	return n
}
