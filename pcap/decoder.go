package pcap

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"time"
)

// zeroTail is the reason for stopping at what looks like a record of zeros:
// space that was preallocated and never written.
const zeroTail = "zeros"

// A decoder parses a file record by record. It holds what the file has said
// about itself so far, and the record parsed last.
//
// It knows structure only: where a record ends, and so where the next begins. A
// packet of odd values, as a time that can't be, is a packet all the same.
type decoder struct {
	format Format
	byteOrder
	started bool
	ifaces  []Interface // of the section
	skipped bool        // a part of the file was, which may have had more interfaces
	first   []Interface // of the first section, when there is another
	earlier int         // interfaces of earlier sections
	texts   int         // bytes of ifaces' texts

	// Of PCAP.
	head    int // size of a record's header
	lengths lengthOrder

	packet  Packet
	iface   int    // index in ifaces of the packet's interface
	header  header // of the packet, if the format is PCAP
	section sectionKind
}

// A header is what a record of PCAP begins with.
type header struct{ sec, frac, captured, length uint32 }

// A lengthOrder says in which order a record of PCAP has its lengths. Versions
// before 2.3 had the original length first, and those of 2.3 either order.
type lengthOrder uint8

const (
	capturedFirst lengthOrder = iota
	originalFirst
	smallerFirst
)

// A sectionKind says whether the block parsed last began a section.
type sectionKind uint8

const (
	noSection    sectionKind = iota
	openSection              // of a length that the file does not say
	sizedSection             // of a length that the file says
)

// step parses the record at the beginning of b and returns its size. If b is
// shorter than that, it has done nothing and wants to be called again with as
// many bytes. A reason says that the record is damaged; the size is then what
// the record claims, or that of its header if the claim is absurd.
func (d *decoder) step(b []byte) (size int, packet bool, reason string) {
	switch {
	case !d.started:
		size, reason = d.start(b)
		return size, false, reason
	case d.format == PCAP:
		return d.record(b)
	default:
		return d.block(b)
	}
}

// A byteOrder reads numbers in the order of a file.
type byteOrder struct{ big bool }

