package writer

import (
	"time"

	"capd/pcap"
)

// Counts are sums over packets.
type Counts struct {
	Packets     uint64 // packets that reached the file
	Bytes       uint64 // bytes of their captured data
	Lost        uint64 // packets dropped by capd: from this file, or left unread in a ring since the previous file
	Truncated   uint64 // packets cut by the snaplen
	NotSummed   uint64 // packets whose checksum the NIC would have filled in
	Inversions  uint64 // packets with an earlier time than the packet before them
	KernelDrops uint64 // frames that the kernel dropped while the file was open
	Freezes     uint64 // times that the kernel's ring was full while the file was open
	NICDrops    uint64 // frames that the interface dropped while the file was open
}

// everything is a limit for tally that no packet's time reaches.
const everything = 1 << 32

// tally adds up the packets before the first one whose time is at or after limit, in seconds since
// 1970. last is the time of the packet before pkts.
func tally(pkts []pcap.Packet, last time.Time, limit uint64) Counts {
	var bytes, truncated, unsummed, inversions uint64
	lastSec, lastNsec := uint32(last.Unix()), uint32(last.Nanosecond())
	n := 0
	for i := range pkts {
		p := &pkts[i]
		if uint64(p.Sec) >= limit {
			break
		}
		n++
		bytes += uint64(len(p.Data))
		if int(p.Length) > len(p.Data) {
			truncated++
		}
		if p.Flags&pcap.FlagChecksumNotReady != 0 {
			unsummed++
		}
		if p.Sec < lastSec || p.Sec == lastSec && p.Nsec < lastNsec {
			inversions++
		}
		lastSec, lastNsec = p.Sec, p.Nsec
	}
	return Counts{Packets: uint64(n), Bytes: bytes, Truncated: truncated, NotSummed: unsummed, Inversions: inversions}
}

func (c *Counts) add(d Counts) {
	c.Packets += d.Packets
	c.Bytes += d.Bytes
	c.Truncated += d.Truncated
	c.NotSummed += d.NotSummed
	c.Inversions += d.Inversions
}

func (c *Counts) subtract(d Counts) {
	c.Packets -= d.Packets
	c.Bytes -= d.Bytes
	c.Truncated -= d.Truncated
	c.NotSummed -= d.NotSummed
	c.Inversions -= d.Inversions
}
