package pcap

import (
	"encoding/binary"
	"math"
	"time"
)

// A Placed is a packet in memory that is framed in place. It has no pointers, so that it can lie in memory
// that outlives the process.
type Placed struct {
	At        uint32 // offset of the packet's first byte in the memory
	Captured  uint32 // bytes
	Length    uint32 // bytes on the wire
	Sec, Nsec uint32 // since 1970
	Flags     Flags
}

// Memory in which packets lie becomes a part of a file without a copy of them: a statistics block, which fills the
// room before the first packet, and an enhanced packet block around each packet. What lies between two
// packets becomes filler: an option of the block before, which is not copied to other files.
//
// https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html, sections 3.5 and 4.3
const (
	epbHead      = 28   // bytes of an enhanced packet block before the packet
	isbEmpty     = 24   // an interface statistics block without options
	fillerOption = 8    // a custom option without data
	mostFiller   = 1024 // bytes of a custom option: hcxpcapngtool takes no longer ones
	// enterprise is the number for examples (RFC 5612): nobody else gives the option a meaning.
	enterprise = 32473
)

// PlaceAlign is the size in bytes to which a part that is framed in place is filled up.
const PlaceAlign = 4096

// FitInPlace reports whether the packets, which lie in mem in this order, can be framed there as a part of a
// file, and how many bytes of mem that part has: a multiple of PlaceAlign. It changes nothing.
func (e *Encoder) FitInPlace(mem []byte, pkts []Placed) (size int, ok bool) {
	if e.format != PCAPNG || e.mixed != nil || len(pkts) == 0 {
		return 0, false
	}
	if !fillable(int64(pkts[0].At)-epbHead, isbEmpty) {
		return 0, false
	}
	for i := range pkts {
		p := &pkts[i]
		end := int64(p.At) + int64(p.Captured)
		if p.At%4 != 0 || p.Captured == 0 || int(p.Captured) > e.snaplen || end > int64(len(mem)) {
			return 0, false
		}
		least := p.rest()
		if i+1 < len(pkts) {
			if !fillable(int64(pkts[i+1].At)-epbHead-int64(p.tail()), int64(least)) {
				return 0, false
			}
			continue
		}
		size = (p.tail() + least + PlaceAlign - 1) &^ (PlaceAlign - 1)
	}
	return size, size <= len(mem)
}

// fillable reports whether the rest of a block that needs least bytes can be made to have that many.
func fillable(bytes, least int64) bool { return bytes >= least && bytes <= math.MaxUint16 }

// tail returns the offset of what follows the packet and its padding.
func (p *Placed) tail() int { return int(p.At) + pad4(int(p.Captured)) }

// rest returns how many bytes at least follow the packet and its padding in its block.
func (p *Placed) rest() int {
	if p.Flags != 0 {
		return epbFlagsSize + 4
	}
	return 4
}

// FrameInPlace frames packets for which FitInPlace has returned size. It may be done again with the same
// packets, also after it was interrupted.
func (e *Encoder) FrameInPlace(mem []byte, pkts []Placed, size int) {
	le := binary.LittleEndian
	first := int(pkts[0].At) - epbHead
	head := mem[:first]
	le.PutUint32(head[0:], blockISB)
	le.PutUint32(head[4:], uint32(first))
	le.PutUint32(head[8:], 0) // interface
	putTime(head[12:], &pkts[0])
	putRest(head[20:], 0, uint32(first))
	for i := range pkts {
		p := &pkts[i]
		next := size
		if i+1 < len(pkts) {
			next = int(pkts[i+1].At) - epbHead
		}
		start := int(p.At) - epbHead
		b := mem[start:next:next]
		le.PutUint32(b[0:], blockEPB)
		le.PutUint32(b[4:], uint32(len(b)))
		le.PutUint32(b[8:], 0) // interface
		putTime(b[12:], p)
		le.PutUint32(b[20:], p.Captured)
		le.PutUint32(b[24:], max(p.Length, p.Captured))
		end := epbHead + int(p.Captured)
		tail := epbHead + pad4(int(p.Captured))
		for ; end < tail; end++ {
			b[end] = 0
		}
		putRest(b[tail:], p.Flags, uint32(len(b)))
	}
}

func putTime(b []byte, p *Placed) {
	ns := uint64(p.Sec)*uint64(time.Second) + uint64(p.Nsec)
	binary.LittleEndian.PutUint32(b[0:], uint32(ns>>32))
	binary.LittleEndian.PutUint32(b[4:], uint32(ns))
}

// putRest fills the rest of a block: the packet's flags if there are any, filler, and the block's length.
func putRest(b []byte, flags Flags, size uint32) {
	le := binary.LittleEndian
	n := len(b) - 4
	le.PutUint32(b[n:], size)
	b = b[:n]
	if flags != 0 {
		le.PutUint32(b[0:], epbFlags|4<<16)
		le.PutUint32(b[4:], uint32(flags))
		b = b[8:]
	}
	if len(b) != 0 && len(b) != fillerOption { // an option that ends with the block needs no other end
		le.PutUint32(b[len(b)-4:], optEnd)
		b = b[:len(b)-4]
	}
	for len(b) > 0 {
		n := len(b)
		if n > mostFiller {
			n = mostFiller - fillerOption // so that the rest is an option too
		}
		le.PutUint32(b[0:], optCustomNotCopied|uint32(n-4)<<16)
		le.PutUint32(b[4:], enterprise)
		clear(b[fillerOption:n])
		b = b[n:]
	}
}

// AppendFiller appends a statistics block without statistics, so that what is written to a file ends at a multiple of
// PlaceAlign. The bytes before it end at offset off of the file, and p is the packet before it.
func (e *Encoder) AppendFiller(b []byte, off int64, at time.Time) []byte {
	n := int(-off & (PlaceAlign - 1))
	switch {
	case n == 0:
		return b
	case n < isbEmpty:
		n += PlaceAlign
	}
	start := len(b)
	b = openBlock(b, blockISB)
	b = binary.LittleEndian.AppendUint32(b, 0) // interface
	b = appendTime(b, at)
	b = append(b, make([]byte, n-(len(b)-start))...)
	binary.LittleEndian.PutUint32(b[start+4:], uint32(n))
	putRest(b[start+20:], 0, uint32(n))
	return b
}
