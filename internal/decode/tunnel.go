package decode

import "encoding/binary"

func gre(s *sink, x data) {
	if !s.enter("gre") {
		return
	}
	c := read(x)
	flags, proto := c.u16(), c.u16()
	if s.ended(c) {
		return
	}
	if s.verbose {
		s.field("flags", "0x%04x (%s)", flags, flagWords("none", uint64(flags>>11), "strict", "sequence", "key", "routing", "checksum"))
		s.field("version", "%d", flags&7)
		s.field("protocol", "0x%04x (%s)", proto, etherName(proto))
	}
	if flags&7 == 1 {
		grePPTP(s, flags, c)
		return
	}
	if flags&0xc000 != 0 {
		s.field("checksum", "0x%04x", c.u16())
		c.u16() // the offset of routing
	}
	var key *uint32
	if flags&0x2000 != 0 {
		k := c.u32()
		key = &k
		if s.verbose {
			s.field("key", "%d", k)
		}
	}
	sequence := flags&0x1000 != 0
	if sequence {
		s.field("sequence", "%d", c.u32())
	}
	if s.ended(c) {
		return
	}
	inner := s.protocols.grePayload(proto, sequence)
	if inner == nil { // no other packet is seen: the addresses stay
		greUnknown(s, proto, key, c.n)
		return
	}
	if s.tunnel("gre", key) {
		inner(s, c.data)
	}
}

func greUnknown(s *sink, proto uint16, key *uint32, n int) {
	if key != nil {
		s.sayNumber("key ", uint64(*key))
	}
	if proto == 0 {
		s.say("keepalive")
		return
	}
	s.say("%s, length %d", etherName(proto), n)
}

// grePPTP is version 1 of GRE: the key is a length and a call.
func grePPTP(s *sink, flags uint16, c *cursor) {
	n, call := int(c.u16()), uint32(c.u16())
	if flags&0x1000 != 0 {
		s.field("sequence", "%d", c.u32())
	}
	if flags&0x80 != 0 {
		s.field("acknowledgment", "%d", c.u32())
	}
	if s.ended(c) {
		return
	}
	s.field("call", "%d", call)
	s.field("payload length", "%d", n)
	if n == 0 {
		s.say("v1, call %d, acknowledgment", call)
		return
	}
	if s.tunnel("pptp", &call) {
		ppp(s, c.limit(n))
	}
}

// erspan is a mirrored frame behind a header of type II or III, which are
// versions 1 and 2 of it (draft-foschiano-erspan-03, 4.2 and 4.3).
func erspan(s *sink, x data) {
	if !s.enter("erspan") {
		return
	}
	c := read(x)
	vlan, id := c.u16(), c.u16()
	s.field("version", "%d", vlan>>12)
	s.field("vlan", "%d", vlan&0xfff)
	s.field("session", "%d", id&0x3ff)
	inner := protocol(ethernet)
	switch vlan >> 12 {
	case 1:
		c.u32() // the port
	case 2:
		inner = erspan3(s, c)
	default:
		if !s.ended(c) {
			s.say("version %d, length %d", vlan>>12, c.n)
		}
		return
	}
	if !s.ended(c) {
		inner(s, c.data)
	}
}

// erspan3 reads the rest of a header of type III, and returns the protocol of
// what was mirrored.
func erspan3(s *sink, c *cursor) protocol {
	time, group, bits := c.u32(), c.u16(), c.u16()
	if bits&1 != 0 {
		s.field("platform", "0x%016x", c.u64())
	}
	kind := bits >> 10 & 31
	s.field("time", "%d", time)
	s.field("security group", "%d", group)
	s.field("frame type", "%d", kind)
	s.field("hardware", "%d", bits>>4&63)
	s.field("direction", "%s", []string{"ingress", "egress"}[bits>>3&1])
	if kind == 2 {
		return ip
	}
	return ethernet
}

func etherIP(s *sink, x data) {
	if !s.enter("etherip") {
		return
	}
	c := read(x)
	version := c.u16()
	if s.ended(c) {
		return
	}
	s.field("version", "%d", version>>12)
	if s.tunnel("etherip", nil) {
		ethernet(s, c.data)
	}
}

// vxlan is VXLAN, or its generic extension where a bit says that the header has
// the type of the payload.
func vxlan(s *sink, x data) {
	if !s.enter("vxlan") {
		return
	}
	c := read(x)
	flags, _, next, id := c.u8(), c.u16(), c.u8(), c.u32()>>8
	if s.ended(c) {
		return
	}
	if s.verbose {
		s.field("flags", "0x%02x", flags)
		s.field("vni", "%d", id)
	}
	if flags&4 == 0 {
		next = gpeEthernet
	}
	gpe(s, "vxlan", id, next, c.data)
}

