package decode

import (
	"encoding/binary"
	"fmt"

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

// linkLayer decodes a frame from its first byte on.
func (d *Decoder) linkLayer(link pcap.LinkType, x data) {
	switch link {
	case pcap.LinkTypeEthernet:
		d.ethernet(x)
	case pcap.LinkTypeNull, pcap.LinkTypeLoop:
		d.loopback(x)
	case pcap.LinkTypeEnc:
		d.enc(x)
	case pcap.LinkTypeRaw:
		d.ip(x)
	case pcap.LinkTypePPP:
		d.ppp(x)
	case pcap.LinkTypeLinuxSLL:
		d.sll(x)
	case pcap.LinkTypeLinuxSLL2:
		d.sll2(x)
	case pcap.LinkTypePFLog:
		d.pflog(x)
	case pcap.LinkTypeIEEE80211:
		d.dot11(x)
	case pcap.LinkTypeRadiotap:
		d.radiotap(x)
	case pcap.LinkTypePKTAP:
		d.pktap(x)
	default:
		d.frame.Protocol = printable([]byte(link.String()))
		d.say("length %d", x.n)
	}
}

func (d *Decoder) ethernet(x data) {
	if !d.enter("ethernet") {
		return
	}
	c := read(x)
	f := &d.frame
	f.DstMAC, f.SrcMAC = MAC{}, MAC{} // those of an outer frame
	dst, src := c.mac(), c.mac()
	if d.ended(c) {
		return
	}
	f.DstMAC, f.SrcMAC = dst, src
	if d.verbose {
		d.field("destination", "%s", f.DstMAC)
		d.field("source", "%s", f.SrcMAC)
	}
	d.typeOrLength(c)
}

// typeOrLength reads the two bytes behind addresses and tags: an Ethernet type,
// or the length of an 802.2 frame.
func (d *Decoder) typeOrLength(c *cursor) {
	t := c.u16()
	if d.ended(c) {
		return
	}
	if t <= 1500 {
		d.field("length", "%d", t)
		d.llc(c.limit(int(t)))
		return
	}
	d.frame.EtherType = t
	if d.verbose {
		d.field("type", "0x%04x (%s)", t, etherName(t))
	}
	d.etherType(t, c.data)
}

func (d *Decoder) etherType(t uint16, x data) {
	switch t {
	case etherIPv4:
		d.ipv4(x)
	case etherIPv6:
		d.ipv6(x)
	case etherARP:
		d.arp(x, "arp")
	case etherRARP:
		d.arp(x, "rarp")
	case 0x8100, 0x88a8, 0x9100, 0x9200:
		d.vlan(x)
	case 0x8847, 0x8848:
		d.mpls(x)
	case 0x8863, 0x8864:
		d.pppoe(x, t == 0x8863)
	case etherTEB:
		d.ethernet(x)
	default:
		d.etherOther(t, x)
	}
}

func (d *Decoder) vlan(x data) {
	if !d.enter("vlan") {
		return
	}
	c := read(x)
	tag := c.u16()
	if d.ended(c) {
		return
	}
	d.frame.VLANs = append(d.frame.VLANs, tag&0xfff)
	d.field("id", "%d", tag&0xfff)
	d.field("priority", "%d", tag>>13)
	d.field("drop-eligible", "%d", tag>>12&1)
	d.typeOrLength(c)
}

// loopback is a packet of a BSD's loopback: the family first, in the byte order
// of the host that captured it.
func (d *Decoder) loopback(x data) {
	if !d.enter("loopback") {
		return
	}
	c := read(x)
	b := c.take(4)
	if d.ended(c) {
		return
	}
	family := binary.BigEndian.Uint32(b)
	if family > 0xffff {
		family = binary.LittleEndian.Uint32(b)
	}
	d.field("family", "%d", family)
	d.family(family, c.data)
}

func (d *Decoder) family(family uint32, x data) {
	switch family {
	case 2:
		d.ipv4(x)
	case 10, 24, 28, 30:
		d.ipv6(x)
	case 7:
		d.llc(x)
	default:
		d.say("family %d, length %d", family, x.n)
	}
}

// enc is a packet of OpenBSD's enc(4): family, SPI and flags of the tunnel.
func (d *Decoder) enc(x data) {
	if !d.enter("enc") {
		return
	}
	c := read(x)
	family, spi, flags := c.take(4), c.u32(), c.u32()
	if d.ended(c) {
		return
	}
	n := binary.LittleEndian.Uint32(family)
	if n > 0xffff {
		n = binary.BigEndian.Uint32(family)
	}
	d.field("family", "%d", n)
	d.field("spi", "0x%08x", spi)
	d.field("flags", "0x%08x", flags)
	d.family(n, c.data)
}

// pflog is a packet that pf logged. Its header says how long it is, without
// padding.
func (d *Decoder) pflog(x data) {
	if !d.enter("pflog") {
		return
	}
	c := read(x)
	n, family, action, reason := c.u8(), c.u8(), c.u8(), c.u8()
	ifname := c.take(16)
	if d.ended(c) {
		return
	}
	d.field("header length", "%d", n)
	d.field("family", "%d", family)
	d.field("action", "%d", action)
	d.field("reason", "%d", reason)
	d.field("interface", "%s", printable(cString(ifname)))
	if n < 20 {
		d.bad("pflog header of %d bytes", n)
		return
	}
	d.family(uint32(family), x.from((int(n)+3)&^3))
}

// pktap is a packet of any of Darwin's interfaces, with what it was on: its link
// type, interface and process. Numbers are little-endian.
func (d *Decoder) pktap(x data) {
	if !d.enter("pktap") {
		return
	}
	c := read(x)
	length, kind, link, ifname := c.take(4), c.take(4), c.take(4), c.take(24)
	flags, family := c.take(4), c.take(4)
	c.u64() // the link layer's header and trailer
	pid, command := c.take(4), c.take(17)
	if d.ended(c) {
		return
	}
	le := binary.LittleEndian
	d.field("type", "%d", le.Uint32(kind))
	d.field("link type", "%d", le.Uint32(link))
	d.field("interface", "%s", printable(cString(ifname)))
	d.field("flags", "0x%08x", le.Uint32(flags))
	d.field("family", "%d", le.Uint32(family))
	d.field("process", "%d %s", le.Uint32(pid), printable(cString(command)))
	if n := le.Uint32(length); n < 77 || n > 1<<16 {
		d.bad("pktap header of %d bytes", n)
		return
	}
	d.linkLayer(pcap.LinkType(min(le.Uint32(link), 0xffff)), x.from(int(le.Uint32(length))))
}

func (d *Decoder) sll(x data) {
	if !d.enter("sll") {
		return
	}
	c := read(x)
	kind, hardware, n, addr, proto := c.u16(), c.u16(), c.u16(), c.take(8), c.u16()
	if d.ended(c) {
		return
	}
	d.cooked(uint8(min(kind, 255)), hardware, n, addr)
	d.cookedType(proto, hardware, c.data)
}

func (d *Decoder) sll2(x data) {
	if !d.enter("sll2") {
		return
	}
	c := read(x)
	proto := c.u16()
	c.u16()
	index, hardware, kind, n, addr := c.u32(), c.u16(), c.u8(), c.u8(), c.take(8)
	if d.ended(c) {
		return
	}
	d.field("interface", "%d", index)
	d.cooked(kind, hardware, uint16(n), addr)
	d.cookedType(proto, hardware, c.data)
}

func (d *Decoder) cooked(kind uint8, hardware, n uint16, addr []byte) {
	if n == 6 {
		d.frame.SrcMAC = MAC(addr[:6])
	}
	if d.frame.Direction == "" {
		d.frame.Direction = "in"
		if kind == 4 {
			d.frame.Direction = "out"
		}
	}
	d.field("packet", "%s", pick([]string{"to us", "broadcast", "multicast", "to another host", "from us"}, int(kind)))
	d.field("hardware", "%d", hardware)
	d.field("source", "%s", hexBytes(addr[:min(int(n), 8)]))
}

func (d *Decoder) cookedType(proto, hardware uint16, x data) {
	d.field("protocol", "0x%04x (%s)", proto, etherName(proto))
	switch {
	case hardware == 778: // GRE: its payload's protocol is none of Ethernet's
		d.ip(x)
	case hardware == 824: // netlink
		d.enter("netlink")
		d.say("family %d, length %d", proto, x.n)
	case proto == 1: // Novell's raw 802.3
		d.enter("ipx")
		d.say("length %d", x.n)
	case proto == 4:
		d.llc(x)
	case proto > 1500:
		d.frame.EtherType = proto
		d.etherType(proto, x)
	default:
		d.say("protocol 0x%04x, length %d", proto, x.n)
	}
}

// ip decodes by the version in the first byte.
func (d *Decoder) ip(x data) {
	switch {
	case len(x.b) == 0:
		d.enter("ip")
		d.ended(&cursor{data: x, short: true, lacking: 1})
	case x.b[0]>>4 == 4:
		d.ipv4(x)
	case x.b[0]>>4 == 6:
		d.ipv6(x)
	default:
		d.enter("ip")
		d.bad("version %d of IP", x.b[0]>>4)
	}
}

// bad notes what is wrong with the frame.
func (d *Decoder) bad(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if d.frame.Malformed == "" {
		d.frame.Malformed = text
	}
	d.say("[malformed: %s]", text)
}

// pick returns the name at the index, or the index.
func pick(names []string, i int) string {
	if i >= 0 && i < len(names) && names[i] != "" {
		return names[i]
	}
	return number(i)
}

// cString is what is before the first zero byte.
func cString(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}
