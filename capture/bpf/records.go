package bpf

import (
	"math"
	"sync/atomic"

	"capd/pcap"
)

// records parses the frames in a BPF device's read buffer. It does not trust any field.
type records struct {
	layout
	snaplen int
	mem     []byte         // the part that the kernel filled
	off     int            // of the next record, or of the malformed one
	count   *atomic.Uint64 // counts the frames that were read
	lost    uint32         // 1 if the rest was malformed; its true number of frames is unknown
	reason  string         // why it is malformed
}

// read fills dst with the next frames and returns how many there were.
func (r *records) read(dst []pcap.Packet) int {
	n := 0
	for n < len(dst) && r.off < len(r.mem) {
		if r.reason = r.record(&dst[n]); r.reason != "" {
			r.mem, r.lost = r.mem[:r.off], 1
			break
		}
		n++
	}
	r.count.Add(uint64(n))
	return n
}

// header returns the length of the next record's header, or 0 if it is unknown.
func (r *records) header() int {
	rest := r.mem[r.off:]
	if len(rest) < r.least() {
		return 0
	}
	return int(host.Uint16(rest[r.hdrlen():]))
}

// record reads the record at r.off and moves on to the next one. It returns an empty string, or
// what is malformed.
func (r *records) record(p *pcap.Packet) string {
	rest := r.mem[r.off:]
	if len(rest) < r.least() {
		return "record header passes the buffer's end"
	}
	start := int(host.Uint16(rest[r.hdrlen():]))
	size, length := host.Uint32(rest[r.caplen():]), host.Uint32(rest[r.datalen():])
	sec, frac := r.stamp(rest)
	switch {
	case start < r.least():
		return "record header is shorter than it can be"
	case start > len(rest):
		return "frame starts outside of the buffer"
	case size > uint32(len(rest)-start):
		return "frame passes the buffer's end"
	case size > length:
		return "more bytes captured than the frame had"
	case sec > math.MaxUint32:
		return "time is out of range"
	case frac >= second || frac*r.tick >= second:
		return "fraction over a second"
	}
	// The frame starts where the header says, not after the struct: the kernel pads the header to
	// align what follows the link layer.
	end := start + int(size)
	keep := min(end, start+r.snaplen)
	*p = pcap.Packet{
		Data:   rest[start:keep:keep],
		Length: length,
		Sec:    uint32(sec),
		Nsec:   uint32(frac * r.tick),
	}
	// The last record of a buffer is not padded.
	r.off += min((end+r.align-1)&^(r.align-1), len(rest))
	return ""
}

// stamp returns the two halves of the timestamp.
func (r *records) stamp(header []byte) (sec, frac uint64) {
	if r.word == 4 {
		return uint64(host.Uint32(header)), uint64(host.Uint32(header[4:]))
	}
	return host.Uint64(header), host.Uint64(header[8:])
}
