package capture

import (
	"fmt"
	"sync/atomic"

	"capd/pcap"
)

// A Batch holds frames borrowed from the kernel: a block of its ring, or what
// a socket had, or a read buffer's worth. Nothing that Read returned may be
// used after Release.
type Batch struct {
	block   block         // frames still in the ring
	frames  []pcap.Packet // or frames received one by one
	records records       // or frames in a read buffer of a BPF device
	corrupt *atomic.Uint64
	release func() // gives the memory back; set once, called once a batch
	held    bool
}

// Read fills dst with the next packets and returns how many; 0 when the batch
// has no more. Their Data points into the kernel's memory.
func (b *Batch) Read(dst []pcap.Packet) int {
	if len(b.frames) > 0 {
		n := copy(dst, b.frames)
		b.frames = b.frames[n:]
		return n
	}
	n, lost := 0, &b.block.lost
	if b.records.mem != nil {
		n, lost = b.records.read(dst), &b.records.lost
	} else {
		n = b.block.read(dst)
	}
	if *lost > 0 {
		b.corrupt.Add(uint64(*lost))
		*lost = 0
	}
	return n
}

// header returns the bytes of the next frame's header; 0 if it is not to be had.
func (b *Batch) header() int {
	var rest []byte
	at := frameMAC
	if b.records.mem != nil {
		rest, at = b.records.mem[b.records.off:], b.records.hdrlen()
	} else if b.block.left > 0 {
		rest = b.block.mem[min(b.block.off, len(b.block.mem)):]
	}
	if len(rest) < at+2 {
		return 0
	}
	return int(host.Uint16(rest[at:]))
}

// Err returns a CorruptError if Read returned 0 because the rest of the batch
// makes no sense. The frames lost by that are counted (Stats.Corrupt), and the
// next batch may well be sound.
func (b *Batch) Err() error {
	switch {
	case b.block.reason != "":
		return &CorruptError{Offset: b.block.off, Reason: b.block.reason}
	case b.records.reason != "":
		return &CorruptError{Offset: b.records.off, Reason: b.records.reason}
	}
	return nil
}

// Release gives the frames back to the kernel. Releasing again does nothing.
func (b *Batch) Release() {
	if !b.held {
		return
	}
	b.held = false
	b.block, b.frames, b.records = block{}, nil, records{}
	b.release()
}

// A CorruptError says where the kernel's memory makes no sense.
type CorruptError struct {
	Offset int // bytes from the start of the block or read buffer, or of a socket's control data
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt at byte %d: %s", e.Offset, e.Reason)
}
