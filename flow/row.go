package flow

import (
	"cmp"

	"capd/pcap"
)

// RegionSize is how many bytes of a capture file a region has: a frame is in the region in which its record begins, and region
// N begins with the first record at or behind byte N*RegionSize of the uncompressed file. Small regions make tables large, large
// ones are much to read: of 10,000 flows of a mix of sizes that all have as many packets, tables take 0.50 % of the file with
// 64 KiB, 0.35 % with 256 KiB and 0.24 % with 1 MiB; 0.21, 0.15 and 0.11 % if few flows have most packets.
const RegionSize = 256 << 10

// A Count is what went one way.
type Count struct {
	Packets uint64
	Bytes   uint64 // on the wire
	Flags   uint8  // of TCP, all that were seen
}

// A Row is a flow in one file, or a part of one. The source of its key is the sender of its first frame.
type Row struct {
	Key
	Link           pcap.LinkType // of the interface, if that is known
	First, Last    int64         // time of capture in nanoseconds since 1970 UTC; 0: no frame has a time
	Sent, Received Count         // from source to destination, and back
	Cut            uint64
	Marks          Marks    // of any frame
	Regions        []uint32 // where frames lie, in order
	// Unlisted rows stand for many flows that are not listed one by one: of the key only Interface, Tunnel, EtherType, Proto, Dst
	// and DstPort may be known, and a region between the first and the last may have no frame of them.
	Unlisted bool
}

// Packets returns the packets of both directions.
func (r *Row) Packets() uint64 { return r.Sent.Packets + r.Received.Packets }

// Bytes returns the bytes on the wire of both directions.
func (r *Row) Bytes() uint64 { return r.Sent.Bytes + r.Received.Bytes }

// A Region says what begins in a part of the capture file.
type Region struct {
	Offset      int64 // of the first record that begins in it; -1: none does
	First, Last int64 // times of its packets in nanoseconds since 1970 UTC; 0: no packet has a time
	Packets     uint32
	Timeless    bool // some packets have no time
	Describes   bool // behind the file's first packet it has records that later packets need, such as descriptions of interfaces
}

// span widens a span of times, of which zeros are none.
func span(first, last *int64, t int64) {
	if t == 0 {
		return
	}
	if *first == 0 || t < *first {
		*first = t
	}
	*last = max(*last, t)
}

// byTime orders rows by their first frames.
func byTime(a, b *Row) int { return cmp.Compare(a.First, b.First) }
