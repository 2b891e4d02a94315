package afpacket

import (
	"encoding/binary"
	"math"

	"capd/capture/device"
	"capd/pcap"
)

// Layout of a TPACKET_V3 block, from linux/if_packet.h: struct
// tpacket_block_desc, then for each frame struct tpacket3_hdr, struct
// sockaddr_ll, the reserved headroom and the frame. In host byte order.
const (
	blockStatus = 8  // u32: owner of the block, shared with the kernel
	blockCount  = 12 // u32: num_pkts
	blockFirst  = 16 // u32: offset_to_first_pkt
	blockFill   = 20 // u32: blk_len, bytes in use with the header
	blockSeq    = 24 // u64: seq_num
	blockLen    = 48 // sizeof(struct tpacket_block_desc)

	frameNext    = 0  // u32: offset of the next frame from this one
	frameSec     = 4  // u32
	frameNsec    = 8  // u32
	frameSnaplen = 12 // u32: bytes captured
	frameLength  = 16 // u32: bytes on the wire
	frameStatus  = 20 // u32: TP_STATUS_
	frameMAC     = 24 // u16: offset of the frame's bytes from this header
	frameNet     = 26 // u16: offset of what follows the link layer's header
	frameTCI     = 32 // u32: VLAN tag
	frameTPID    = 36 // u16
	frameSLL     = 48 // struct sockaddr_ll: TPACKET_ALIGN(sizeof(struct tpacket3_hdr))
	frameHeader  = 68 // TPACKET3_HDRLEN
)

// Bits of a block's status.
const (
	ownerUser = 1 << 0 // TP_STATUS_USER: user space owns the block
	timedOut  = 1 << 5 // TP_STATUS_BLK_TMO: the kernel closed it before it was full
)

// With this much of a block for user space (tp_sizeof_priv), and reserved bytes before each frame
// (PACKET_RESERVE), a block of Ethernet frames can be framed where it lies, from lead on: see
// pcap.Encoder.FitInPlace. The header of the first frame is at 4072. Its frame begins 84 bytes later (tpacket_rcv), or
// 80 with the tag that the kernel has removed, so that before the header of its packet in the file there
// are 32 bytes, or 28, from a page's begin on.
const (
	private  = 4024
	reserved = 2
	lead     = 4096
)

// largeFrame is the mean size of frames from which on they are worth more in place than copied: the copy of
// smaller ones costs little, and in place they take more room on the disk.
const largeFrame = 512

// host is the byte order of memory shared with the kernel.
var host = binary.NativeEndian

// A form describes the frames from the kernel and the packets to make of them.
type form struct {
	link    pcap.LinkType
	snaplen int
	origins *origins // nil unless the link type is pcap.LinkTypeMixed
}

// A block reads the frames of a TPACKET_V3 block. It does not trust the block's fields.
type block struct {
	form
	from   from
	mem    []byte
	off    int    // offset of the next frame's header, or of the first malformed one
	near   int    // bytes prefetched; see fetch
	sum    byte   // of the prefetched bytes, so that the compiler does not remove the reads
	sparse bool   // nobody reads the frames: only their headers are fetched
	left   uint32 // frames not yet read
	lost   uint32 // frames that could not be read
	reason string // why they could not be read
}

// newBlock returns a reader of the block in mem.
func newBlock(mem []byte, f form) block {
	b := block{form: f, mem: mem}
	if len(mem) < blockLen {
		b.reason, b.lost = "block is shorter than its header", 1
		return b
	}
	b.left = host.Uint32(mem[blockCount:])
	if uint64(b.left)*frameHeader > uint64(len(mem)-blockLen) {
		b.off, b.left = blockCount, 0
		b.reason, b.lost = "more frames than the block has room for", 1
		return b
	}
	first := host.Uint32(mem[blockFirst:])
	b.off = int(min(first, uint32(len(mem))))
	if b.left > 0 && first < blockLen {
		b.giveUp("first frame lies in the block's header")
	}
	return b
}

// count returns how many frames the block holds or has given up.
func (b *block) count() uint64 { return uint64(b.left) + uint64(b.lost) }

// header returns the distance from the next frame's header to the frame, or 0 if it is unknown.
func (b *block) header() int {
	if b.left == 0 || b.off > len(b.mem)-frameHeader {
		return 0
	}
	mac := int(host.Uint16(b.mem[b.off+frameMAC:]))
	if mac < frameHeader || mac > len(b.mem)-b.off {
		return 0 // frame will say what is wrong
	}
	return mac
}

// hardware returns the hardware type of the first frame's interface, if the block has a frame.
func (b *block) hardware() (kind uint16, ok bool) {
	if b.left == 0 || b.off > len(b.mem)-frameHeader {
		return 0, false
	}
	return host.Uint16(b.mem[b.off+frameSLL+sllHatype:]), true
}

func (b *block) giveUp(reason string) {
	b.reason = reason
	b.lost, b.left = b.left, 0
}

// read fills dst with the next frames and returns how many there were.
func (b *block) read(dst []pcap.Packet) int {
	for n := range dst {
		if b.left == 0 {
			return n
		}
		if b.sparse {
			b.fetchHeader()
		} else if b.near-b.off < window/2 {
			b.fetch()
		}
		if reason := b.frame(&dst[n]); reason != "" {
			b.giveUp(reason)
			return n
		}
	}
	return len(dst)
}

