package filter

import (
	"encoding/binary"
)

// linkProto returns the condition that the link layer carries the protocol p: an Ethernet type or
// an 802.2 service access point.
func (g *generator) linkProto(p uint32) *cond {
	if g.labels > 0 {
		return g.mplsProto(p)
	}
	typ := func() *value { return g.bytes(g.linkType, 0, 2) }
	switch g.link {
	case LinkEthernet:
		return g.etherProto(p)
	case LinkSLL:
		return g.sllProto(p)
	case LinkPPP:
		return g.equal(typ(), pppProto(p))
	case LinkSLL2:
		return g.equal(typ(), p)
	case LinkRaw:
		switch p {
		case etherIP:
			return g.masked(g.bytes(g.linkHdr, 0, 1), 0xf0, 0x40)
		case etherIPv6:
			return g.masked(g.bytes(g.linkHdr, 0, 1), 0xf0, 0x60)
		}
	case LinkIPv4:
		if p == etherIP {
			return &cond{op: condTrue}
		}
	case LinkIPv6:
		if p == etherIPv6 {
			return &cond{op: condTrue}
		}
	case LinkNull, LinkLoop:
		return g.loopProto(p)
	}
	return &cond{op: condFalse}
}

// etherProto is linkProto for Ethernet.
func (g *generator) etherProto(p uint32) *cond {
	typ := g.bytes(g.linkType, 0, 2)
	isLength := not(g.compare(jgt, typ, etherMTU))
	switch p {
	case sapISO, sapIP, sapNetBEUI:
		return and(isLength, g.equal(g.bytes(g.payload, 0, 2), p<<8|p))
	case sapIPX:
		inside := or(g.snap(0, etherIPX), g.equal(g.bytes(g.payload, 0, 1), sapIPX), g.equal(g.bytes(g.payload, 0, 2), 0xffff))
		return or(g.equal(typ, etherIPX), and(isLength, inside))
	case etherATalk:
		return or(g.equal(typ, p), and(isLength, g.snap(0x080007, p)))
	case etherAARP:
		return or(g.equal(typ, p), and(isLength, g.snap(0, p)))
	}
	if p <= etherMTU {
		return and(isLength, g.equal(g.bytes(g.linkType, 2, 1), p))
	}
	return g.equal(typ, p)
}

// sllProto is linkProto for Linux cooked v1.
func (g *generator) sllProto(p uint32) *cond {
	typ := g.bytes(g.linkType, 0, 2)
	is8022 := g.equal(typ, sll8022)
	switch p {
	case sapISO, sapIP, sapNetBEUI:
		return and(is8022, g.equal(g.bytes(g.payload, 0, 2), p<<8|p))
	case sapIPX:
		inside := or(g.equal(g.bytes(g.payload, 0, 1), sapIPX), g.snap(0, etherIPX))
		return or(g.equal(typ, etherIPX), g.equal(typ, sll8023), and(is8022, inside))
	case etherATalk:
		return or(g.equal(typ, p), and(is8022, g.snap(0x080007, p)))
	case etherAARP:
		return or(g.equal(typ, p), and(is8022, g.snap(0, p)))
	}
	if p <= etherMTU {
		return and(is8022, g.equal(g.bytes(g.linkHdr, g.payload.k, 1), p))
	}
	return g.equal(typ, p)
}

// snap returns the condition that the payload starts with an 802.2 SNAP header with that
// organization and protocol.
func (g *generator) snap(org, p uint32) *cond {
	return and(g.equal(g.bytes(g.payload, 4, 4), org<<16|p), g.equal(g.bytes(g.payload, 0, 4), sapSNAP<<24|sapSNAP<<16|3<<8|org>>16))
}

// pppProto converts a protocol to its PPP number.
func pppProto(p uint32) uint32 {
	switch p {
	case etherIP:
		return pppIP
	case etherIPv6:
		return pppIPv6
	case etherDECnet:
		return pppDECnet
	case etherATalk:
		return pppATalk
	case etherNS:
		return pppNS
	case sapISO:
		return pppOSI
	case sapSTP:
		return pppBPDU
	case sapIPX:
		return pppIPX
	}
	return p
}

// loopProto is linkProto for BSD loopback. A file may come from any system, so all the numbers that
// IPv6 has on any system match.
func (g *generator) loopProto(p uint32) *cond {
	family := func(f uint32) *cond {
		if g.link == LinkNull {
			f = g.swap(f)
		}
		return g.equal(g.bytes(g.linkHdr, 0, 4), f)
	}
	switch p {
	case etherIP:
		return family(afINET)
	case etherIPv6:
		return or(family(afINET6Darwin), family(afINET6BSD), family(afINET6FreeBSD))
	}
	return &cond{op: condFalse}
}

// mplsProto is linkProto after MPLS headers, which do not name a protocol. It looks at the first
// byte after the bottom of the stack.
func (g *generator) mplsProto(p uint32) *cond {
	version := uint32(0x40)
	switch p {
	case etherIP:
	case etherIPv6:
		version = 0x60
	default:
		return g.fail("", "MPLS headers do not name the protocol: only ip and ip6 can follow mpls")
	}
	bottom := g.bytes(g.payload, g.netOff-2, 1)
	return and(g.masked(bottom, 1, 1), g.masked(g.net(0, 1), 0xf0, version))
}