func (o byteOrder) u16(b []byte) uint16 {
	if o.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (o byteOrder) u32(b []byte) uint32 {
	if o.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (o byteOrder) u64(b []byte) uint64 {
	if o.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// start parses the header of a file.
func (d *decoder) start(b []byte) (size int, reason string) {
	if len(b) < 4 {
		return 4, ""
	}
	magic := binary.LittleEndian.Uint32(b)
	if magic == blockSHB {
		d.format = PCAPNG
		size, _, reason = d.block(b)
		d.started = reason == "" && len(b) >= size
		return size, reason
	}
	d.big = magic != magicMicro && magic != magicNano && magic != magicModified
	iface := Interface{units: 1e6}
	d.head = pcapRecordSize
	switch d.u32(b) {
	case magicNano:
		iface.units = 1e9
	case magicModified:
		d.head += 8 // interface index, protocol, packet type
	case magicMicro:
	case 0:
		return 4, zeroTail
	default:
		return 4, "neither pcap nor pcapng"
	}
	if len(b) < pcapHeaderSize {
		return pcapHeaderSize, ""
	}
	if d.u16(b[4:]) != 2 {
		return pcapHeaderSize, "unknown version of pcap"
	}
	switch minor := d.u16(b[6:]); {
	case minor < 3:
		d.lengths = originalFirst
	case minor == 3:
		d.lengths = smallerFirst
	}
	iface.Snaplen = d.u32(b[16:])
	iface.LinkType = linkType(uint16(d.u32(b[20:]))) // the high half has flags
	d.ifaces = []Interface{iface}
	d.format, d.started = PCAP, true
	return pcapHeaderSize, ""
}

// linkType returns the type of a number in a file. Some systems have written
// their own number for raw IP.
func linkType(n uint16) LinkType {
	if n == 12 || n == 14 {
		return LinkTypeRaw
	}
	return LinkType(n)
}

// parseHeader parses the header of a record of PCAP.
func (d *decoder) parseHeader(b []byte) header {
	h := header{d.u32(b), d.u32(b[4:]), d.u32(b[8:]), d.u32(b[12:])}
	if d.lengths == originalFirst || d.lengths == smallerFirst && h.captured > h.length {
		h.captured, h.length = h.length, h.captured
	}
	return h
}

// record parses a packet of PCAP.
func (d *decoder) record(b []byte) (size int, packet bool, reason string) {
	if len(b) < d.head {
		return d.head, false, ""
	}
	iface := &d.ifaces[0]
	h := d.parseHeader(b)
	switch {
	case h == header{}:
		return d.head, false, zeroTail
	case h.captured > iface.limit():
		return d.head, false, beyondSnaplen
	}
	size = d.head + int(h.captured)
	if len(b) >= size {
		d.take(h, b[d.head:size:size])
	}
	return size, true, ""
}

// take takes over a packet of PCAP.
func (d *decoder) take(h header, data []byte) {
	d.iface, d.header = 0, h
	var sec, nsec uint32
	switch units := d.ifaces[0].units; {
	case uint64(h.frac) >= units:
	case units == 1e9:
		sec, nsec = h.sec, h.frac
	default:
		sec, nsec = h.sec, h.frac*1000
	}
	d.setPacket(data, max(h.length, h.captured), sec, nsec)
}

// setPacket sets the packet field by field: to build it and copy it would make the processor wait for itself.
func (d *decoder) setPacket(data []byte, length, sec, nsec uint32) {
	p := &d.packet
	p.Data, p.Length, p.Sec, p.Nsec, p.Flags = data, length, sec, nsec, 0
}

const beyondSnaplen = "capture length beyond the snaplen"

// block parses a block of PCAPNG.
func (d *decoder) block(b []byte) (size int, packet bool, reason string) {
	if len(b) < 12 {
		return 12, false, ""
	}
	kind := d.u32(b)
	if kind == blockSHB && !d.setOrder(b[8:]) {
		return 12, false, "unknown byte order"
	}
	claim := d.u32(b[4:])
	switch {
	case kind == 0 && claim == 0:
		return 8, false, zeroTail
	case claim < 12 || claim%4 != 0 || claim > maxBlock:
		return 8, false, "absurd block length"
	}
	size = int(claim)
	if len(b) < size {
		return size, false, ""
	}
	if d.u32(b[size-4:]) != claim {
		return size, false, "block lengths differ"
	}
	packet, reason = d.body(kind, b[8:size-4])
	return size, packet, reason
}

// quick parses a packet at the beginning of b as nearly all are, little endian and whole, and returns the size of its
// record. If it returns 0, it has done nothing, and step says what is there. It makes reading small packets a third
// cheaper (BenchmarkReader).
func (d *decoder) quick(b []byte) (size int) {
	switch {
	case d.big || len(b) < pcapRecordSize:
		return 0
	case d.format == PCAPNG:
		return d.quickBlock(b)
	case d.head != pcapRecordSize || d.lengths != capturedFirst: // or nothing was read yet
		return 0
	}
	le := binary.LittleEndian
	h := header{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])}
	size = pcapRecordSize + int(h.captured)
	if size > len(b) || h.captured == 0 || h.captured > MaxSnaplen {
		return 0
	}
	d.take(h, b[pcapRecordSize:size:size])
	return size
}

// quickBlock is quick for an enhanced packet block.
func (d *decoder) quickBlock(b []byte) (size int) {
	const before, behind = 28, 4 // of a packet's bytes in its block
	le := binary.LittleEndian
	if len(b) < before+behind || le.Uint32(b) != blockEPB {
		return 0
	}
	size = int(le.Uint32(b[4:]))
	id, captured := le.Uint32(b[8:]), le.Uint32(b[20:])
	if size > len(b) || size%4 != 0 || uint64(id) >= uint64(len(d.ifaces)) || captured > MaxSnaplen {
		return 0
	}
	end := before + int(captured)
	opts := pad4(end)
	if opts > size-behind || le.Uint32(b[size-behind:]) != uint32(size) {
		return 0
	}
	d.iface = int(id)
	sec, nsec, _ := d.ifaces[d.iface].time(uint64(le.Uint32(b[12:]))<<32 | uint64(le.Uint32(b[16:])))
	d.setPacket(b[before:end:end], max(le.Uint32(b[24:]), captured), sec, nsec)
	if opts < size-behind {
		d.packetOptions(b[opts : size-behind])
	}
	return size
}

// setOrder takes over the byte order of a section.
func (d *decoder) setOrder(magic []byte) bool {
	big, little := binary.BigEndian.Uint32(magic), binary.LittleEndian.Uint32(magic)
	if big == byteOrderMagic || little == byteOrderMagic {
		d.big = big == byteOrderMagic
	}
	return d.u32(magic) == byteOrderMagic
}

// body parses what is between the lengths of a block.
func (d *decoder) body(kind uint32, b []byte) (packet bool, reason string) {
	const short = "block too short"
	switch kind {
	case blockSHB:
		if len(b) < 16 {
			return false, short
		}
		if d.u16(b[4:]) != 1 {
			return false, "unknown version of pcapng"
		}
		d.beginSection(b)
	case blockIDB:
		if len(b) < 8 {
			return false, short
		}
		return false, d.addInterface(b)
	case blockEPB, blockOPB:
		if len(b) < 20 {
			return false, short
		}
		id := d.u32(b)
		if kind == blockOPB {
			id = uint32(d.u16(b))
		}
		return true, d.enhanced(id, b)
	case blockSPB:
		if len(b) < 4 {
			return false, short
		}
		return true, d.simple(b)
	}
	return false, ""
}

// beginSection parses the body of a section header block. The interfaces of the
// section before are no longer spoken of.
func (d *decoder) beginSection(b []byte) {
	d.section = sizedSection
	if d.u64(b[8:]) == math.MaxUint64 {
		d.section = openSection
	}
	if d.earlier == 0 && d.first == nil {
		d.first = d.ifaces
	}
	d.earlier += len(d.ifaces)
	d.ifaces, d.texts, d.skipped = nil, 0, false
}

// lookup sets the packet's interface by its number in the section.
func (d *decoder) lookup(id uint32) (*Interface, string) {
	if d.skipped && len(d.ifaces) > 0 && uint64(id) >= uint64(len(d.ifaces)) {
		id = 0
	}
	if uint64(id) >= uint64(len(d.ifaces)) {
		return nil, "packet of an unknown interface"
	}
	d.iface = int(id)
	return &d.ifaces[d.iface], ""
}

// enhanced parses the body of an enhanced packet block, or of its obsolete
// ancestor, which differs in the interface's number only.
func (d *decoder) enhanced(id uint32, b []byte) (reason string) {
	iface, reason := d.lookup(id)
	if reason != "" {
		return reason
	}
	captured, length := d.u32(b[12:]), d.u32(b[16:])
	if captured > iface.limit() {
		return beyondSnaplen
	}
	if int(captured) > len(b)-20 {
		return "packet longer than its block"
	}
	ts := uint64(d.u32(b[4:]))<<32 | uint64(d.u32(b[8:]))
	sec, nsec, _ := iface.time(ts)
	end := 20 + int(captured)
	d.setPacket(b[20:end:end], max(length, captured), sec, nsec)
	d.packetOptions(b[min(pad4(end), len(b)):])
	return ""
}

// packetOptions parses the options of an enhanced packet block.
func (d *decoder) packetOptions(b []byte) {
	d.options(b, func(code uint16, value []byte) {
		if code == epbFlags && len(value) == 4 {
			d.packet.Flags = Flags(d.u32(value))
		}
	})
}

// simple parses the body of a simple packet block: no time, and a capture
// length that follows from the block's and the snaplen.
func (d *decoder) simple(b []byte) (reason string) {
	iface, reason := d.lookup(0)
	if reason != "" {
		return reason
	}
	length := d.u32(b)
	captured := min(length, uint32(len(b)-4))
	if iface.Snaplen != 0 {
		captured = min(captured, iface.Snaplen)
	}
	d.setPacket(b[4:4+captured:4+captured], length, 0, 0)
	return ""
}

// addInterface parses the body of an interface description block.
func (d *decoder) addInterface(b []byte) (reason string) {
	if len(d.ifaces) == maxInterfaces {
		return "too many interfaces"
	}
	iface := Interface{LinkType: linkType(d.u16(b)), Snaplen: d.u32(b[4:]), units: 1e6}
	d.options(b[8:], func(code uint16, v []byte) {
		text := string(v[:min(len(v), maxText, maxTexts-d.texts)])
		switch {
		case code == ifName:
			iface.Name = text
		case code == ifDescription:
			iface.Description = text
		case code == ifFilter && len(text) > 0 && v[0] == 0:
			iface.Filter = text[1:]
		case code == ifMACAddr && len(v) == 6:
			iface.MAC = bytes.Clone(v)
		case code == ifSpeed && len(v) == 8:
			iface.Speed = d.u64(v)
		case code == ifTSResol && len(v) == 1:
			iface.units = unitsOf(v[0])
		case code == ifTSOffset && len(v) == 8:
			iface.offset = int64(d.u64(v))
		}
	})
	d.texts += len(iface.Name) + len(iface.Description) + len(iface.Filter)
	d.ifaces = append(d.ifaces, iface)
	return ""
}

// options calls f with the options in b, up to the first that is damaged.
func (d *decoder) options(b []byte, f func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, n := d.u16(b), int(d.u16(b[2:]))
		if code == optEnd || len(b) < 4+n {
			return
		}
		f(code, b[4:4+n])
		b = b[min(4+pad4(n), len(b)):]
	}
}