// window is how many bytes from the next frame on fetch reads ahead.
const window = 8 << 10

// line is the size of a cache line, or half of it.
const line = 64

// fetch reads one byte of each cache line in the window. The position of each frame is stored in
// the frame before it, so that walking the frames waits for memory once for each frame. The reads
// of fetch do not depend on each other, so the processor executes many at the same time.
func (b *block) fetch() {
	mem, sum := b.mem, b.sum
	i, end := max(b.near, b.off), min(b.off+window, len(b.mem))
	for ; i < end; i += line {
		sum ^= mem[i]
	}
	b.near, b.sum = i, sum
	if end == len(mem) {
		b.near = math.MaxInt // the whole block was fetched
	}
}

// fetchHeader reads ahead where a header is if the next frames are as large as this one: most large
// frames are.
func (b *block) fetchHeader() {
	const ahead = 8 // frames
	if len(b.mem)-b.off < frameHeader {
		return
	}
	step := host.Uint32(b.mem[b.off+frameNext:])
	if at := uint64(b.off) + ahead*uint64(step); at+line < uint64(len(b.mem)) {
		b.sum ^= b.mem[at] ^ b.mem[at+line]
	}
}

// frame reads the frame at b.off and moves on to the next one. It returns an empty string, or what
// is malformed.
func (b *block) frame(p *pcap.Packet) string {
	if b.off > len(b.mem)-frameHeader {
		return "frame header passes the block's end"
	}
	rest := b.mem[b.off:]
	h := rest[:frameHeader:frameHeader]
	mac, size := int(host.Uint16(h[frameMAC:])), host.Uint32(h[frameSnaplen:])
	p.Sec, p.Nsec = host.Uint32(h[frameSec:]), host.Uint32(h[frameNsec:])
	p.Length = host.Uint32(h[frameLength:])
	switch {
	case mac < frameHeader || mac > len(rest):
		return "frame starts outside of the block"
	case size > uint32(len(rest)-mac):
		return "frame passes the block's end"
	case size > p.Length:
		return "more bytes captured than the frame had"
	case p.Nsec >= 1e9:
		return "nanoseconds over a second"
	}
	step := 0
	if end := mac + int(size); b.left > 1 {
		next := host.Uint32(h[frameNext:])
		if next < uint32(end) || next > uint32(len(rest)) {
			return "next frame lies outside of the block or in this one"
		}
		step = int(next)
	}
	link := b.link
	p.From = nil
	if b.origins != nil {
		p.From = b.from.of(b.origins, h[frameSLL:])
		link = p.From.LinkType
		if device.Cooked(link) != 0 { // the socket delivers the link layer's header too
			skip := int(host.Uint16(h[frameNet:])) - mac
			if skip < 0 || skip > int(p.Length) || mac+skip > len(rest) {
				return "network header outside of the frame"
			}
			p.Length -= uint32(skip)
			skip = min(skip, int(size))
			mac, size = mac+skip, size-uint32(skip)
		}
	}
	start, ok := restore(link, rest, mac, int(size))
	if !ok {
		return "no room before the frame"
	}
	p.Flags = flags(h[frameSLL+sllPktType], host.Uint32(h[frameStatus:]))
	p.Length += uint32(mac - start)
	end := min(mac+int(size), start+b.snaplen)
	p.Data = rest[start:end:end]
	b.off += step
	b.left--
	return ""
}

// restore inserts the header or tag that the kernel keeps separately in front of the frame at mac,
// and returns the new start of the frame. A block may be read again, so a frame whose bytes were
// changed is marked.
func restore(link pcap.LinkType, frame []byte, mac, size int) (start int, ok bool) {
	status := host.Uint32(frame[frameStatus:])
	header := device.Cooked(link)
	if link == device.LinkTypeCAN && status&statusRestored == 0 {
		canOrder(frame[mac:mac+size], frame[frameSLL:frameHeader])
		host.PutUint32(frame[frameStatus:], status|statusRestored)
	}
	if header == 0 && (status&statusVLANValid == 0 || link != pcap.LinkTypeEthernet || size < macsLen) {
		return mac, true
	}
	if room := mac - frameHeader; room < tagLen || header != 0 && room < headroom {
		return mac, false
	}
	t := tag{status, host.Uint16(frame[frameTCI:]), host.Uint16(frame[frameTPID:])}
	if header != 0 {
		return cook(header, frame, mac, frame[frameSLL:frameHeader], t), true
	}
	if status&statusRestored == 0 {
		insertTag(frame, mac, t)
	}
	return mac - tagLen, true
}

// insertTag puts the tag into the frame at mac. The process may be killed at any moment and another one read
// the frame again, so the addresses, which the tag moves, are kept in the room before the frame until it
// is whole.
func insertTag(frame []byte, mac int, t tag) {
	if saved := frame[frameHeader:][:macsLen]; mac-tagLen-frameHeader >= macsLen {
		if t.status&statusSaved == 0 {
			copy(saved, frame[mac:])
			t.status |= statusSaved
			host.PutUint32(frame[frameStatus:], t.status)
		}
		copy(frame[mac:], saved)
	}
	t.insert(frame, mac)
	host.PutUint32(frame[frameStatus:], t.status|statusRestored)
}
