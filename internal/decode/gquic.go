package decode

import "encoding/binary"

// Google's QUIC, which came before that of RFC 9000, has a version of a letter
// and three digits. Up to Q043 it is behind a public header, whose first byte
// says what follows; Q044 and Q046 have a long header. The first packets are not
// encrypted (Chromium's "QUIC Wire Layout Specification" and "QUIC Crypto").

const (
	gquicVersion    = 0x01 // a version follows the connection's number
	gquicReset      = 0x02
	gquicConnection = 0x08 // the connection's number is there
	gquicHash       = 12   // bytes of the hash before what is not encrypted
)

// isGQUIC says whether a datagram has one of these versions, or is a reset.
func isGQUIC(x data) bool {
	b := x.b
	if len(b) > 0 && b[0]&0x80 != 0 {
		return len(b) >= 6 && isGoogleVersion(b[1:]) && string(b[1:5]) < "Q050" // which has the header of RFC 9000
	}
	if len(b) < 13 || b[0]&gquicConnection == 0 {
		return false
	}
	return b[0]&gquicVersion != 0 && isGoogleVersion(b[9:]) || b[0]&gquicReset != 0 && string(b[9:13]) == "PRST"
}

func isGoogleVersion(b []byte) bool {
	if b[0] != 'Q' {
		return false
	}
	for _, digit := range b[1:4] {
		if digit < '0' || digit > '9' {
			return false
		}
	}
	return true
}

func gquic(s *sink, x data) {
	if !s.enter("gquic") {
		return
	}
	c := read(x)
	first := c.u8()
	if first&0x80 != 0 {
		version := c.take(4)
		sizes := c.u8() // of the receiver's number and of the sender's; one is 0
		id := c.take(gquicSize(sizes>>4) + gquicSize(sizes&15))
		number := c.take(int(first&3) + 1)
		if s.ended(c) {
			return
		}
		gquicPacket(s, version, id, number, c)
		return
	}
	id := c.take(8)
	if first&gquicReset != 0 {
		if !s.ended(c) {
			s.sayText("reset, cid ", hexBytes(id))
		}
		return
	}
	version := c.take(4)
	if c.n%4 == 0 && isVersionList(c.b) { // a server that knows others
		s.field("version", "%s", printable(version))
		s.sayText("version negotiation, cid ", hexBytes(id))
		return
	}
	number := c.take([]int{1, 2, 4, 6}[first>>4&3])
	if s.ended(c) {
		return
	}
	gquicPacket(s, version, id, number, c)
}

// gquicSize is how long a number is that is not left out.
func gquicSize(bits uint8) int {
	if bits == 0 {
		return 0
	}
	return int(bits) + 3
}

// isVersionList says whether all bytes are versions.
func isVersionList(b []byte) bool {
	for ; len(b) >= 4; b = b[4:] {
		if !isGoogleVersion(b) {
			return false
		}
	}
	return len(b) == 0
}

func gquicPacket(s *sink, version, id, number []byte, c *cursor) {
	s.field("version", "%s", printable(version))
	s.field("connection", "%s", hexBytes(id))
	s.field("packet number", "0x%s", hexBytes(number))
	s.say("%s, cid %s", printable(version), identity(id))
	c.take(gquicHash)
	gquicHello(s, c)
}

// gquicHello shows a client's hello, which is in the first stream of a packet:
// tags with where their values end, little-endian, then the values.
func gquicHello(s *sink, c *cursor) {
	kind := c.u8()
	if kind&0x80 == 0 {
		return
	}
	c.take(int(kind&3) + 1) // the stream
	if n := int(kind >> 2 & 7); n > 0 {
		c.take(n + 1) // the offset
	}
	if kind&0x20 != 0 {
		c.u16() // the length
	}
	tag, count := c.take(4), c.take(2)
	c.u16()
	if c.short || string(tag) != "CHLO" {
		return
	}
	s.say("client hello")
	n := min(int(binary.LittleEndian.Uint16(count)), 2*maxItems)
	table := c.take(8 * n)
	if c.short {
		return
	}
	from := uint32(0)
	for ; len(table) > 0; table = table[8:] {
		to := binary.LittleEndian.Uint32(table[4:])
		if to < from || to > uint32(len(c.b)) {
			return
		}
		if string(table[:4]) == "SNI\x00" {
			t := keep(&s.room.tls, TLS{Handshake: "client-hello", ALPN: s.room.tls.ALPN[:0]})
			t.ServerName = printable(c.b[from:to])
			s.frame.TLS = t
			s.field("server name", "%s", t.ServerName)
			s.sayText("server name ", t.ServerName)
		}
		from = to
	}
}
