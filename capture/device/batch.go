package device

import (
	"fmt"
	"sync/atomic"

	"capd/pcap"
)

// A Batch holds frames borrowed from the kernel: a block of a ring, the frames that a socket had,
// or a read buffer. Packets that Read returned must not be used after Release.
//
// Several batches of a handle may be held at once. They may be released in any
// order and from any goroutine, but each is used by one goroutine at a time.
type Batch struct {
	contents Contents
	handle   *Handle // the handle that lends it
	held     atomic.Bool
}

// Contents is a backend's implementation of a Batch.
type Contents interface {
	// Read implements Batch.Read. It returns 0 after Release.
	Read(dst []pcap.Packet) int

	// Block implements Batch.Block.
	Block() uint64

	// Len implements Batch.Len.
	Len() int

	// Err implements Batch.Err.
	Err() error

	// Release takes the memory back. It is called once each time that Reader.Next returned the
	// batch, from any goroutine.
	Release()
}

// NewBatch returns a batch that a backend may return from Next repeatedly, but not while it is
// held.
func NewBatch(c Contents) *Batch { return &Batch{contents: c} }

// Read fills dst with the next packets and returns how many there were; 0 at the end of the batch.
// Their Data points into the kernel's memory. dst escapes to the heap because Read calls an
// interface: use the same dst for many batches.
func (b *Batch) Read(dst []pcap.Packet) int { return b.contents.Read(dst) }

// Block returns the kernel's number of the block in the ring, before Release. Blocks are numbered
// from 1 on, without gaps, also across the handles and processes that read them. It is 0 without a
// ring.
func (b *Batch) Block() uint64 { return b.contents.Block() }

// Len returns the number of frames in the batch, before Release, including those that Read finds
// malformed. It is 0 for a BPF device, where it is not known before they are read.
func (b *Batch) Len() int { return b.contents.Len() }

// A lender is what Contents are whose memory can be lent.
type lender interface{ Memory() []byte }

// Memory returns the memory in which the packets lie, from a page's begin on, if it is worth writing it to
// the disk as it is: a full block of large frames. It may be changed until Release, and Data of what Read returns
// next points into it, in ascending order. Otherwise Memory returns nil. It must be called before Read.
func (b *Batch) Memory() []byte {
	if l, ok := b.contents.(lender); ok {
		return l.Memory()
	}
	return nil
}

// More reports whether the next batch is there already, as far as that is known without asking the system.
func (b *Batch) More() bool {
	l, ok := b.contents.(interface{ More() bool })
	return ok && l.More()
}

// Err returns a CorruptError if Read returned 0 because the rest of the batch is malformed. Frames
// lost by that are counted in Stats.Corrupt. The next batch is usually valid.
func (b *Batch) Err() error { return b.contents.Err() }

// Release returns the frames to the kernel. After that, a later Next may return the batch again
// with other frames. Until then, repeated calls have no effect.
func (b *Batch) Release() {
	if !b.held.CompareAndSwap(true, false) {
		return
	}
	h := b.handle // read before Release, after which Next may return the batch again
	b.contents.Release()
	h.leave()
}

// lend marks the batch as held.
func (b *Batch) lend(h *Handle) {
	b.handle = h
	b.held.Store(true)
}

// A CorruptError describes malformed memory from the kernel.
type CorruptError struct {
	Offset int // from the start of the block, read buffer or socket's control data
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt at byte %d: %s", e.Offset, e.Reason)
}
