package device

import (
	"fmt"
	"sync/atomic"

	"capd/pcap"
)

// A Batch holds frames borrowed from the kernel: a block of its ring, or what
// a socket had, or a read buffer's worth. Nothing that Read returned may be
// used after Release.
//
// Several batches of a handle may be held at once. They may be released in any
// order and from any goroutine, but each is used by one goroutine at a time.
type Batch struct {
	contents Contents
	handle   *Handle // that lends it
	held     atomic.Bool
}

// Contents are what a backend lends by a Batch.
type Contents interface {
	// Read is Batch.Read. It returns 0 after Release.
	Read(dst []pcap.Packet) int

	// Err is Batch.Err.
	Err() error

	// Release takes the memory back. It is called once for each time that
	// Reader.Next returned the batch, from any goroutine.
	Release()
}

// NewBatch returns a batch for a backend to hand out, time and again: never
// while it is held.
func NewBatch(c Contents) *Batch { return &Batch{contents: c} }

// Read fills dst with the next packets and returns how many; 0 when the batch
// has no more. Their Data points into the kernel's memory. As Read is a
// call through an interface, dst escapes to the heap: use one for many batches.
func (b *Batch) Read(dst []pcap.Packet) int { return b.contents.Read(dst) }

// Err returns a CorruptError if Read returned 0 because the rest of the batch
// makes no sense. The frames lost by that are counted (Stats.Corrupt), and the
// next batch may well be sound.
func (b *Batch) Err() error { return b.contents.Err() }

// Release gives the frames back to the kernel. The batch is the handle's from
// then on: a later Next may return it with other frames. Until that, releasing
// again does nothing.
func (b *Batch) Release() {
	if !b.held.CompareAndSwap(true, false) {
		return
	}
	h := b.handle // before Next may hand the batch out anew
	b.contents.Release()
	h.leave()
}

// lend marks the batch as held.
func (b *Batch) lend(h *Handle) {
	b.handle = h
	b.held.Store(true)
}

// A CorruptError says where the kernel's memory makes no sense.
type CorruptError struct {
	Offset int // bytes from the start of the block or read buffer, or of a socket's control data
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt at byte %d: %s", e.Offset, e.Reason)
}
