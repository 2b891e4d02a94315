package capture

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A ring is the memory that the kernel fills, block after block. Of a block
// only its status is shared; the rest is its owner's.
type ring struct {
	mem    []byte
	size   int // of a block
	blocks int
	cur    int // the next block to read, or the one held
}

func mapRing(fd, blocks, size int) (*ring, error) {
	mem, err := unix.Mmap(fd, 0, blocks*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	r := &ring{mem: mem, size: size, blocks: blocks}
	r.seek()
	return r, nil
}

func (r *ring) unmap() error { return unix.Munmap(r.mem) }

func (r *ring) block(i int) []byte {
	return r.mem[i*r.size : (i+1)*r.size : (i+1)*r.size]
}

// status is the block's owner. Loading it before and storing it after the
// block's other bytes orders them with the kernel's.
func (r *ring) status(i int) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.block(i)[blockStatus]))
}

func (r *ring) ours(i int) bool { return atomic.LoadUint32(r.status(i))&ownerUser != 0 }

// next returns the next block, or nil if the kernel has it still.
func (r *ring) next() []byte {
	if !r.ours(r.cur) {
		return nil
	}
	return r.block(r.cur)
}

// release gives the block back that next returned.
func (r *ring) release() {
	atomic.StoreUint32(r.status(r.cur), 0) // TP_STATUS_KERNEL
	r.cur = (r.cur + 1) % r.blocks
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
