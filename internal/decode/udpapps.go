package decode

import (
	"encoding/binary"
	"fmt"
	"time"
)

// teredo is IPv6 behind an optional authentication and origin.
func teredo(s *sink, x data) {
	if !s.enter("teredo") {
		return
	}
	c := read(x)
	if len(c.b) >= 4 && c.b[0] == 0 && c.b[1] == 1 {
		c.u16()
		n := int(c.u8()) + int(c.u8())
		c.take(n + 9)
	}
	if len(c.b) >= 8 && c.b[0] == 0 && c.b[1] == 0 {
		c.take(8)
	}
	if s.ended(c) {
		return
	}
	if s.tunnel("teredo", nil) {
		ip(s, c.data)
	}
}

var ntpModes = []string{"reserved", "symmetric active", "symmetric passive", "client", "server", "broadcast", "control", "private"}

func ntp(s *sink, x data) {
	if !s.enter("ntp") {
		return
	}
	c := read(x)
	first := c.u8()
	mode := int(first & 7)
	if mode >= 6 {
		if !s.ended(c) {
			s.say("v%d %s", first>>3&7, ntpModes[mode])
		}
		return
	}
	stratum, poll, precision := c.u8(), int8(c.u8()), int8(c.u8())
	delay, dispersion, id := c.u32(), c.u32(), c.take(4)
	reference, origin, receive, transmit := c.u64(), c.u64(), c.u64(), c.u64()
	if s.ended(c) {
		return
	}
	source := hexBytes(id)
	if stratum < 2 {
		source = printable(cString(id))
	}
	s.field("leap", "%d", first>>6)
	s.field("version", "%d", first>>3&7)
	s.field("mode", "%d (%s)", mode, ntpModes[mode])
	s.field("stratum", "%d", stratum)
	s.field("poll", "%d", poll)
	s.field("precision", "%d", precision)
	s.field("root delay", "%.6fs", float64(delay)/65536)
	s.field("root dispersion", "%.6fs", float64(dispersion)/65536)
	s.field("reference", "%s", source)
	for i, t := range []uint64{reference, origin, receive, transmit} {
		s.field([]string{"updated", "origin", "receive", "transmit"}[i], "%s", ntpTime(t))
	}
	s.say("v%d %s, stratum %d, poll %d, transmit %s", first>>3&7, ntpModes[mode], stratum, poll, ntpTime(transmit))
}

// ntpTime is a time of NTP's first era, or of its second.
func ntpTime(t uint64) string {
	if t == 0 {
		return "none"
	}
	sec := int64(t>>32) - 2208988800
	if t>>63 == 0 {
		sec += 1 << 32
	}
	return time.Unix(sec, int64(t&0xffffffff*1e9>>32)).UTC().Format("2006-01-02T15:04:05.000000Z")
}

var tftpOps = []string{1: "read", 2: "write", 3: "data", 4: "ack", 5: "error", 6: "option ack"}

func tftp(s *sink, x data) {
	if !s.enter("tftp") {
		return
	}
	c := read(x)
	op := c.u16()
	if s.ended(c) {
		return
	}
	s.sayText(pick(tftpOps, int(op)))
	switch op {
	case 1, 2:
		file := cString(c.b)
		c.take(len(file) + 1)
		s.say("%s %s", printable(file), printable(cString(c.b)))
	case 3, 4:
		if block := c.u16(); !s.ended(c) {
			s.say("block %d", block)
		}
	case 5:
		if code := c.u16(); !s.ended(c) {
			s.say("%d %s", code, printable(cString(c.b)))
		}
	}
}

var ikeExchanges = []string{
	2: "identity protection", 4: "aggressive", 5: "informational", 32: "quick", 34: "ike_sa_init", 35: "ike_auth", 36: "create_child_sa", 37: "informational",
}

