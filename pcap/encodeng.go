package pcap

import (
	"encoding/binary"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxComment is the longest comment in bytes that Statistics keep.
const MaxComment = 1024

// Options of pcapng blocks (draft-ietf-opsawg-pcapng, sections 3.5 and 4).
const (
	optEnd     = 0
	optComment = 1

	shbHardware = 2
	shbOS       = 3
	shbUserAppl = 4

	ifName        = 2
	ifDescription = 3
	ifMACAddr     = 6
	ifSpeed       = 8
	ifTSResol     = 9
	ifFilter      = 11
	ifTSOffset    = 14

	epbFlags = 2

	isbStartTime    = 2
	isbEndTime      = 3
	isbIfRecv       = 4
	isbIfDrop       = 5
	isbFilterAccept = 6
	isbOSDrop       = 7
	isbUsrDeliv     = 8
)

// isbBound is the size of a statistics block with every option but the comment.
const isbBound = 24 + 7*12 + 4

func encodePCAPNG(dst []byte, pkts []Packet, snaplen int, iface uint32) (n, packets int) {
	le := binary.LittleEndian
	for i := range pkts {
		p := &pkts[i]
		data := p.Data
		if len(data) > snaplen {
			data = data[:snaplen]
		}
		padded := pad4(len(data))
		size := epbSize + padded
		if p.Flags != 0 {
			size += epbFlagsSize
		}
		if len(dst) < size {
			return n, i
		}
		rec := dst[:size]
		ns := uint64(p.Sec)*uint64(time.Second) + uint64(p.Nsec)
		le.PutUint32(rec[24+padded:], 0) // the padding; the header follows and may lie over it
		head := rec[:28]
		le.PutUint32(head[0:], blockEPB)
		le.PutUint32(head[4:], uint32(size))
		le.PutUint32(head[8:], iface)
		le.PutUint32(head[12:], uint32(ns>>32))
		le.PutUint32(head[16:], uint32(ns))
		le.PutUint32(head[20:], uint32(len(data)))
		le.PutUint32(head[24:], max(p.Length, uint32(len(p.Data))))
		copy(rec[28:], data)
		if p.Flags != 0 {
			opts := rec[28+padded:][:epbFlagsSize]
			le.PutUint32(opts[0:], epbFlags|4<<16)
			le.PutUint32(opts[4:], uint32(p.Flags))
			le.PutUint32(opts[8:], optEnd)
		}
		le.PutUint32(rec[size-4:], uint32(size))
		dst = dst[size:]
		n += size
	}
	return n, len(pkts)
}

// appendSection appends a section header block. Its length is left unknown: it
// would have to be written back at the end.
func appendSection(b []byte, h *Header) []byte {
	start := len(b)
	b = openBlock(b, blockSHB)
	le := binary.LittleEndian
	b = le.AppendUint32(b, byteOrderMagic)
	b = le.AppendUint16(b, 1) // version 1.0
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, math.MaxUint64)
	opts := len(b)
	b = appendText(b, shbUserAppl, "", h.Application)
	b = appendText(b, shbHardware, "", h.Hardware)
	b = appendText(b, shbOS, "", h.OS)
	return closeBlock(b, start, opts)
}

func appendInterface(b []byte, h *Header, comment string) []byte {
	start := len(b)
	b = openBlock(b, blockIDB)
	le := binary.LittleEndian
	b = le.AppendUint16(b, uint16(h.LinkType))
	b = le.AppendUint16(b, 0)
	b = le.AppendUint32(b, h.Snaplen)
	opts := len(b)
	b = appendText(b, optComment, "", comment)
	b = appendText(b, ifName, "", h.Interface)
	b = appendText(b, ifDescription, "", h.Description)
	b = appendText(b, ifFilter, "\x00", h.Filter) // 0: a pcap-filter expression
	if len(h.MAC) == 6 {
		b = appendOption(b, ifMACAddr, h.MAC)
	}
	if h.Speed != 0 {
		b = appendOption(b, ifSpeed, le.AppendUint64(nil, h.Speed))
	}
	b = appendOption(b, ifTSResol, []byte{9})
	return closeBlock(b, start, opts)
}

// Trailer appends to dst what a file ends with: the statistics as a block of
// PCAPNG, nothing for PCAP. At most TrailerSize bytes are appended.
func (e *Encoder) Trailer(dst []byte, s Statistics) []byte {
	if e.format != PCAPNG {
		return dst
	}
	start := len(dst)
	b := openBlock(dst, blockISB)
	b = binary.LittleEndian.AppendUint32(b, 0) // interface
	b = appendTime(b, s.End)
	opts := len(b)
	b = appendText(b, optComment, "", cut(s.Comment, MaxComment))
	b = appendTimeOption(b, isbStartTime, s.Start)
	b = appendTimeOption(b, isbEndTime, s.End)
	b = appendCount(b, isbIfRecv, s.Received)
	b = appendCount(b, isbIfDrop, s.NICDropped)
	b = appendCount(b, isbFilterAccept, s.Accepted)
	b = appendCount(b, isbOSDrop, s.KernelDropped)
	b = appendCount(b, isbUsrDeliv, s.Delivered)
	return closeBlock(b, start, opts)
}

// TrailerSize returns the largest size in bytes of a trailer.
func (e *Encoder) TrailerSize() int {
	if e.format != PCAPNG {
		return 0
	}
	return e.maxDescription() + isbBound + 4 + MaxComment
}

func openBlock(b []byte, kind uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, kind)
	return binary.LittleEndian.AppendUint32(b, 0) // length, which closeBlock fills in
}

// closeBlock ends the block that begins at b[start:] and has its options, if
// any, at b[opts:].
func closeBlock(b []byte, start, opts int) []byte {
	le := binary.LittleEndian
	if len(b) > opts {
		b = le.AppendUint32(b, optEnd)
	}
	size := uint32(len(b) - start + 4)
	le.PutUint32(b[start+4:], size)
	return le.AppendUint32(b, size)
}

// appendText appends an option of UTF-8 text, unless it is empty.
func appendText(b []byte, code uint16, prefix, s string) []byte {
	if s == "" {
		return b
	}
	s = cut(s, math.MaxUint16-len(prefix)) // an option's length has 16 bits
	return appendOption(b, code, []byte(prefix+s))
}

func appendOption(b []byte, code uint16, value []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, code)
	b = le.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, pad4(len(value))-len(value))...)
}

func appendCount(b []byte, code uint16, n uint64) []byte {
	return appendOption(b, code, binary.LittleEndian.AppendUint64(nil, n))
}

func appendTimeOption(b []byte, code uint16, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendOption(b, code, appendTime(nil, t))
}

// appendTime appends a time as pcapng has it: in the interface's resolution,
// high word first. The zero time is 0.
func appendTime(b []byte, t time.Time) []byte {
	var ns uint64
	if !t.IsZero() {
		ns = uint64(t.UnixNano())
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(ns>>32))
	return binary.LittleEndian.AppendUint32(b, uint32(ns))
}

// cut returns s as valid UTF-8 of at most limit bytes.
func cut(s string, limit int) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
