package flow

import (
	"bytes"
	"encoding/binary"
	"math"

	"capd/pcap"
)

// MaxHeaders is how many bytes of a frame count: headers beyond it are taken for cut off. All that conditions ask of a row lies
// within, or the row is marked as Short; so a frame needs no more memory than this until its flows are found.
const MaxHeaders = 256

// Headers are the begins of the packets of a part of a file, which is all that a Builder needs of them. To fill them from records
// that a processor has in its caches costs little; to read the records again later is mostly to wait for memory.
//
// An entry has 24 bytes, little endian, and the begin of the packet, filled up to 8 bytes: 4 bytes offset of the record from that of
// the first one, 2 bytes interface, 2 bytes length of the begin, 8 bytes time in nanoseconds, 4 bytes captured length, 4 bytes
// length on the wire. An entry of the interface noPacket has a block of PCAPNG that later packets need.
type Headers struct {
	buf  []byte
	used int
	base int64
}

const (
	entrySize = 24
	noPacket  = math.MaxUint16
	mostEntry = entrySize + MaxHeaders
)

// NewHeaders returns room for headers.
func NewHeaders(size int) *Headers { return &Headers{buf: make([]byte, max(size, mostEntry))} }

// Size returns how many bytes of memory they take.
func (h *Headers) Size() int { return len(h.buf) }

// Grow gives them a size, and keeps what is in them.
func (h *Headers) Grow(size int) {
	buf := make([]byte, max(size, len(h.buf)))
	copy(buf, h.buf[:h.used])
	h.buf = buf
}

// Empty reports whether there are none.
func (h *Headers) Empty() bool { return h.used == 0 }

// Reset empties them.
func (h *Headers) Reset() { h.used = 0 }

// A Shape says what the records of a file look like, which an Encoder has made.
type Shape struct {
	Format   pcap.Format
	Micro    bool // of PCAP: times in microseconds
	Ethernet bool // all frames are of Ethernet
}

// Take adds whole records, the first of which begins at an offset of the file, as long as there is room. It returns how many
// bytes of the records it has taken.
func (h *Headers) Take(s Shape, offset int64, records []byte) (n int) {
	if h.used == 0 {
		h.base = offset
	}
	if offset-h.base > math.MaxUint32-int64(len(records)) {
		return 0
	}
	at := uint32(offset - h.base)
	if s.Format == pcap.PCAPNG {
		return h.takeBlocks(s.Ethernet, at, records)
	}
	return h.takeRecords(s, at, records)
}

// takeBlocks takes blocks of PCAPNG.
func (h *Headers) takeBlocks(ethernet bool, at uint32, b []byte) (n int) {
	const (
		head      = 28
		blockISB  = 5
		blockEPB  = 6
		blockTail = 4
	)
	le := binary.LittleEndian
	for len(b)-n >= 12 {
		block := b[n:]
		kind, size := le.Uint32(block), int(le.Uint32(block[4:]))
		if size < 12 || size > len(block) {
			return n // nothing that an Encoder makes
		}
		if kind != blockEPB || size < head+blockTail {
			if kind != blockISB && !h.takeBlock(at+uint32(n), block[:size]) {
				return n
			}
			n += size
			continue
		}
		if len(h.buf)-h.used < mostEntry {
			return n
		}
		e := h.buf[h.used:]
		captured := le.Uint32(block[20:])
		le.PutUint64(e[8:], uint64(le.Uint32(block[12:]))<<32|uint64(le.Uint32(block[16:])))
		le.PutUint64(e[16:], le.Uint64(block[20:]))
		h.used += put(e, at+uint32(n), le.Uint32(block[8:]), block[head:head+captured:size], ethernet)
		n += size
	}
	return n
}

// takeRecords takes records of PCAP.
func (h *Headers) takeRecords(s Shape, at uint32, b []byte) (n int) {
	const head = 16
	le := binary.LittleEndian
	unit := uint64(1)
	if s.Micro {
		unit = 1000
	}
	for len(b)-n >= head && len(h.buf)-h.used >= mostEntry {
		record := b[n:]
		e := h.buf[h.used:]
		size := head + int(le.Uint32(record[8:]))
		le.PutUint64(e[8:], uint64(le.Uint32(record))*1e9+uint64(le.Uint32(record[4:]))*unit)
		le.PutUint64(e[16:], le.Uint64(record[8:]))
		h.used += put(e, at+uint32(n), 0, record[head:size], s.Ethernet)
		n += size
	}
	return n
}

// put fills the rest of an entry, and returns its size.
func put(e []byte, at, iface uint32, data []byte, ethernet bool) int {
	le := binary.LittleEndian
	const most = minFrame // of most frames no more is needed, and a copy of a size that is known is no call
	kept := len(data)
	switch {
	case ethernet && kept >= most && plainIPv4(data):
		kept = most
		*(*[most]byte)(e[entrySize:]) = *(*[most]byte)(data)
	default:
		if kept = min(kept, MaxHeaders); ethernet && kept > mostPlain {
			kept = min(kept, plainSize(data))
		}
		copy(e[entrySize:entrySize+kept], data[:kept])
	}
	le.PutUint64(e, uint64(at)|uint64(iface)<<32|uint64(kept)<<48)
	return entrySize + (kept+7)&^7
}

