package decode

import (
	"encoding/binary"

	"capd/pcap"
)

// Ethernet types.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherRARP = 0x8035
	etherIPv6 = 0x86dd
	etherTEB  = 0x6558
)

func ethernet(s *sink, x data) {
	if !s.enter("ethernet") {
		return
	}
	c := read(x)
	f := s.frame
	f.DstMAC, f.SrcMAC = nil, nil // those of an outer frame
	dst, src := c.mac(), c.mac()
	if s.ended(c) {
		return
	}
	f.DstMAC, f.SrcMAC = keep(&s.room.dstMAC, dst), keep(&s.room.srcMAC, src)
	if s.verbose {
		s.field("destination", "%s", dst)
		s.field("source", "%s", src)
	}
	typeOrLength(s, c)
}

// typeOrLength reads the two bytes behind addresses and tags: an Ethernet type,
// or the length of an 802.2 frame.
func typeOrLength(s *sink, c *cursor) {
	t := c.u16()
	if s.ended(c) {
		return
	}
	if t <= 1500 {
		s.field("length", "%d", t)
		llc(s, c.limit(int(t)))
		return
	}
	s.frame.EtherType = t
	if s.verbose {
		s.field("type", "0x%04x (%s)", t, etherName(t))
	}
	etherType(s, t, c.data)
}

func vlan(s *sink, x data) {
	if !s.enter("vlan") {
		return
	}
	c := read(x)
	tag := c.u16()
	if s.ended(c) {
		return
	}
	s.frame.VLANs = append(s.frame.VLANs, tag&0xfff)
	if s.verbose {
		s.field("id", "%d", tag&0xfff)
		s.field("priority", "%d", tag>>13)
		s.field("drop-eligible", "%d", tag>>12&1)
	}
	typeOrLength(s, c)
}

// loopback is a packet of a BSD's loopback: the family first, in the byte order
// of the host that captured it.
func loopback(s *sink, x data) {
	if !s.enter("loopback") {
		return
	}
	c := read(x)
	b := c.take(4)
	if s.ended(c) {
		return
	}
	family := binary.BigEndian.Uint32(b)
	if family > 0xffff {
		family = binary.LittleEndian.Uint32(b)
	}
	s.field("family", "%d", family)
	addressFamily(s, family, c.data)
}

// enc is a packet of OpenBSD's enc(4): family, SPI and flags of the tunnel.
func enc(s *sink, x data) {
	if !s.enter("enc") {
		return
	}
	c := read(x)
	family, spi, flags := c.take(4), c.u32(), c.u32()
	if s.ended(c) {
		return
	}
	n := binary.LittleEndian.Uint32(family)
	if n > 0xffff {
		n = binary.BigEndian.Uint32(family)
	}
	s.field("family", "%d", n)
	s.field("spi", "0x%08x", spi)
	s.field("flags", "0x%08x", flags)
	addressFamily(s, n, c.data)
}

// pflog is a packet that pf logged. Its header says how long it is, without
// padding.
func pflog(s *sink, x data) {
	if !s.enter("pflog") {
		return
	}
	c := read(x)
	n, family, action, reason := c.u8(), c.u8(), c.u8(), c.u8()
	ifname := c.take(16)
	if s.ended(c) {
		return
	}
	s.field("header length", "%d", n)
	s.field("family", "%d", family)
	s.field("action", "%d", action)
	s.field("reason", "%d", reason)
	s.field("interface", "%s", printable(cString(ifname)))
	if n < 20 {
		s.bad("pflog header of %d bytes", n)
		return
	}
	addressFamily(s, uint32(family), x.from((int(n)+3)&^3))
}

