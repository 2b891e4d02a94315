package decode

import (
	"bytes"
	"strconv"
)

func udp(s *sink, x data) {
	if !s.enter("udp") {
		return
	}
	f := s.frame
	c := read(x)
	src, dst := c.u16(), c.u16()
	if s.ended(c) {
		return
	}
	s.ports(src, dst)
	n, check := c.u16(), c.u16()
	if s.ended(c) {
		return
	}
	f.UDP = &s.room.udp
	*f.UDP = UDP{Length: int(n)}
	if s.verbose {
		s.field("length", "%d", n)
	}
	if !udpLength(s, &x, int(n)) {
		return
	}
	switch {
	case check == 0:
		f.UDP.Checksum = ChecksumNone
	case int(n) > x.n:
		f.UDP.Checksum = ChecksumUnknown
	default:
		f.UDP.Checksum = s.checksum(x, 17, check)
	}
	if s.verbose {
		s.field("checksum", "0x%04x (%s)", check, f.UDP.Checksum)
	}
	before := s.tunnels
	payload := x.from(8)
	udpPayload(s, payload)
	if s.tunnels > before {
		return
	}
	var room [32]byte
	if length := strconv.AppendInt(append(room[:0], "length "...), int64(payload.n), 10); !bytes.HasSuffix(s.info, length) {
		s.sayNumber("length ", uint64(payload.n))
	}
}

// udpLength cuts the datagram to its length, and says whether that can be.
func udpLength(s *sink, x *data, n int) bool {
	switch {
	case n == 0 && x.n > 0xffff: // a jumbogram
	case n < 8:
		s.bad("udp length %d", n)
		return false
	case n > x.n && !s.pseudo.fragment:
		s.bad("udp length %d, only %d there", n, x.n)
	default:
		*x = x.limit(n)
	}
	return true
}