// minFrame is how many bytes of a frame of Ethernet identity.plain needs, if it is one of TCP in IPv4 without VLAN tags.
const minFrame = 14 + minIPv4Header + 14

// mostPlain is the same for any plain frame.
const mostPlain = 14 + 4*MaxVLANs + ipv6HeaderSize + 14

// plainSize returns how many bytes a frame's flows depend on: those that identity.plain needs, if the frame is plain.
func plainSize(b []byte) int {
	at := 12
	t := be16(b[at:])
	for tags := 0; tags < MaxVLANs && (t == etherVLAN || t == etherQinQ || t == etherQinQ1); tags++ {
		at += 4
		t = be16(b[at:])
	}
	ip := b[at+2:]
	proto, rest := uint8(0), minIPv4Header
	switch {
	case t == etherIPv4 && ip[0]&15 == 5 && be16(ip[6:])&0x3fff == 0:
		proto = ip[9]
	case t == etherIPv6:
		proto, rest = ip[6], ipv6HeaderSize
	}
	if proto == protoTCP || proto == protoUDP && !tunnelPort(be16(ip[rest+2:])) {
		return at + 2 + rest + 14
	}
	return MaxHeaders
}

// plainIPv4 reports whether the first minFrame bytes of a frame tell that it is plain, in IPv4 and without VLAN tags.
func plainIPv4(b []byte) bool {
	return be16(b[12:]) == etherIPv4 && b[14]&15 == 5 && be16(b[20:])&0x3fff == 0 &&
		(b[23] == protoTCP || b[23] == protoUDP && !tunnelPort(be16(b[36:])))
}

// takeBlock takes a block that is no packet. Of interfaces beyond those that have a number, nothing can be told apart: none of
// a recorder has so many.
func (h *Headers) takeBlock(at uint32, block []byte) bool {
	size := entrySize + (len(block)+7)&^7
	if len(block) > math.MaxUint16 || len(h.buf)-h.used < max(size, mostEntry) {
		return false
	}
	e := h.buf[h.used:]
	binary.LittleEndian.PutUint64(e, uint64(at)|noPacket<<32|uint64(len(block))<<48)
	copy(e[entrySize:], block)
	h.used += size
	return true
}

// A Described is what a file says of its interfaces, up to the Headers that were added last.
type Described struct {
	name  string // of interfaces that have none in the file
	begin []byte // of the file, without packets
	all   []described
}

type described struct {
	pcap.Interface
	number uint32 // of Builder.Interface
	met    bool   // it has that number
}

// NewDescribed returns the interfaces that a file's header describes. Those without a name have the given one.
func NewDescribed(header []byte, name string) *Described {
	d := &Described{name: name}
	d.add(header)
	return d
}

func (d *Described) add(block []byte) {
	d.begin = append(d.begin, block...)
	src, err := pcap.NewReader(bytes.NewReader(d.begin))
	for err == nil {
		_, _, err = src.NextRecord()
	}
	if src == nil {
		return
	}
	for _, i := range src.Interfaces()[len(d.all):] {
		if i.Name == "" {
			i.Name = d.name
		}
		d.all = append(d.all, described{Interface: i})
	}
}

// number returns the number of an interface, in the order in which they have packets.
func (d *Described) number(b *Builder, id int) (n uint32, ok bool) {
	if id >= len(d.all) {
		return 0, false
	}
	i := &d.all[id]
	if !i.met {
		i.number, i.met = b.Interface(i.Name, i.LinkType), true
	}
	return i.number, true
}

// touch reads a byte of each line of a processor's cache in the first bytes, and returns in how many: another processor has written
// them, and this one fetches many at once in the time of one if nothing waits for the one before.
func (w *batch) touch(b []byte) int {
	b = b[:min(len(b), 4096)]
	for i := 0; i < len(b); i += 64 {
		w.fetched ^= uint64(b[i])
	}
	return len(b)
}

// AddTo adds the packets to a Builder, as its Add does. An interface that the file does not describe is an error.
func (h *Headers) AddTo(b *Builder, d *Described) error {
	le := binary.LittleEndian
	last, iface := -1, uint32(0)
	ahead := 0
	for rest := h.buf[:h.used]; len(rest) >= entrySize && b.err == nil; {
		if at := h.used - len(rest); at >= ahead {
			ahead = b.batch.touch(h.buf[at:h.used]) + at
		}
		head := le.Uint64(rest)
		offset, id, kept := h.base+int64(uint32(head)), int(uint16(head>>32)), int(head>>48)
		data := rest[entrySize : entrySize+kept : entrySize+kept]
		if id == noPacket {
			d.add(data)
			b.Describe(offset)
			last, rest = -1, rest[entrySize+(kept+7)&^7:]
			continue
		}
		if id != last {
			var ok bool
			if iface, ok = d.number(b, id); !ok {
				return errUndescribed
			}
			last = id
		}
		captured, length := le.Uint32(rest[16:]), le.Uint32(rest[20:])
		m := moment{at: int64(le.Uint64(rest[8:])), length: uint64(max(length, captured)), region: uint32(offset / RegionSize)}
		m.cut = m.length - uint64(captured)
		b.packet(offset, iface, data, &m)
		rest = rest[entrySize+(kept+7)&^7:]
	}
	return b.err
}