// ikeNAT is IKE at its second port, which it shares with ESP: that begins with
// no zeroes.
func ikeNAT(s *sink, x data) {
	if x.n == 1 {
		named(s, "nat-keepalive", x)
		return
	}
	c := read(x)
	if marker := c.u32(); marker != 0 || c.short {
		esp(s, x)
		return
	}
	ike(s, c.data)
}

func ike(s *sink, x data) {
	if !s.enter("isakmp") {
		return
	}
	c := read(x)
	initiator, responder := c.u64(), c.u64()
	next, version, exchange, flags, id, n := c.u8(), c.u8(), c.u8(), c.u8(), c.u32(), c.u32()
	if s.ended(c) {
		return
	}
	s.field("initiator", "%016x", initiator)
	s.field("responder", "%016x", responder)
	s.field("next payload", "%d", next)
	s.field("flags", "0x%02x", flags)
	s.field("length", "%d", n)
	s.say("v%d.%d %s, spi %016x %016x, id %d", version>>4, version&15, pick(ikeExchanges, int(exchange)), initiator, responder, id)
}

var radiusCodes = []string{
	1: "access-request", 2: "access-accept", 3: "access-reject", 4: "accounting-request", 5: "accounting-response", 11: "access-challenge",
	12: "status-server", 13: "status-client", 40: "disconnect-request", 41: "disconnect-ack", 42: "disconnect-nak", 43: "coa-request",
	44: "coa-ack", 45: "coa-nak",
}

func radius(s *sink, x data) {
	if !s.enter("radius") {
		return
	}
	c := read(x)
	code, id, n := c.u8(), c.u8(), c.u16()
	c.take(16)
	if s.ended(c) {
		return
	}
	s.field("length", "%d", n)
	s.say("%s, id %d", pick(radiusCodes, int(code)), id)
	for i := 0; c.n > 0 && i < maxItems; i++ {
		kind, size := c.u8(), int(c.u8())
		if !c.short && size < 2 {
			s.bad("radius attribute of %d bytes", size)
			return
		}
		b := c.take(size - 2)
		if s.ended(c) {
			return
		}
		switch kind {
		case 1:
			s.field("user", "%s", printable(b))
			s.sayText("user ", printable(b))
		case 2:
			s.field("password", "%d bytes", len(b))
		default:
			s.field("attribute", "%d 0x%s", kind, hexBytes(b))
		}
	}
}

var stunMethods = []string{1: "binding", 3: "allocate", 4: "refresh", 6: "send", 7: "data", 8: "create permission", 9: "channel bind"}

// isSTUN says whether a datagram has the magic number of RFC 5389.
func isSTUN(x data) bool {
	return len(x.b) >= 20 && x.b[0] < 64 && binary.BigEndian.Uint32(x.b[4:]) == 0x2112a442
}

func stun(s *sink, x data) {
	if !s.enter("stun") {
		return
	}
	c := read(x)
	kind, n := c.u16(), c.u16()
	c.u32()
	id := c.take(12)
	if s.ended(c) {
		return
	}
	class := []string{"request", "indication", "success", "error"}[kind>>7&2|kind>>4&1]
	method := kind&15 | kind>>1&0x70 | kind>>2&0xf80
	s.field("length", "%d", n)
	s.say("%s %s, id %s", pick(stunMethods, int(method)), class, hexBytes(id))
}

func coap(s *sink, x data) {
	if !s.enter("coap") {
		return
	}
	c := read(x)
	first, code, id := c.u8(), c.u8(), c.u16()
	token := c.take(int(first & 15))
	if s.ended(c) {
		return
	}
	kind := []string{"confirmable", "non-confirmable", "acknowledgement", "reset"}[first>>4&3]
	name := fmt.Sprintf("%d.%02d", code>>5, code&31)
	if code < 8 {
		name = []string{"empty", "GET", "POST", "PUT", "DELETE", "FETCH", "PATCH", "iPATCH"}[code]
	}
	s.field("token", "%s", hexBytes(token))
	s.say("v%d %s %s, id %d", first>>6, kind, name, id)
}
