package decode

// llc is an 802.2 frame.
func llc(s *sink, x data) {
	if !s.enter("llc") {
		return
	}
	c := read(x)
	dsap, ssap := c.u8(), c.u8()
	control := uint16(c.u8())
	if control&3 != 3 {
		control = control<<8 | uint16(c.u8())
	}
	if s.ended(c) {
		return
	}
	s.field("dsap", "0x%02x", dsap)
	s.field("ssap", "0x%02x", ssap)
	s.field("control", "0x%02x", control)
	switch {
	case dsap == 0xaa && ssap == 0xaa && control == 3:
		snap(s, c)
	case dsap == 0xff && ssap == 0xff, dsap == 0xe0:
		named(s, "ipx", x)
	case dsap == 0x42 && control == 3:
		stp(s, c.data)
	case dsap == 0xf0:
		named(s, "netbeui", c.data)
	case dsap == 0xfe && control == 3:
		osi(s, c.data)
	case dsap == 0x06 && control == 3:
		ip(s, c.data)
	default:
		s.say("dsap 0x%02x, ssap 0x%02x, control 0x%02x, length %d", dsap, ssap, control, x.n)
	}
}

func snap(s *sink, c *cursor) {
	oui, t := c.u24(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("oui", "%06x", oui)
	s.field("protocol", "0x%04x", t)
	switch {
	case oui == 0 || oui == 0x0000f8:
		s.frame.EtherType = t
		etherType(s, t, c.data)
	case oui == 0x00000c && t == 0x2000:
		cdp(s, c.data)
	case oui == 0x00000c && t == 0x010b:
		stp(s, c.data)
	case oui == 0x00000c:
		named(s, pickCisco(t), c.data)
	case oui == 0x080007 && t == 0x809b:
		named(s, "appletalk", c.data)
	case oui == 0x0080c2 && (t == 1 || t == 7): // bridged Ethernet, with its checksum and without
		if s.tunnel("bridged", nil) {
			ethernet(s, c.data)
		}
	default:
		s.say("oui %06x, protocol 0x%04x, length %d", oui, t, c.n)
	}
}

func pickCisco(t uint16) string {
	switch t {
	case 0x0104:
		return "pagp"
	case 0x0111:
		return "udld"
	case 0x2003:
		return "vtp"
	case 0x2004:
		return "dtp"
	}
	return "cisco"
}

func stp(s *sink, x data) {
	if !s.enter("stp") {
		return
	}
	c := read(x)
	proto, version, kind := c.u16(), c.u8(), c.u8()
	if s.ended(c) {
		return
	}
	s.field("protocol", "%d", proto)
	s.field("version", "%d", version)
	s.field("type", "0x%02x", kind)
	name := pick([]string{"config", 2: "rstp", 3: "mstp", 4: "spt"}, int(version))
	if kind == 0x80 {
		s.say("topology change")
		return
	}
	flags, rootPrio, root, cost := c.u8(), c.u16(), c.mac(), c.u32()
	prio, bridge, port := c.u16(), c.mac(), c.u16()
	if s.ended(c) {
		return
	}
	role := ""
	if version >= 2 {
		role = " " + []string{"master", "alternate", "root", "designated"}[flags>>2&3]
	}
	words := flagWords("none", uint64(flags), "topology-change", "proposal", "", "", "learn", "forward", "agreement", "topology-change-ack")
	s.say("%s%s, flags [%s], root %04x.%s, cost %d, bridge %04x.%s, port 0x%04x", name, role, words, rootPrio, root, cost, prio, bridge, port)
	age, maxAge, hello, delay := c.u16(), c.u16(), c.u16(), c.u16()
	if c.short {
		return
	}
	s.field("flags", "0x%02x (%s)", flags, words)
	s.field("root", "%04x.%s", rootPrio, root)
	s.field("cost", "%d", cost)
	s.field("bridge", "%04x.%s", prio, bridge)
	s.field("port", "0x%04x", port)
	s.field("age", "%ds", age>>8)
	s.field("max age", "%ds", maxAge>>8)
	s.field("hello", "%ds", hello>>8)
	s.field("forward delay", "%ds", delay>>8)
}

var isisNames = []string{
	15: "L1 lan hello", 16: "L2 lan hello", 17: "p2p hello", 18: "L1 lsp", 20: "L2 lsp", 24: "L1 csnp", 25: "L2 csnp", 26: "L1 psnp", 27: "L2 psnp",
}

// iso is one of OSI's protocols, by its first byte.
func osi(s *sink, x data) {
	c := read(x)
	id := c.u8()
	name := "iso"
	switch id {
	case 0x81:
		name = "clnp"
	case 0x82:
		name = "es-is"
	case 0x83:
		name = "is-is"
	}
	if !s.enter(name) || s.ended(c) {
		return
	}
	if id != 0x83 {
		s.sayNumber("length ", uint64(x.n))
		return
	}
	n, version, idLen, pdu := c.u8(), c.u8(), c.u8(), c.u8()&31
	if s.ended(c) {
		return
	}
	s.field("header length", "%d", n)
	s.field("version", "%d", version)
	s.field("id length", "%d", idLen)
	s.sayText(pick(isisNames, int(pdu)))
	c.take(3)
	isisSource(s, pdu, c)
	s.sayNumber("length ", uint64(x.n))
}

// isisSource shows the system that a message comes from.
func isisSource(s *sink, pdu uint8, c *cursor) {
	if pdu == 18 || pdu == 20 {
		c.u32() // length, lifetime
		id := c.take(8)
		seq := c.u32()
		if s.ended(c) {
			return
		}
		s.say("lsp %s, seq 0x%08x", hexBytes(id), seq)
	} else {
		if pdu < 18 {
			c.u8() // the circuit's type
		}
		if pdu > 20 {
			c.u16()
		}
		source := c.take(6)
		if s.ended(c) {
			return
		}
		s.sayText("from ", hexBytes(source))
	}
}
