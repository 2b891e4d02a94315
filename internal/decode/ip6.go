package decode

import (
	"encoding/binary"
	"net/netip"
)

func ipv6(s *sink, x data) {
	if !s.enter("ipv6") {
		return
	}
	c := read(x)
	first, n, next, hops := c.u32(), int(c.u16()), c.u8(), c.u8()
	src, dst := c.ip6(), c.ip6()
	if s.ended(c) {
		return
	}
	f := s.frame
	f.Src, f.Dst = src, dst
	f.IP = &s.room.ip
	*f.IP = IP{Version: 6, Protocol: next, TTL: hops, Length: 40 + n, TOS: uint8(first >> 20), FlowLabel: first & 0xfffff}
	if s.verbose {
		s.field("version", "%d", first>>28)
		s.field("traffic class", "0x%02x", f.IP.TOS)
		s.field("flow label", "0x%05x", f.IP.FlowLabel)
		s.field("payload length", "%d", n)
		s.field("next header", "%d (%s)", next, protoName(next))
		s.field("hop limit", "%d", hops)
		s.field("source", "%s", src)
		s.field("destination", "%s", dst)
	}
	if first>>28 != 6 {
		s.bad("version %d in an IPv6 header", first>>28)
		return
	}
	s.pseudo = pseudo{addresses: sum(0, x.b[8:40])}
	extensions(s, next, ipv6Length(s, c.data, n, next))
}

// ipv6Length takes off what is behind the packet.
func ipv6Length(s *sink, x data, n int, next uint8) data {
	switch {
	case n == 0 && next == 0, n == 0 && x.n > 0xffff: // a jumbogram
		s.frame.IP.Length = 40 + x.n
	case n > x.n:
		s.bad("payload length %d, only %d there", n, x.n)
	default:
		return x.limit(n)
	}
	return x
}

// extensions decodes the headers between that of IPv6 and the payload.
func extensions(s *sink, next uint8, x data) {
	for {
		s.frame.IP.Protocol = next
		ok := false
		switch next {
		case 0, 60:
			next, x, ok = optionsHeader(s, next, x)
		case 43:
			next, x, ok = routingHeader(s, x)
		case 44:
			next, x, ok = fragmentHeader(s, x)
		case 135, 139, 140:
			next, x, ok = otherExtension(s, next, x)
		default:
			ipPayload(s, next, x)
			return
		}
		if !ok {
			return
		}
	}
}

// extension reads the two bytes that most extension headers begin with, and
// returns the rest of the header and what is behind it.
func extensionHeader(s *sink, name string, x data) (next uint8, rest, after data, ok bool) {
	if !s.enter(name) {
		return 0, data{}, data{}, false
	}
	c := read(x)
	next = c.u8()
	n := int(c.u8())*8 + 8
	c.take(n - 2)
	if s.ended(c) {
		return 0, data{}, data{}, false
	}
	s.field("next header", "%d (%s)", next, protoName(next))
	s.field("length", "%d", n)
	return next, x.limit(n).from(2), x.from(n), true
}

func otherExtension(s *sink, proto uint8, x data) (uint8, data, bool) {
	next, rest, after, ok := extensionHeader(s, protoName(proto), x)
	if ok {
		s.field("data", "%s", hexBytes(rest.b))
		s.sayText(protoName(proto))
	}
	return next, after, ok
}

func optionsHeader(s *sink, proto uint8, x data) (uint8, data, bool) {
	next, rest, after, ok := extensionHeader(s, protoName(proto), x)
	if !ok {
		return 0, after, false
	}
	c := read(rest)
	for i := 0; len(c.b) > 0 && i < maxItems; i++ {
		kind := c.u8()
		if kind == 0 {
			continue
		}
		b := c.take(int(c.u8()))
		if c.short {
			s.bad("option %d of %s ends behind it", kind, protoName(proto))
			break
		}
		ipv6Option(s, kind, b)
	}
	return next, after, true
}

func ipv6Option(s *sink, kind uint8, b []byte) {
	switch {
	case kind == 1:
		s.field("padding", "%d", len(b)+2)
	case kind == 5 && len(b) == 2:
		s.field("router alert", "%d", binary.BigEndian.Uint16(b))
	case kind == 0xc2 && len(b) == 4:
		s.field("jumbo payload", "%d", binary.BigEndian.Uint32(b))
	case kind == 0xc9 && len(b) == 16:
		s.field("home address", "%s", netip.AddrFrom16([16]byte(b)))
	default:
		s.field("option", "%d 0x%s", kind, hexBytes(b))
	}
}

// routing: the checksums behind it are over the last address of the route.
func routingHeader(s *sink, x data) (uint8, data, bool) {
	next, rest, after, ok := extensionHeader(s, "routing", x)
	if !ok {
		return 0, after, false
	}
	c := read(rest)
	kind, left := c.u8(), c.u8()
	s.field("type", "%d", kind)
	s.field("segments left", "%d", left)
	s.say("routing type %d, segments left %d", kind, left)
	c.u32()
	n := len(c.b) / 16
	if left == 0 || n == 0 || kind != 0 && kind != 2 && kind != 4 {
		return next, after, true
	}
	for i := range min(n, maxItems) {
		s.field("address", "%s", netip.AddrFrom16([16]byte(c.b[16*i:])))
	}
	last := c.b[16*(n-1):]
	if kind == 4 { // segment routing lists them backwards
		last = c.b
	}
	src := s.frame.Src.As16()
	s.pseudo.addresses = sum(sum(0, src[:]), last[:16])
	return next, after, true
}

func fragmentHeader(s *sink, x data) (uint8, data, bool) {
	if !s.enter("fragment") {
		return 0, data{}, false
	}
	c := read(x)
	next := c.u8()
	c.u8()
	offset, id := c.u16(), c.u32()
	if s.ended(c) {
		return 0, data{}, false
	}
	h := s.frame.IP
	h.ID, h.MoreFragments, h.FragmentOffset = id, offset&1 != 0, int(offset&^7)
	s.pseudo.fragment = h.MoreFragments || h.FragmentOffset > 0
	s.field("next header", "%d (%s)", next, protoName(next))
	s.field("offset", "%d", h.FragmentOffset)
	s.field("more", "%d", offset&1)
	s.field("id", "0x%08x", id)
	if h.FragmentOffset > 0 {
		h.Protocol = next
		ipPayload(s, next, c.data)
		return 0, data{}, false
	}
	return next, c.data, true
}
