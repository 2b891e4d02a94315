package decode

func (d *Decoder) ipv4(x data) {
	if !d.enter("ipv4") {
		return
	}
	c := read(x)
	first, tos, total, id, frag := c.u8(), c.u8(), int(c.u16()), c.u16(), c.u16()
	ttl, proto, check := c.u8(), c.u8(), c.u16()
	src, dst := c.ip4(), c.ip4()
	if d.ended(c) {
		return
	}
	header := int(first&15) * 4
	if d.verbose {
		d.field("version", "%d", first>>4)
		d.field("header length", "%d", header)
	}
	switch {
	case first>>4 != 4 || header < 20:
		d.bad("version %d, header of %d bytes", first>>4, header)
		return
	case total < header && total != 0:
		d.bad("total length %d below the header's", total)
		return
	}
	f := &d.frame
	f.Src, f.Dst = src, dst
	f.IP = &f.room.ip
	*f.IP = IP{
		Version: 4, Protocol: proto, TTL: ttl, Length: total, TOS: tos, ID: uint32(id), Checksum: ChecksumUnknown,
		DontFragment: frag&0x4000 != 0, MoreFragments: frag&0x2000 != 0, FragmentOffset: int(frag&0x1fff) * 8,
	}
	if len(x.b) >= header {
		f.IP.Checksum = d.verdict(sum(0, x.b[:header]) == 0xffff)
	}
	d.ipv4Fields(f.IP, frag>>13, check)
	d.ipv4Options(c.limit(header - 20))
	d.pseudo = pseudo{sum(0, x.b[12:20]), f.IP.MoreFragments || f.IP.FragmentOffset > 0}
	d.ipPayload(proto, d.ipv4Length(x, total).from(header))
}

// ipv4Length takes off what is behind the packet: the padding of Ethernet.
func (d *Decoder) ipv4Length(x data, total int) data {
	switch {
	case total == 0: // the NIC will cut it into segments
		d.frame.IP.Length = x.n
	case total > x.n:
		d.bad("total length %d, only %d there", total, x.n)
	default:
		return x.limit(total)
	}
	return x
}

func (d *Decoder) ipv4Fields(h *IP, bits, check uint16) {
	if !d.verbose {
		return
	}
	d.field("dscp", "%d", h.TOS>>2)
	d.field("ecn", "%d", h.TOS&3)
	d.field("length", "%d", h.Length)
	d.field("id", "%d", h.ID)
	d.field("flags", "[%s]", flagWords("none", uint64(bits), "MF", "DF", "reserved"))
	d.field("offset", "%d", h.FragmentOffset)
	d.field("ttl", "%d", h.TTL)
	d.field("protocol", "%d (%s)", h.Protocol, protoName(h.Protocol))
	d.field("checksum", "0x%04x (%s)", check, h.Checksum)
	d.field("source", "%s", d.frame.Src)
	d.field("destination", "%s", d.frame.Dst)
}

// ipPayload decodes what an IP packet carries.
func (d *Decoder) ipPayload(proto uint8, x data) {
	h := d.frame.IP
	if h.FragmentOffset > 0 {
		d.enter(protoName(proto))
		d.say("fragment of %d, offset %d, length %d", h.ID, h.FragmentOffset, x.n)
		if h.MoreFragments {
			d.more(", more follow")
		}
		return
	}
	if h.MoreFragments {
		d.say("first fragment of %d", h.ID)
	}
	switch proto {
	case 6:
		d.tcp(x)
	case 17:
		d.udp(x)
	default:
		d.ipOther(proto, x)
	}
}
