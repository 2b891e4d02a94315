package decode

// hdlc is PPP in HDLC's framing (RFC 1662), or Cisco's HDLC, which begins with
// another address (https://www.tcpdump.org/linktypes/LINKTYPE_PPP_HDLC.html).
func hdlc(s *sink, x data) {
	if len(x.b) > 0 && (x.b[0] == 0x0f || x.b[0] == 0x8f) {
		ciscoHDLC(s, x)
		return
	}
	ppp(s, x)
}

// pppoeAny is a packet of a session, whose code is 0, or of discovery (RFC 2516, 4).
func pppoeAny(s *sink, x data) {
	if len(x.b) > 1 && x.b[1] != 0 {
		pppoeDiscovery(s, x)
		return
	}
	pppoe(s, x)
}

// ciscoHDLC has an address, a zero and an Ethernet type (RFC 1547, 4.3.1), but
// that Cisco has types of its own.
func ciscoHDLC(s *sink, x data) {
	if !s.enter("chdlc") {
		return
	}
	c := read(x)
	address, control, t := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("address", "0x%02x", address)
	s.field("control", "0x%02x", control)
	s.field("type", "0x%04x", t)
	switch t {
	case 0x8035: // not RARP's
		slarp(s, c.data)
	case 0x2000:
		cdp(s, c.data)
	case 0xfefe:
		if len(c.b) > 1 && c.b[0]&0xf0 != 0x80 { // a byte that some put there for alignment
			c.u8()
		}
		osi(s, c.data)
	default:
		s.frame.EtherType = t
		etherType(s, t, c.data)
	}
}

// slarp is Cisco's protocol of addresses and keepalives on serial lines.
func slarp(s *sink, x data) {
	if !s.enter("slarp") {
		return
	}
	c := read(x)
	code := c.u32()
	if s.ended(c) {
		return
	}
	switch code {
	case 0, 1:
		addr, mask := c.ip4(), c.ip4()
		if s.ended(c) {
			return
		}
		s.say("%s, address %s, mask %s", pick([]string{"request", "reply"}, int(code)), addr, mask)
	case 2:
		mine, yours := c.u32(), c.u32()
		if s.ended(c) {
			return
		}
		s.say("keepalive, mine %d, yours %d", mine, yours)
	default:
		s.say("code %d", code)
	}
}

// frameRelay has an address of two to four bytes (Q.922), then a control byte
// and a number of the network's protocol (RFC 2427), or, with Cisco's
// encapsulation, an Ethernet type.
func frameRelay(s *sink, x data) {
	if !s.enter("frame-relay") {
		return
	}
	c := read(x)
	dlci := q922(s, c)
	if s.ended(c) {
		return
	}
	s.field("dlci", "%d", dlci)
	s.say("dlci %d", dlci)
	if c.left(2) && c.b[0] != 3 && dlci != 0 {
		t := c.u16()
		s.field("type", "0x%04x", t)
		s.frame.EtherType = t
		etherType(s, t, c.data)
		return
	}
	control := c.u8()
	nlpid := c.u8()
	if nlpid == 0 && !c.short { // a byte that aligns
		nlpid = c.u8()
	}
	if s.ended(c) {
		return
	}
	s.field("control", "0x%02x", control)
	s.field("nlpid", "0x%02x", nlpid)
	switch nlpid {
	case 0x08: // what the line itself says
		named(s, "q.933", c.data)
	case 0x80:
		snap(s, c)
	case 0x81, 0x82, 0x83: // it is the first byte of the protocol itself
		osi(s, data{x.b[len(x.b)-len(c.b)-1:], c.n + 1})
	case 0x8e:
		ipv6(s, c.data)
	case 0xcc:
		ipv4(s, c.data)
	case 0xcf:
		ppp(s, c.data)
	default:
		s.say("nlpid 0x%02x, length %d", nlpid, c.n)
	}
}

// q922 reads an address: six bits of the DLCI, then four with the congestion
// bits, then seven, then six. The lowest bit of each byte says whether it is the
// last.
func q922(s *sink, c *cursor) uint32 {
	first, second := c.u8(), c.u8()
	dlci := uint32(first>>2)<<4 | uint32(second>>4)
	s.field("bits", "%s", flagWords("none", uint64(second>>1&7), "discard-eligible", "backward-congestion", "forward-congestion"))
	last := second
	if last&1 == 0 {
		if last = c.u8(); last&1 == 0 {
			dlci = dlci<<7 | uint32(last>>1)
			last = c.u8()
		}
		dlci = dlci<<6 | uint32(last>>2)
	}
	if !c.short && (first&1 != 0 || last&1 == 0) {
		s.bad("address 0x%02x%02x of Q.922", first, second)
	}
	return dlci
}