// llc returns the condition that the frame has an 802.2 header with that type of PDU.
func (g *generator) llc(pdu string) *cond {
	if g.link != LinkEthernet {
		return g.foreign("", "llc is for Ethernet, not %s", g.link)
	}
	isLLC := and(not(g.compare(jgt, g.bytes(g.linkType, 0, 2), etherMTU)), not(g.equal(g.bytes(g.payload, 0, 2), 0xffff)))
	control := g.bytes(g.payload, 2, 1)
	supervisory := map[string]uint32{"rr": 0x01, "rnr": 0x05, "rej": 0x09}
	unnumbered := map[string]uint32{"ui": 0x03, "ua": 0x63, "disc": 0x43, "dm": 0x0f, "sabme": 0x6f, "test": 0xe3, "xid": 0xaf, "frmr": 0x87}
	switch pdu {
	case "":
		return isLLC
	case "i":
		return and(isLLC, not(g.compare(jset, control, 1)))
	case "s":
		return and(isLLC, g.masked(control, 3, 1))
	case "u":
		return and(isLLC, g.masked(control, 3, 3))
	}
	if k, ok := supervisory[pdu]; ok {
		return and(isLLC, g.masked(control, 0x0f, k))
	}
	if k, ok := unnumbered[pdu]; ok {
		return and(isLLC, g.masked(control, 0xef, k))
	}
	return g.fail("i, s, u, rr, rnr, rej, ui, ua, disc, dm, sabme, test, xid or frmr", "%q is not a type of LLC PDU", clip(pdu))
}

// ether returns the condition that the frame's addresses match addr in the direction d.
func (g *generator) ether(addr [6]byte, d direction) *cond {
	if g.link != LinkEthernet {
		return g.foreign("", "Ethernet addresses are for Ethernet, not %s", g.link)
	}
	one := func(off uint32) *cond {
		// The longer part comes first, because it distinguishes more addresses.
		return and(g.equal(g.bytes(g.linkHdr, off+2, 4), binary.BigEndian.Uint32(addr[2:])),
			g.equal(g.bytes(g.linkHdr, off, 2), uint32(binary.BigEndian.Uint16(addr[:]))))
	}
	return and(g.insideEther(), directed(d, func() *cond { return one(6) }, func() *cond { return one(0) }))
}

// directed combines the conditions on source and destination as the direction requires.
func directed(d direction, src, dst func() *cond) *cond {
	switch d {
	case dirSrc:
		return src()
	case dirDst:
		return dst()
	case dirAnd:
		return and(src(), dst())
	}
	return or(src(), dst())
}

// broadcast returns the condition of "broadcast".
func (g *generator) broadcast(p proto) *cond {
	switch p {
	case protoAny, protoLink:
		if g.link != LinkEthernet {
			return g.foreign("ip broadcast tests the IPv4 address", "%s has no broadcast address", g.link)
		}
		return g.ether([6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, dirDst)
	case protoIP:
		if g.target.Netmask == 0 {
			return g.fail("write dst host with the broadcast address", "ip broadcast needs the interface's network mask, which is not known")
		}
		host := ^g.target.Netmask
		return and(g.linkProto(etherIP), or(g.masked(g.net(16, 4), host, 0), g.masked(g.net(16, 4), host, host)))
	}
	return g.fail("ether broadcast or ip broadcast", "%s has no broadcast", p)
}

// multicast returns the condition of "multicast".
func (g *generator) multicast(p proto) *cond {
	switch p {
	case protoAny, protoLink:
		if g.link != LinkEthernet {
			return g.foreign("ip multicast and ip6 multicast test the IP address", "%s has no multicast addresses", g.link)
		}
		return and(g.insideEther(), g.compare(jset, g.bytes(g.linkHdr, 0, 1), 1))
	case protoIP:
		return and(g.linkProto(etherIP), g.compare(jge, g.net(16, 1), 224))
	case protoIPv6:
		return and(g.linkProto(etherIPv6), g.equal(g.net(24, 1), 255))
	}
	return g.fail("ether multicast, ip multicast or ip6 multicast", "%s has no multicast", p)
}

// outbound returns the condition that the host sent the packet.
func (g *generator) outbound() *cond {
	switch {
	case g.link == LinkSLL:
		return g.equal(g.bytes(g.linkHdr, 0, 2), packetOutgoing)
	case g.link == LinkSLL2:
		return g.equal(g.bytes(g.linkHdr, 10, 1), packetOutgoing)
	case g.target.Live:
		return g.equal(g.aux(auxPacketType, 2, 7), packetOutgoing)
	}
	return g.fail("", "%s has no direction in a file", g.link)
}

// ifindex returns the condition that the packet was captured on the interface.
func (g *generator) ifindex(n uint32) *cond {
	switch {
	case g.link == LinkSLL2:
		return g.equal(g.bytes(g.linkHdr, 4, 4), n)
	case g.target.Live:
		return g.equal(g.aux(auxIfindex, 4, 0xffffffff), n)
	}
	return g.fail("", "%s has no interface in a file", g.link)
}
