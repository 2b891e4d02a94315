package selftest

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"capd/pcap"
)

func newChecker(l pcap.LinkType) checker {
	return checker{talker: talker{port: 0x1234, seed: 0x0123456789abcdef}, link: l, began: time.Now()}
}

// small is the number of a short datagram: its Ethernet frame has 123 bytes.
const small = 120

// packet returns datagram n as sent by a system that computes all checksums.
func packet(c *checker, n int) *pcap.Packet {
	chosen := make([]byte, 14+ipLen+udpLen)
	link := len(c.before())
	ip := chosen[link:]
	copy(ip[ipID:], []byte{0x12, 0x34, 0x40, 0, 64})
	frame := c.frame(n, chosen)
	ip = frame[link:]
	binary.BigEndian.PutUint16(ip[ipSum:], ^add(0, ip[:ipLen]))
	pseudo := add(uint32(protoUDP)+uint32(len(ip)-ipLen), ip[ipSource:ipLen])
	binary.BigEndian.PutUint16(ip[udpSum:], ^add(uint32(pseudo), ip[ipLen:]))
	now := time.Now()
	return &pcap.Packet{Data: frame, Length: uint32(len(frame)), Sec: uint32(now.Unix()), Nsec: uint32(now.Nanosecond())}
}

// TestEveryBitCounts: every wrong bit is found. In fields that the sender chooses, the checksum
// reveals it.
func TestEveryBitCounts(t *testing.T) {
	for _, l := range []pcap.LinkType{pcap.LinkTypeEthernet, pcap.LinkTypeNull, pcap.LinkTypeLoop} {
		c := newChecker(l)
		p := packet(&c, small)
		if n, err := c.compare(p); err != nil || n != small {
			t.Fatalf("%s: %d, %v", l, n, err)
		}
		for bit := range len(p.Data) * 8 {
			p.Data[bit/8] ^= 1 << (bit % 8)
			if n, err := c.compare(p); err == nil && n == small {
				t.Errorf("%s: bit %d of byte %d is not looked at", l, bit%8, bit/8)
			}
			p.Data[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestOtherDifferences(t *testing.T) {
	c := newChecker(pcap.LinkTypeEthernet)
	for _, d := range []struct {
		want   string
		change func(p *pcap.Packet)
	}{
		{"not even those of the headers", func(p *pcap.Packet) { p.Data = nil }},
		{"it has 40 bytes", func(p *pcap.Packet) { p.Data = p.Data[:40] }},
		{"has 122 bytes of 123, not 123", func(p *pcap.Packet) { p.Data = p.Data[:len(p.Data)-1] }},
		{"has 124 bytes of 123, not 123", func(p *pcap.Packet) { p.Data = append(p.Data, 0) }},
		{"has 123 bytes of 124, not 123", func(p *pcap.Packet) { p.Length++ }},
		{"is not within the test", func(p *pcap.Packet) { p.Sec -= 3 }},
		{"is not within the test", func(p *pcap.Packet) { p.Sec += 3 }},
		{"the UDP checksum", func(p *pcap.Packet) { p.Data[14+udpSum]++ }},
		{"the IP checksum", func(p *pcap.Packet) { p.Data[14+ipTTL]-- }},
		{"is invalid", func(p *pcap.Packet) { p.Data[14+ipLen+udpLen] = 0xff }},
	} {
		p := packet(&c, small)
		d.change(p)
		if _, err := c.compare(p); err == nil || !strings.Contains(err.Error(), d.want) {
			t.Errorf("%v, want %s", err, d.want)
		}
	}
}

// TestChecksums: on loopback, checksums may be missing or incomplete.
func TestChecksums(t *testing.T) {
	c := newChecker(pcap.LinkTypeNull)
	p := packet(&c, 1)
	ip := p.Data[4:]
	pseudo := add(uint32(protoUDP)+uint32(len(ip)-ipLen), ip[ipSource:ipLen])
	for _, sum := range []uint16{0, pseudo, binary.BigEndian.Uint16(ip[udpSum:])} {
		binary.BigEndian.PutUint16(ip[udpSum:], sum)
		if _, err := c.compare(p); err != nil {
			t.Error(err)
		}
	}
	binary.BigEndian.PutUint16(ip[ipSum:], 0)
	if _, err := c.compare(p); err != nil {
		t.Error(err)
	}
	c.link = pcap.LinkTypePPP
	if _, err := c.compare(p); err == nil {
		t.Error("PPP is compared")
	}
}

// TestCounts: missing, duplicate and swapped datagrams, and inconsistent counters, are reported.
func TestCounts(t *testing.T) {
	c := newChecker(pcap.LinkTypeEthernet)
	for _, d := range []struct {
		numbers  []int
		received uint64 // includes one frame of another program
		dropped  uint64
		want     string
	}{
		{[]int{0, 1, 2}, 4, 0, ""},
		{[]int{1, 0, 2}, 4, 0, "datagram 1 came instead of datagram 0"},
		{[]int{0, 1}, 3, 0, "3 datagrams were sent and 2 captured"},
		{[]int{0, 1, 1, 2}, 5, 0, "3 datagrams were sent and 4 captured"},
		{[]int{0, 1}, 4, 1, "the kernel counts 1 dropped"},
		{[]int{0, 1, 2}, 5, 0, "5 frames received are not 4 read, 0 dropped and 0 corrupt"},
		{[]int{0, 1, 2}, 4, 1, "4 frames received are not 4 read, 1 dropped"},
	} {
		r := run{check: c}
		for _, n := range d.numbers {
			r.packet(packet(&c, n))
		}
		r.packet(&pcap.Packet{Data: []byte("another program's")})
		r.Sent = 3
		r.Stats.Received, r.Stats.Dropped = d.received, d.dropped
		r.counts()
		if got := strings.Join(r.Wrong, "\n"); (d.want == "") != (got == "") || !strings.Contains(got, d.want) {
			t.Errorf("%v: %q, want %q", d.numbers, got, d.want)
		}
	}
}
