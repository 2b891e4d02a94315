package selftest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"capd/pcap"
)

// Lengths of datagrams in bytes: the shortest has only the number and the seed, the longest is what
// every system sends in one frame over loopback.
const (
	shortest = 16
	longest  = 8000
)

// payload returns the content of datagram n: its number, the seed, and a number of bytes that
// depends on n.
func (t *talker) payload(n int) []byte {
	b := make([]byte, shortest+n*7919%(longest-shortest+1))
	binary.BigEndian.PutUint64(b, uint64(n))
	binary.BigEndian.PutUint64(b[8:], t.seed)
	var key [32]byte
	copy(key[:], b[:shortest])
	_, _ = rand.NewChaCha8(key).Read(b[shortest:]) // never fails
	return b
}

// Lengths and offsets in headers (RFC 791, RFC 768).
const (
	ipLen     = 20
	ipID      = 4
	ipFrag    = 6
	ipTTL     = 8
	ipSum     = 10
	ipSource  = 12
	udpLen    = 8
	udpSum    = ipLen + 6
	dontFrag  = 0x4000
	protoUDP  = 17
	familyIP4 = 2 // AF_INET has this value on all systems
)

// A checker compares frames with the datagrams that were sent.
type checker struct {
	talker
	link  pcap.LinkType
	began time.Time
}

// before returns the link layer's header before an IP packet, or nil for a link type that the
// checker does not support.
func (c *checker) before() []byte {
	switch c.link {
	case pcap.LinkTypeEthernet:
		return append(make([]byte, 12), 0x08, 0x00)
	case pcap.LinkTypeNull:
		return binary.NativeEndian.AppendUint32(nil, familyIP4)
	case pcap.LinkTypeLoop:
		return binary.BigEndian.AppendUint32(nil, familyIP4)
	}
	return nil
}

// ours reports whether the frame contains the seed anywhere. If it is at a wrong offset, compare
// reports that.
func (c *checker) ours(frame []byte) bool {
	return bytes.Contains(frame, binary.BigEndian.AppendUint64(nil, c.seed))
}

// compare returns the number of the datagram in the packet, and an error if the packet differs from
// what was sent.
func (c *checker) compare(p *pcap.Packet) (int, error) {
	link := c.before()
	if link == nil {
		return 0, fmt.Errorf("link type %s is not supported on loopback", c.link)
	}
	body := len(link) + ipLen + udpLen
	if len(p.Data) < body+shortest {
		return 0, fmt.Errorf("it has %d bytes, not even those of the headers", len(p.Data))
	}
	n := int(binary.BigEndian.Uint64(p.Data[body:]))
	if n < 0 || n > 1<<30 {
		return 0, fmt.Errorf("the datagram's number %d is invalid", n)
	}
	want := c.frame(n, p.Data)
	switch at := difference(p.Data, want); {
	case at < len(want) && at < len(p.Data):
		return n, fmt.Errorf("byte %d of %d of datagram %d is %#x, not %#x", at, len(want), n, p.Data[at], want[at])
	case len(p.Data) != len(want) || int(p.Length) != len(want):
		return n, fmt.Errorf("datagram %d has %d bytes of %d, not %d", n, len(p.Data), p.Length, len(want))
	}
	if err := sums(p.Data[len(link):]); err != nil {
		return n, fmt.Errorf("datagram %d: %w", n, err)
	}
	return n, c.time(p)
}

// frame returns the expected frame of datagram n. Fields that the sending system chooses are copied
// from the frame that was captured.
func (c *checker) frame(n int, came []byte) []byte {
	link, payload := c.before(), c.payload(n)
	came = came[len(link):]
	ip := make([]byte, ipLen+udpLen, ipLen+udpLen+len(payload))
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(cap(ip)))
	copy(ip[ipID:ipFrag], came[ipID:])
	binary.BigEndian.PutUint16(ip[ipFrag:], binary.BigEndian.Uint16(came[ipFrag:])&dontFrag)
	ip[ipTTL] = came[ipTTL]
	ip[ipTTL+1] = protoUDP
	copy(ip[ipSum:ipSource], came[ipSum:])
	copy(ip[ipSource:], append(address.AsSlice(), address.AsSlice()...))
	udp := ip[ipLen:]
	binary.BigEndian.PutUint16(udp, c.port)
	binary.BigEndian.PutUint16(udp[2:], c.port)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpLen+len(payload)))
	copy(ip[udpSum:], came[udpSum:udpSum+2])
	return append(append(link, ip...), payload...)
}

// difference returns the index at which two slices begin to differ.
func difference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// sums checks the checksums of the packet. On loopback, a checksum may be left out, or the UDP
// checksum may cover only the pseudo header, to which a NIC would add the rest.
func sums(ip []byte) error {
	if s := binary.BigEndian.Uint16(ip[ipSum:]); s != 0 && add(0, ip[:ipLen]) != 0xffff {
		return fmt.Errorf("the IP checksum %#04x is wrong", s)
	}
	udp := ip[ipLen:]
	pseudo := add(uint32(protoUDP)+uint32(len(udp)), ip[ipSource:ipLen])
	s := binary.BigEndian.Uint16(ip[udpSum:])
	if s != 0 && s != pseudo && add(uint32(pseudo), udp) != 0xffff {
		return fmt.Errorf("the UDP checksum %#04x is wrong", s)
	}
	return nil
}

// add returns the checksum of RFC 1071.
func add(sum uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// slack is how far the clock of the timestamps may differ from the system clock.
const slack = time.Second

// time checks that the packet's time is between the start of the test and now.
func (c *checker) time(p *pcap.Packet) error {
	at, now := p.Time(), time.Now().Round(0)
	if at.Before(c.began.Add(-slack)) || at.After(now.Add(slack)) {
		return fmt.Errorf("its time %s is not within the test, %s to %s", at.UTC(), c.began.UTC(), now.UTC())
	}
	return nil
}
