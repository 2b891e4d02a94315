package fake

import (
	"time"

	"capd/capture/device"
	"capd/pcap"
)

// Sizes of a frame in a block, as in a Linux ring.
const (
	blockHeader  = 48
	recordHeader = 86
	recordAlign  = 8
)

// States of a block.
type state uint8

const (
	empty   state = iota
	filling       // frames are added
	filled        // ready to be read
	held          // lent as a batch
)

// A ring is filled and read block by block, in order. The system's lock guards it.
type ring struct {
	port   *port
	size   int // of a block in bytes
	blocks []block
	in     int    // index of the block that is filled now or next
	out    int    // index of the next block to read
	number uint64 // of the block opened last
	frozen bool
	timer  *time.Timer // hands over the block that is being filled
}

// A block holds packets. Its loan lends it.
type block struct {
	ring    *ring
	loan    *loan
	state   state
	number  uint64 // since it was opened last
	used    int    // bytes in use
	lost    int    // malformed frames at its end
	gap     bool   // it is missing: see find
	packets []pcap.Packet
}

// A loan lends a block to the process that has the descriptor.
type loan struct {
	*descriptor
	block *block
	batch *device.Batch

	// The fields below belong to the holder of the block.
	packets []pcap.Packet
	number  uint64
	lost    int
	read    int // number of packets read
	reason  string
}

// newLoan makes the descriptor the one that the block is lent to.
func newLoan(d *descriptor, b *block) {
	b.loan = &loan{descriptor: d, block: b}
	b.loan.batch = device.NewBatch(b.loan)
}

// room reports whether there is room for a frame.
func (r *ring) room(size int) bool {
	switch b := &r.blocks[r.in]; b.state {
	case empty:
		return true
	case filling:
		return b.used+record(size) <= r.size || r.blocks[(r.in+1)%len(r.blocks)].state == empty
	}
	return false
}

func record(size int) int { return (recordHeader + size + recordAlign - 1) &^ (recordAlign - 1) }

// add puts the packet into the ring. It reports whether there was room.
func (r *ring) add(p pcap.Packet) bool {
	need := record(len(p.Data))
	if b := &r.blocks[r.in]; b.state == filling && b.used+need > r.size {
		r.handOver()
	}
	b := r.open()
	if b == nil {
		return false
	}
	b.packets = append(b.packets, p)
	b.used += need
	if r.port.config.NoRing {
		r.port.wake()
	}
	return true
}

// spoil ends the block being filled with n malformed frames. It reports whether there was room.
func (r *ring) spoil(n int) bool {
	b := r.open()
	if b == nil {
		return false
	}
	b.lost = n
	r.handOver()
	return true
}

// open returns the block to add frames to, or nil if the ring is full.
func (r *ring) open() *block {
	b := &r.blocks[r.in]
	switch b.state {
	case filling:
		return b
	case empty:
		r.frozen = false
		b.state, b.used = filling, blockHeader
		r.number++
		b.number = r.number
		if number := b.number; !r.port.config.NoRing {
			r.timer = time.AfterFunc(time.Duration(r.port.config.BlockTimeout)*time.Millisecond, func() { r.expire(b, number) })
		}
		return b
	}
	return nil
}

// expire hands over a block that was not full in time.
func (r *ring) expire(b *block, number uint64) {
	r.port.sys.mu.Lock()
	defer r.port.sys.mu.Unlock()
	if b.state == filling && b.number == number {
		r.handOver()
	}
}

// handOver ends the block being filled. If the next block is not empty, the ring freezes.
func (r *ring) handOver() {
	r.stopTimer()
	r.blocks[r.in].state = filled
	r.in = (r.in + 1) % len(r.blocks)
	if r.blocks[r.in].state != empty && !r.frozen {
		r.frozen = true
		r.port.count.freezes++
	}
	r.port.wake()
}

func (r *ring) stopTimer() {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}

// next lends the next filled block, or nil if there is none. If now is set, it also lends a block
// that is being filled.
func (r *ring) next(now bool) *block {
	b := &r.blocks[r.out]
	for b.gap {
		b.gap = false
		r.out = (r.out + 1) % len(r.blocks)
		b = &r.blocks[r.out]
	}
	if now && b.state == filling {
		r.handOver()
	}
	if b.state != filled {
		return nil
	}
	b.state = held
	l := b.loan
	l.packets, l.number, l.lost, l.read, l.reason = b.packets, b.number, b.lost, 0, ""
	r.out = (r.out + 1) % len(r.blocks)
	return b
}

// drained reports whether no block is left to read.
func (r *ring) drained() bool {
	s := r.blocks[r.out].state
	return s == empty || s == held
}

// Read returns the next packets of the block.
func (l *loan) Read(dst []pcap.Packet) int {
	n := copy(dst, l.packets[l.read:])
	l.read += n
	if n < len(dst) && l.lost > 0 && l.reason == "" {
		l.sys.mu.Lock()
		defer l.sys.mu.Unlock()
		l.corrupt += uint64(l.lost)
		l.reason = "made so by a test"
	}
	return n
}

// Block returns the number of the block.
func (l *loan) Block() uint64 {
	if l.config.NoRing {
		return 0
	}
	return l.number
}

// Len returns the number of frames in the block.
func (l *loan) Len() int { return len(l.packets) + l.lost }

// Err returns why the rest of the block is malformed, or nil.
func (l *loan) Err() error {
	if l.reason == "" {
		return nil
	}
	return &device.CorruptError{Offset: l.block.used, Reason: l.reason}
}

// Release returns the block and overwrites its packets, so that a test notices if they are used
// afterwards, as when the kernel fills the block again.
func (l *loan) Release() {
	for _, p := range l.packets {
		for i := range p.Data {
			p.Data[i] ^= 0xff
		}
	}
	l.sys.mu.Lock()
	defer l.sys.mu.Unlock()
	l.packets, l.read, l.reason, l.lost = nil, 0, "", 0
	if !l.dead && l.block.loan == l {
		l.block.free()
	}
}

// free gives the block to the kernel.
func (b *block) free() {
	b.packets, b.lost, b.state = nil, 0, empty
	b.ring.port.wake()
}
