package pcap

import (
	"encoding/binary"
	"math"
	"time"
)

// What follows makes the blocks of a pcapng file whose packets come from several files: little endian, with times in
// nanoseconds, in one section.

// AppendSectionHeader appends what a file begins with, with a comment.
func AppendSectionHeader(dst []byte, application, comment string) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = le.AppendUint32(openBlock(dst, blockSHB), byteOrderMagic)
	dst = le.AppendUint16(le.AppendUint16(dst, 1), 0) // version 1.0
	dst = le.AppendUint64(dst, math.MaxUint64)
	opts := len(dst)
	dst = appendText(dst, optComment, "", comment)
	return closeBlock(appendText(dst, shbUserAppl, "", application), start, opts)
}

// AppendInterface appends the description of an interface.
func AppendInterface(dst []byte, i *Interface) []byte {
	h := Header{LinkType: i.LinkType, Snaplen: i.Snaplen, Interface: i.Name, Description: i.Description, Filter: i.Filter, MAC: i.MAC, Speed: i.Speed}
	return appendInterface(dst, &h, i.Comment)
}

// AppendEnd appends what a file ends with, as statistics of its first interface: how many packets were delivered, and a
// comment.
func AppendEnd(dst []byte, now time.Time, delivered uint64, comment string) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(openBlock(dst, blockISB), 0)
	dst = appendTime(dst, now)
	opts := len(dst)
	dst = appendText(dst, optComment, "", comment)
	return closeBlock(appendCount(dst, isbUsrDeliv, delivered), start, opts)
}

// A Translator makes blocks for another file of what its Reader returned last.
type Translator struct{ r *Reader }

// Translator returns the Reader's translator.
func (r *Reader) Translator() Translator { return Translator{r} }

// Describes reports whether the block of PCAPNG, which NextRecord returned last, describes an interface.
func (t Translator) Describes(block []byte) bool {
	return t.r.dec.format == PCAPNG && t.r.dec.u32(block) == blockIDB
}

// Informs reports whether packets behind the block of PCAPNG, which NextRecord returned last, can't be read or are less without it:
// it begins a section, describes an interface, or has names or secrets.
func (t Translator) Informs(block []byte) bool {
	kind := t.r.dec.u32(block)
	return t.r.dec.format == PCAPNG && (kind == blockSHB || kind == blockIDB || kind == blockNRB || kind == blockDSB)
}

// Explains reports whether the block of PCAPNG, which NextRecord returned last, has names of hosts or secrets of sessions.
// Only those of little endian can go into a file of other sections as they are.
func (t Translator) Explains(block []byte) bool {
	kind := t.r.dec.u32(block)
	return t.r.dec.format == PCAPNG && !t.r.dec.big && (kind == blockNRB || kind == blockDSB)
}

// AppendDescription appends the description of an interface that NextRecord returned last, with all its options but the unit
// of time, and a further comment unless that is empty.
func (t Translator) AppendDescription(dst, block []byte, comment string) []byte {
	body := block[8 : len(block)-4]
	start := len(dst)
	dst = openBlock(dst, blockIDB)
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, t.r.dec.u16(body))
	dst = le.AppendUint16(dst, 0)
	dst = le.AppendUint32(dst, t.r.dec.u32(body[4:]))
	opts := len(dst)
	dst = t.appendOptions(dst, body[8:], func(code uint16) int {
		switch code {
		case ifTSResol, ifTSOffset:
			return omitted
		case ifSpeed, ifTxSpeed, ifRxSpeed:
			return 8
		case ifTimeZone:
			return 4
		}
		return 1
	})
	dst = appendText(dst, optComment, "", comment)
	return closeBlock(appendOption(dst, ifTSResol, []byte{9}), start, opts)
}

// AppendEnhanced appends the packet that NextRecord returned last, with its record, as a packet of the interface of that number
// in the new file. Its options stay, but those that must not be copied.
func (t Translator) AppendEnhanced(dst, record []byte, p *Packet, id uint32) []byte {
	le := binary.LittleEndian
	kind := uint32(0)
	if t.r.dec.format == PCAPNG {
		kind = t.r.dec.u32(record)
	}
	iface := &t.r.dec.ifaces[t.r.dec.iface]
	var opts []byte
	if at := epbSize - 4 + pad4(len(p.Data)); (kind == blockEPB || kind == blockOPB) && at < len(record)-4 {
		opts = record[at : len(record)-4]
	}
	if kind == blockEPB && !t.r.dec.big && iface.units == 1e9 && iface.offset == 0 && (opts == nil || !changer{&t.r.dec}.hasNotCopied(opts)) {
		start := len(dst)
		dst = append(dst, record...)
		le.PutUint32(dst[start+8:], id)
		return dst
	}
	start := len(dst)
	dst = le.AppendUint32(openBlock(dst, blockEPB), id)
	ns := uint64(p.Sec)*uint64(time.Second) + uint64(p.Nsec)
	dst = le.AppendUint32(le.AppendUint32(dst, uint32(ns>>32)), uint32(ns))
	dst = le.AppendUint32(le.AppendUint32(dst, uint32(len(p.Data))), p.Length)
	dst = append(dst, p.Data...)
	dst = append(dst, make([]byte, pad4(len(p.Data))-len(p.Data))...)
	at := len(dst)
	dst = t.appendOptions(dst, opts, func(code uint16) int {
		switch code {
		case epbFlags, epbQueue:
			return 4
		case epbDropCount, epbPacketID:
			return 8
		}
		return 1
	})
	return closeBlock(dst, start, at)
}

// Options of which AppendDescription and AppendEnhanced know the value.
const (
	ifTimeZone = 10
	ifTxSpeed  = 16
	ifRxSpeed  = 17

	epbDropCount = 4
	epbPacketID  = 5
	epbQueue     = 6

	optCustomText = 2988
	optCustom     = 2989

	omitted = 0
)

// appendOptions appends options in little endian, without their end. size says of how many bytes the numbers in the value
// of an option are, and omitted leaves it out; those that must not be copied are left out too.
func (t Translator) appendOptions(dst, opts []byte, size func(code uint16) int) []byte {
	t.r.dec.options(opts, func(code uint16, value []byte) {
		n := size(code)
		switch {
		case n == omitted, code == optCustomTextNotCopied, code == optCustomNotCopied:
			return
		case !t.r.dec.big:
		case n == len(value) && n > 1:
			value = reversed(value)
		case (code == optCustomText || code == optCustom) && len(value) >= 4: // they begin with the number of an enterprise
			value = append(reversed(value[:4]), value[4:]...)
		}
		dst = appendOption(dst, code, value)
	})
	return dst
}

func reversed(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[len(b)-1-i] = b[i]
	}
	return out
}