// pktap is a packet of any of Darwin's interfaces, with what it was on: its link
// type, interface and process. Numbers are little-endian.
func pktap(s *sink, x data) {
	if !s.enter("pktap") {
		return
	}
	c := read(x)
	length, kind, link, ifname := c.take(4), c.take(4), c.take(4), c.take(24)
	flags, family := c.take(4), c.take(4)
	c.u64() // the link layer's header and trailer
	pid, command := c.take(4), c.take(17)
	if s.ended(c) {
		return
	}
	le := binary.LittleEndian
	s.field("type", "%d", le.Uint32(kind))
	s.field("link type", "%d", le.Uint32(link))
	s.field("interface", "%s", printable(cString(ifname)))
	s.field("flags", "0x%08x", le.Uint32(flags))
	s.field("family", "%d", le.Uint32(family))
	s.field("process", "%d %s", le.Uint32(pid), printable(cString(command)))
	if n := le.Uint32(length); n < 77 || n > 1<<16 {
		s.bad("pktap header of %d bytes", n)
		return
	}
	linkLayer(s, pcap.LinkType(min(le.Uint32(link), 0xffff)), x.from(int(le.Uint32(length))))
}

// ipoib is IP over InfiniBand: the global routing header of 40 bytes, of which
// there may be none but zeroes, then an Ethernet type (RFC 4391, 6).
func ipoib(s *sink, x data) {
	if !s.enter("ipoib") {
		return
	}
	c := read(x)
	c.take(8)
	src, dst, t := c.ip6(), c.ip6(), c.u16()
	c.u16()
	if s.ended(c) {
		return
	}
	s.field("source gid", "%s", src)
	s.field("destination gid", "%s", dst)
	s.field("type", "0x%04x (%s)", t, etherName(t))
	s.frame.EtherType = t
	etherType(s, t, c.data)
}

func sll(s *sink, x data) {
	if !s.enter("sll") {
		return
	}
	c := read(x)
	kind, hardware, n, addr, proto := c.u16(), c.u16(), c.u16(), c.take(8), c.u16()
	if s.ended(c) {
		return
	}
	sllSource(s, uint8(min(kind, 255)), hardware, n, addr)
	sllPayload(s, proto, hardware, c.data)
}

func sll2(s *sink, x data) {
	if !s.enter("sll2") {
		return
	}
	c := read(x)
	proto := c.u16()
	c.u16()
	index, hardware, kind, n, addr := c.u32(), c.u16(), c.u8(), c.u8(), c.take(8)
	if s.ended(c) {
		return
	}
	s.field("interface", "%d", index)
	sllSource(s, kind, hardware, uint16(n), addr)
	sllPayload(s, proto, hardware, c.data)
}

func sllSource(s *sink, kind uint8, hardware, n uint16, addr []byte) {
	if n == 6 {
		s.frame.SrcMAC = keep(&s.room.srcMAC, MAC(addr[:6]))
	}
	if s.frame.Direction == "" {
		s.frame.Direction = "in"
		if kind == 4 {
			s.frame.Direction = "out"
		}
	}
	s.field("packet", "%s", pick([]string{"to us", "broadcast", "multicast", "to another host", "from us"}, int(kind)))
	s.field("hardware", "%d", hardware)
	s.field("source", "%s", hexBytes(addr[:min(int(n), 8)]))
}

func sllPayload(s *sink, proto, hardware uint16, x data) {
	s.field("protocol", "0x%04x (%s)", proto, etherName(proto))
	switch {
	case hardware == 778: // GRE: its payload's protocol is none of Ethernet's
		ip(s, x)
	case hardware == 824:
		netlink(s, proto, x)
	case proto == 1: // Novell's raw 802.3
		s.enter("ipx")
		s.sayNumber("length ", uint64(x.n))
	case proto == 4:
		llc(s, x)
	case proto > 1500:
		s.frame.EtherType = proto
		etherType(s, proto, x)
	default:
		s.say("protocol 0x%04x, length %d", proto, x.n)
	}
}

// ip decodes by the version in the first byte.
func ip(s *sink, x data) {
	switch {
	case len(x.b) == 0:
		s.enter("ip")
		s.ended(&cursor{data: x, short: true, lacking: 1})
	case x.b[0]>>4 == 4:
		ipv4(s, x)
	case x.b[0]>>4 == 6:
		ipv6(s, x)
	default:
		s.enter("ip")
		s.bad("version %d of IP", x.b[0]>>4)
	}
}
