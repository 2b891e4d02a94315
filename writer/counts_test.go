package writer

import (
	"testing"
	"time"

	"capd/pcap"
)

// TestCutBy tells packets that a configured snaplen cut from those that were too
// large to be kept whole.
func TestCutBy(t *testing.T) {
	packet := func(length uint32, kept int) pcap.Packet {
		return pcap.Packet{Sec: 1, Length: length, Data: make([]byte, kept)}
	}
	whole, short, large := packet(60, 60), packet(1500, 96), packet(400_000, pcap.MaxSnaplen)
	block := packet(400_000, 60_000) // no block of the ring has room for more
	for _, c := range []struct {
		name                 string
		snaplen              uint32
		pkts                 []pcap.Packet
		truncated, oversized uint64
	}{
		{"whole", 0, []pcap.Packet{whole}, 0, 0},
		{"by the snaplen", 96, []pcap.Packet{whole, short, short}, 2, 0},
		{"the largest snaplen is none", pcap.MaxSnaplen, []pcap.Packet{whole, large}, 1, 1},
		{"no snaplen", 0, []pcap.Packet{large, block}, 2, 2},
		{"below the snaplen", 100_000, []pcap.Packet{block, packet(400_000, 100_000)}, 2, 1},
	} {
		w := &Writer{opt: Options{Header: pcap.Header{Snaplen: c.snaplen}}}
		got := tally(c.pkts, time.Time{}, everything, w.chosen())
		if got.Truncated != c.truncated || got.Oversized != c.oversized {
			t.Errorf("%s: %d cut, %d of them too large, want %d and %d", c.name, got.Truncated, got.Oversized, c.truncated, c.oversized)
		}
	}
}

// TestInversions: a packet is older than the one before, and the first one of all than none.
func TestInversions(t *testing.T) {
	at := func(sec uint32) pcap.Packet { return pcap.Packet{Sec: sec} }
	for _, c := range []struct {
		last time.Time
		want uint64
	}{{time.Time{}, 1}, {time.Unix(5, 0), 1}, {time.Unix(7, 0), 2}} {
		if got := tally([]pcap.Packet{at(5), at(9), at(8)}, c.last, everything, 0).Inversions; got != c.want {
			t.Errorf("after %v: %d, want %d", c.last, got, c.want)
		}
	}
}
