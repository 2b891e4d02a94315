package pcap

import (
	"encoding/binary"
	"slices"
	"time"
)

// Sizes in bytes of the parts of a file.
const (
	pcapHeaderSize = 24 // of a pcap file
	pcapRecordSize = 16 // of a packet's record without its data
	epbSize        = 32 // of an enhanced packet block without data and options, both lengths included
	epbFlagsSize   = 12 // of its options when there are flags: epb_flags and opt_endofopt
)

// A Header says what a capture file tells about itself. PCAP keeps the link
// type and the snaplen only.
type Header struct {
	Format      Format
	Micro       bool     // of PCAP: times in microseconds, for programs that read nothing newer
	LinkType    LinkType // LinkTypeMixed: each packet's interface is described before its first packet, which takes PCAPNG
	Snaplen     uint32   // most bytes kept of a packet; 0, and what is above MaxSnaplen, is MaxSnaplen
	Interface   string   // its name
	Description string   // of the interface
	Filter      string   // expression that packets passed
	MAC         []byte   // the interface's 6-byte address; any other length is left out
	Speed       uint64   // of the interface in bit/s; 0 is unknown
	Hardware    string   // of the machine
	OS          string   // operating system
	Application string   // that records
}

// Statistics are what a file says at its end about its packets.
type Statistics struct {
	Start, End    time.Time // of the capture; the zero time is left out
	Received      uint64    // packets that the interface received
	NICDropped    uint64    // packets that the interface dropped
	KernelDropped uint64    // packets that the kernel dropped after the filter
	Accepted      uint64    // packets that passed the filter
	Delivered     uint64    // packets handed to the application
	Comment       string    // cut at MaxComment bytes
}

// An Encoder turns packets into the bytes of a capture file. It never changes
// and may be used from several goroutines.
type Encoder struct {
	format  Format
	micro   bool
	snaplen int
	header  []byte
	mixed   *Header // of the files' one interface; nil unless there are several
}

// NewEncoder returns an encoder of files that begin with h.
func NewEncoder(h Header) *Encoder {
	if h.Snaplen == 0 || h.Snaplen > MaxSnaplen {
		h.Snaplen = MaxSnaplen
	}
	e := &Encoder{format: h.Format, micro: h.Micro, snaplen: int(h.Snaplen)}
	switch {
	case h.Format == PCAPNG && h.LinkType == LinkTypeMixed:
		e.mixed = &h
		e.header = appendSection(nil, &h)
	case h.Format == PCAPNG:
		e.header = appendInterface(appendSection(nil, &h), &h, "")
	default:
		if h.LinkType == LinkTypeMixed {
			h.LinkType = LinkTypeLinuxSLL2 // as capture has it for all interfaces in one type
		}
		e.header = appendPCAPHeader(nil, &h)
	}
	return e
}

// Format returns the format of the files.
func (e *Encoder) Format() Format { return e.format }

// Header returns the bytes that a file begins with. They are the caller's.
func (e *Encoder) Header() []byte { return slices.Clone(e.header) }

// MaxRecord returns the size in bytes of the largest record of one packet.
func (e *Encoder) MaxRecord() int {
	if e.format == PCAPNG {
		return e.maxDescription() + epbSize + pad4(e.snaplen) + epbFlagsSize
	}
	return pcapRecordSize + e.snaplen
}

// Encode writes packets to dst, as many from the first on as fit as whole
// records. It returns how many bytes it wrote and of how many packets. Data is
// cut at the snaplen.
//
// A packet of no data, no length and no time cannot be told from the zeros of
// a preallocated file when it is PCAP: readers end there.
func (e *Encoder) Encode(dst []byte, pkts []Packet) (n, packets int) {
	if e.format == PCAPNG {
		return encodePCAPNG(dst, pkts, e.snaplen, 0)
	}
	return encodePCAP(dst, pkts, e.snaplen, e.micro)
}

func encodePCAP(dst []byte, pkts []Packet, snaplen int, micro bool) (n, packets int) {
	le := binary.LittleEndian
	for i := range pkts {
		p := &pkts[i]
		data := p.Data
		if len(data) > snaplen {
			data = data[:snaplen]
		}
		size := pcapRecordSize + len(data)
		if len(dst) < size {
			return n, i
		}
		head := dst[:pcapRecordSize]
		le.PutUint32(head[0:], p.Sec)
		frac := p.Nsec
		if micro {
			frac /= 1000
		}
		le.PutUint32(head[4:], frac)
		le.PutUint32(head[8:], uint32(len(data)))
		le.PutUint32(head[12:], max(p.Length, uint32(len(p.Data))))
		copy(dst[pcapRecordSize:], data)
		dst = dst[size:]
		n += size
	}
	return n, len(pkts)
}

func appendPCAPHeader(b []byte, h *Header) []byte {
	le := binary.LittleEndian
	magic := uint32(magicNano)
	if h.Micro {
		magic = magicMicro
	}
	b = le.AppendUint32(b, magic)
	b = le.AppendUint16(b, 2) // version 2.4
	b = le.AppendUint16(b, 4)
	b = le.AppendUint64(b, 0) // two reserved words
	b = le.AppendUint32(b, h.Snaplen)
	return le.AppendUint32(b, uint32(h.LinkType))
}

// pad4 rounds n up to a multiple of 4.
func pad4(n int) int { return (n + 3) &^ 3 }
