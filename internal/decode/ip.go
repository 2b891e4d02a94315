package decode

func ipv4(s *sink, x data) {
	if !s.enter("ipv4") {
		return
	}
	c := read(x)
	first, tos, total, id, frag := c.u8(), c.u8(), int(c.u16()), c.u16(), c.u16()
	ttl, proto, check := c.u8(), c.u8(), c.u16()
	src, dst := c.ip4(), c.ip4()
	if s.ended(c) {
		return
	}
	header := int(first&15) * 4
	if s.verbose {
		s.field("version", "%d", first>>4)
		s.field("header length", "%d", header)
	}
	switch {
	case first>>4 != 4 || header < 20:
		s.bad("version %d, header of %d bytes", first>>4, header)
		return
	case total < header && total != 0:
		s.bad("total length %d below the header's", total)
		return
	}
	f := s.frame
	f.Src, f.Dst = src, dst
	f.IP = &s.room.ip
	*f.IP = IP{
		Version: 4, Protocol: proto, TTL: ttl, Length: total, TOS: tos, ID: uint32(id), Checksum: ChecksumUnknown,
		DontFragment: frag&0x4000 != 0, MoreFragments: frag&0x2000 != 0, FragmentOffset: int(frag&0x1fff) * 8,
	}
	if len(x.b) >= header {
		f.IP.Checksum = s.verdict(sum(0, x.b[:header]) == 0xffff)
	}
	ipv4Fields(s, f.IP, frag>>13, check)
	ipv4Options(s, c.limit(header-20))
	s.pseudo = pseudo{sum(0, x.b[12:20]), f.IP.MoreFragments || f.IP.FragmentOffset > 0}
	ipPayload(s, proto, ipv4Length(s, x, total).from(header))
}

// ipv4Length takes off what is behind the packet: the padding of Ethernet.
func ipv4Length(s *sink, x data, total int) data {
	switch {
	case total == 0: // the NIC will cut it into segments
		s.frame.IP.Length = x.n
	case total > x.n:
		s.bad("total length %d, only %d there", total, x.n)
	default:
		return x.limit(total)
	}
	return x
}

func ipv4Fields(s *sink, h *IP, bits, check uint16) {
	if !s.verbose {
		return
	}
	s.field("dscp", "%d", h.TOS>>2)
	s.field("ecn", "%d", h.TOS&3)
	s.field("length", "%d", h.Length)
	s.field("id", "%d", h.ID)
	s.field("flags", "[%s]", flagWords("none", uint64(bits), "MF", "DF", "reserved"))
	s.field("offset", "%d", h.FragmentOffset)
	s.field("ttl", "%d", h.TTL)
	s.field("protocol", "%d (%s)", h.Protocol, protoName(h.Protocol))
	s.field("checksum", "0x%04x (%s)", check, h.Checksum)
	s.field("source", "%s", s.frame.Src)
	s.field("destination", "%s", s.frame.Dst)
}

// ipPayload decodes what an IP packet carries.
func ipPayload(s *sink, proto uint8, x data) {
	h := s.frame.IP
	if h.FragmentOffset > 0 {
		s.enter(protoName(proto))
		s.say("fragment of %d, offset %d, length %d", h.ID, h.FragmentOffset, x.n)
		if h.MoreFragments {
			s.more(", more follow")
		}
		return
	}
	if h.MoreFragments {
		s.say("first fragment of %d", h.ID)
	}
	ipProtocol(s, proto, x)
}
