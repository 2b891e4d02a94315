package decode

import "fmt"

func mpls(s *sink, x data) {
	if !s.enter("mpls") {
		return
	}
	f := s.frame
	c := read(x)
	for {
		if len(f.MPLS) >= maxItems {
			s.bad("more than %d labels", maxItems)
			return
		}
		e := c.u32()
		if s.ended(c) {
			return
		}
		f.MPLS = append(f.MPLS, e>>12)
		s.field("label", "%d class %d bottom %d ttl %d", e>>12, e>>9&7, e>>8&1, e&0xff)
		if e&0x100 != 0 {
			break
		}
	}
	mplsPayload(s, c.data)
}

// mplsPayload guesses what is behind the last label by its first bits: MPLS has
// no field for it.
func mplsPayload(s *sink, x data) {
	if len(x.b) == 0 {
		s.sayNumber("length ", uint64(x.n))
		return
	}
	switch x.b[0] >> 4 {
	case 4:
		ipv4(s, x)
	case 6:
		ipv6(s, x)
	case 0: // a pseudowire's control word
		if s.tunnel("pseudowire", nil) {
			ethernet(s, x.from(4))
		}
	case 1:
		named(s, "pw-ach", x)
	default:
		s.sayNumber("length ", uint64(x.n))
	}
}

// pppoe is a session: PPP without HDLC's address and control.
func pppoe(s *sink, x data) {
	_, session, rest, ok := pppoeHeader(s, x)
	if id := uint32(session); ok && s.tunnel("pppoe", &id) {
		pppProto(s, read(rest))
	}
}

func pppoeDiscovery(s *sink, x data) {
	if code, session, rest, ok := pppoeHeader(s, x); ok {
		pppoeTags(s, code, session, read(rest))
	}
}

func pppoeHeader(s *sink, x data) (code uint8, session uint16, rest data, ok bool) {
	if !s.enter("pppoe") {
		return 0, 0, data{}, false
	}
	c := read(x)
	version := c.u8()
	code, session = c.u8(), c.u16()
	n := int(c.u16())
	if s.ended(c) {
		return 0, 0, data{}, false
	}
	s.field("version", "%d", version>>4)
	s.field("type", "%d", version&15)
	s.field("code", "0x%02x", code)
	s.field("session", "%d", session)
	s.field("length", "%d", n)
	return code, session, c.limit(n), true
}

var pppoeCodes = map[uint8]string{0x09: "PADI", 0x07: "PADO", 0x19: "PADR", 0x65: "PADS", 0xa7: "PADT"}

func pppoeTags(s *sink, code uint8, session uint16, c *cursor) {
	name, ok := pppoeCodes[code]
	if !ok {
		name = fmt.Sprintf("code 0x%02x", code)
	}
	s.say("%s, session %d", name, session)
	for i := 0; c.n > 0 && i < maxItems; i++ {
		tag := c.u16()
		b := c.take(int(c.u16()))
		if s.ended(c) || tag == 0 {
			return
		}
		switch tag {
		case 0x0101:
			s.field("service", "%s", printable(b))
			s.say(`service "%s"`, printable(b))
		case 0x0102:
			s.field("concentrator", "%s", printable(b))
			s.sayText("concentrator ", printable(b))
		default:
			s.field("tag", "0x%04x 0x%s", tag, hexBytes(b))
		}
	}
}

// ppp is a frame of PPP, with or without HDLC's address and control.
func ppp(s *sink, x data) {
	if !s.enter("ppp") {
		return
	}
	if len(x.b) >= 2 && x.b[0] == 0xff && x.b[1] == 3 {
		x = x.from(2)
	}
	pppProto(s, read(x))
}

func pppProto(s *sink, c *cursor) {
	proto := uint16(c.u8())
	if proto&1 == 0 {
		proto = proto<<8 | uint16(c.u8())
	}
	if s.ended(c) {
		return
	}
	s.field("protocol", "0x%04x", proto)
	pppPayload(s, proto, c.data)
}

var (
	lcpCodes = []string{
		1: "conf-request", 2: "conf-ack", 3: "conf-nak", 4: "conf-reject", 5: "term-request", 6: "term-ack", 7: "code-reject",
		8: "protocol-reject", 9: "echo-request", 10: "echo-reply", 11: "discard-request",
	}
	papCodes  = []string{1: "auth-request", 2: "auth-ack", 3: "auth-nak"}
	chapCodes = []string{1: "challenge", 2: "response", 3: "success", 4: "failure"}
)

// pppControl is one of PPP's control protocols, which share a header.
func pppControl(name string) protocol {
	codes := lcpCodes
	switch name {
	case "pap":
		codes = papCodes
	case "chap":
		codes = chapCodes
	}
	return func(s *sink, x data) {
		if !s.enter(name) {
			return
		}
		c := read(x)
		code, id, n := c.u8(), c.u8(), c.u16()
		if s.ended(c) {
			return
		}
		s.field("code", "%d", code)
		s.field("id", "%d", id)
		s.field("length", "%d", n)
		s.say("%s, id %d, length %d", pick(codes, int(code)), id, n)
	}
}
