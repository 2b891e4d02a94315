package writer

import (
	"math"
	"time"

	"capd/ledger"
	"capd/pcap"
)

// Counts are sums over packets.
type Counts struct {
	Packets     uint64 // packets that reached the file
	Bytes       uint64 // bytes of their captured data
	Lost        uint64 // packets dropped by capd: from this file, or left unread in a ring since the one before
	Truncated   uint64 // packets that were cut
	Oversized   uint64 // of these, cut though the snaplen did not ask for it
	NotSummed   uint64 // packets whose checksum the NIC would have filled in
	Inversions  uint64 // packets older than the one before
	KernelDrops uint64 // frames that the kernel dropped meanwhile
	Freezes     uint64 // times that the kernel's ring was full meanwhile
	NICDrops    uint64 // frames that the interface dropped meanwhile
	NICDiscards uint64 // frames that its statistics call dropped, recorded or not
}

// everything is a limit for tally that no packet's time reaches.
const everything = 1 << 32

// tally adds up the packets, of which the one before came at last, up to the
// first one of the second limit or later. Of chosen bytes or more a packet is cut
// because the snaplen asks for it.
func tally(pkts []pcap.Packet, last time.Time, limit uint64, chosen int) Counts {
	var bytes, truncated, oversized, unsummed, inversions uint64
	lastSec, lastNsec := uint32(last.Unix()), uint32(last.Nanosecond())
	if last.IsZero() { // the first packet of all is older than none
		lastSec, lastNsec = 0, 0
	}
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
			if len(p.Data) < chosen {
				oversized++
			}
		}
		if p.Flags&pcap.FlagChecksumNotReady != 0 {
			unsummed++
		}
		if p.Sec < lastSec || p.Sec == lastSec && p.Nsec < lastNsec {
			inversions++
		}
		lastSec, lastNsec = p.Sec, p.Nsec
	}
	return Counts{Packets: uint64(n), Bytes: bytes, Truncated: truncated, Oversized: oversized, NotSummed: unsummed, Inversions: inversions}
}

func (c *Counts) add(d Counts) {
	c.Packets += d.Packets
	c.Bytes += d.Bytes
	c.Truncated += d.Truncated
	c.Oversized += d.Oversized
	c.NotSummed += d.NotSummed
	c.Inversions += d.Inversions
}

func (c *Counts) subtract(d Counts) {
	c.Packets -= d.Packets
	c.Bytes -= d.Bytes
	c.Truncated -= d.Truncated
	c.Oversized -= d.Oversized
	c.NotSummed -= d.NotSummed
	c.Inversions -= d.Inversions
}

// snaplen returns the length to which packets are to be cut; 0 where they are
// wanted whole, which is what the largest snaplen asks for.
func (w *Writer) snaplen() uint32 {
	if w.opt.Header.Snaplen >= pcap.MaxSnaplen {
		return 0
	}
	return w.opt.Header.Snaplen
}

// chosen is snaplen for tally.
func (w *Writer) chosen() int {
	if s := w.snaplen(); s > 0 {
		return int(s)
	}
	return math.MaxInt
}

// noteRest notes in the ledger the time and the losses since the last file.
func (w *Writer) noteRest() {
	end := w.schedule.wall
	if w.resume != 0 {
		w.recovered(end)
	}
	d := w.newDrops()
	drops := ledger.Drops{Kernel: d.Kernel, Capd: d.Unread + w.takeLost(), Freezes: d.Freezes, NIC: d.NIC, Discarded: d.Discarded}
	if drops != (ledger.Drops{}) || end.After(w.since) && !w.since.IsZero() {
		w.opt.Note(ledger.Quiet(w.opt.Header.Interface, w.since, end, drops))
	}
}

// takeLost returns how many packets were lost that are in no ledger entry yet. The caller enters them.
func (w *Writer) takeLost() uint64 {
	n := w.lost - w.lostReported
	w.lostReported = w.lost
	return n
}

// newDrops returns what was lost since the last call.
func (w *Writer) newDrops() Drops {
	if w.opt.Drops == nil || w.inherits {
		return Drops{}
	}
	now, last := w.opt.Drops(), w.drops
	w.drops = now
	return now.minus(last)
}