func geneve(s *sink, x data) {
	if !s.enter("geneve") {
		return
	}
	c := read(x)
	first, flags, proto, id := c.u8(), c.u8(), c.u16(), c.u32()>>8
	options := c.take(int(first&63) * 4)
	if s.ended(c) {
		return
	}
	s.field("version", "%d", first>>6)
	s.field("flags", "0x%02x", flags)
	s.field("protocol", "0x%04x (%s)", proto, etherName(proto))
	s.field("vni", "%d", id)
	s.field("options", "%d bytes", len(options))
	if s.protocols.etherTypes[proto] == nil { // as in GRE
		s.say("vni %d, %s, length %d", id, etherName(proto), c.n)
		return
	}
	if s.tunnel("geneve", &id) {
		etherType(s, proto, c.data)
	}
}

var gtpTypes = map[uint8]string{
	1: "echo request", 2: "echo response", 26: "error indication", 31: "supported extension headers", 254: "end marker", 255: "g-pdu",
	16: "create pdp request", 17: "create pdp response", 18: "update pdp request", 19: "update pdp response", 20: "delete pdp request",
	21: "delete pdp response", 32: "create session request", 33: "create session response", 34: "modify bearer request",
	35: "modify bearer response", 36: "delete session request", 37: "delete session response",
}

// gtp is GTP version 1 of users, or the control protocol in versions 1 and 2.
func gtp(s *sink, x data) {
	if !s.enter("gtp") {
		return
	}
	c := read(x)
	flags, kind, n := c.u8(), c.u8(), c.u16()
	name, ok := gtpTypes[kind]
	if !ok {
		name = "type " + number(int(kind))
	}
	var id uint32
	if flags>>5 == 1 || flags&8 != 0 {
		id = c.u32()
	}
	if flags>>5 == 1 && flags&7 != 0 {
		gtpExtensions(s, flags, c)
	}
	if s.ended(c) {
		return
	}
	s.field("version", "%d", flags>>5)
	s.field("type", "%d", kind)
	s.field("length", "%d", n)
	s.field("teid", "0x%08x", id)
	if kind == 255 && flags>>5 == 1 {
		if s.tunnel("gtp", &id) {
			ip(s, c.data)
		}
		return
	}
	s.say("v%d %s, teid 0x%08x", flags>>5, name, id)
}

func gtpExtensions(s *sink, flags uint8, c *cursor) {
	seq := c.u16()
	c.u8()
	next := c.u8()
	s.field("sequence", "%d", seq)
	for i := 0; flags&4 != 0 && next != 0 && i < maxItems && !c.short; i++ {
		s.field("extension", "0x%02x", next)
		n := int(c.u8())*4 - 2
		if n < 0 {
			s.bad("gtp extension of no length")
			return
		}
		c.take(n)
		next = c.u8()
	}
}

func l2tp(s *sink, x data) {
	if !s.enter("l2tp") {
		return
	}
	c := read(x)
	flags := c.u16()
	if flags&15 != 2 {
		if !s.ended(c) {
			s.say("version %d", flags&15)
		}
		return
	}
	if flags&0x4000 != 0 {
		s.field("length", "%d", c.u16())
	}
	tunnel, session := c.u16(), c.u16()
	if flags&0x0800 != 0 {
		s.field("sequence", "%d", c.u16())
		s.field("expected", "%d", c.u16())
	}
	if flags&0x0200 != 0 {
		c.take(int(c.u16()))
	}
	if s.ended(c) {
		return
	}
	s.field("flags", "0x%04x", flags)
	s.field("tunnel", "%d", tunnel)
	s.field("session", "%d", session)
	if flags&0x8000 != 0 {
		l2tpControl(s, tunnel, session, c)
		return
	}
	id := uint32(session)
	if s.tunnel("l2tp", &id) {
		ppp(s, c.data)
	}
}

var l2tpTypes = []string{1: "SCCRQ", 2: "SCCRP", 3: "SCCCN", 4: "StopCCN", 6: "HELLO", 7: "OCRQ", 8: "OCRP", 9: "OCCN", 10: "ICRQ", 11: "ICRP", 12: "ICCN", 14: "CDN", 15: "WEN", 16: "SLI"}

func l2tpControl(s *sink, tunnel, session uint16, c *cursor) {
	s.say("control, tunnel %d, session %d", tunnel, session)
	if c.n == 0 {
		s.say("ZLB")
		return
	}
	avp := c.take(8)
	if s.ended(c) {
		return
	}
	s.sayText(pick(l2tpTypes, int(binary.BigEndian.Uint16(avp[6:]))))
}

func l2tp3(s *sink, x data) {
	if !s.enter("l2tp") {
		return
	}
	c := read(x)
	session := c.u32()
	if s.ended(c) {
		return
	}
	s.field("session", "%d", session)
	s.say("v3, session %d, length %d", session, c.n)
}