// unitsOf returns how many units of an if_tsresol make a second, or 0 if 64
// bits cannot say.
func unitsOf(resolution byte) uint64 {
	n := int(resolution & 0x7f)
	if resolution&0x80 != 0 {
		return 1 << n // 0 from 64 on
	}
	if n > 19 {
		return 0
	}
	units := uint64(1)
	for range n {
		units *= 10
	}
	return units
}

// time converts a time stamp; ok says that a Packet can hold it.
func (i *Interface) time(ts uint64) (sec, nsec uint32, ok bool) {
	if i.units == 0 {
		return 0, 0, false
	}
	var whole, frac uint64
	switch i.units { // a division by a constant is a multiplication
	case 1e9:
		whole, frac = ts/1e9, ts%1e9
	case 1e6:
		whole, frac = ts/1e6, ts%1e6*1000
	default:
		whole, frac = ts/i.units, ts%i.units
		hi, lo := bits.Mul64(frac, uint64(time.Second))
		frac, _ = bits.Div64(hi, lo, i.units)
	}
	shifted := int64(whole) + i.offset // an overflow is negative, or refused by the next line
	if whole > 1<<62 || shifted < 0 || shifted > 1<<32-1 {
		return 0, 0, false
	}
	return uint32(shifted), uint32(frac), true
}
