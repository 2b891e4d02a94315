package decode

import (
	"encoding/binary"

	"capd/pcap"
)

func le32(n ...int) raw {
	var b raw
	for _, x := range n {
		b = binary.LittleEndian.AppendUint32(b, uint32(x))
	}
	return b
}

// moreSamples are frames of Ethernet whose decoding came later than that of the
// others.
func moreSamples(add func(string, raw)) {
	advertise := cat(raw{0, 3}, be16(1, 10), raw{3, 0}, be16(2, 1), be32(0))
	add("hsrp advertise", eth(0x0800, udp4(1985, 1985, advertise)))
	password := cat(be16(0xffff, 2), str("secret\x1b"), zeros(9))
	route := cat(be16(2, 0), raw{10, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0}, be32(3))
	add("rip password", eth(0x0800, udp4(520, 520, cat(raw{2, 2, 0, 0}, password, route))))
	digest := cat(be16(0xffff, 3, 44), raw{1, 20}, be32(77), zeros(8))
	add("rip digest", eth(0x0800, udp4(520, 520, cat(raw{2, 2, 0, 0}, digest, route, be16(0xffff, 1), zeros(16)))))
	frame := eth(0x0800, udp4(40000, 40001, str("inner")))
	mirror := func(bits int, rest ...raw) raw {
		return eth(0x0800, ip4(47, cat(be16(0x1000, 0x22eb), be32(5), be16(0x2064, 0x0007), be32(9), be16(3, bits), cat(rest...))))
	}
	add("erspan iii", mirror(0, frame))
	add("erspan iii platform", mirror(1, zeros(8), frame))
	add("erspan iii egress ip", mirror(2<<10|8, frame[14:]))
	add("erspan iii by the number of ii", eth(0x0800, ip4(47, cat(be16(0x1000, 0x88be), be32(5), be16(0x2064, 7), be32(9), be16(3, 0), frame))))
	add("gre of the unknown", eth(0x0800, ip4(47, cat(be16(0x2000, 0x9999), be32(77), str("????")))))
	add("gre keepalive", eth(0x0800, ip4(47, be16(0, 0))))
	add("vxlan gpe of the unknown", eth(0x0800, udp4(50000, 4790, cat(raw{12, 0, 0, 9}, be32(5<<8), str("????")))))
	add("geneve of the unknown", eth(0x0800, udp4(50000, 6081, cat(raw{0, 0}, be16(0x9999), be32(5<<8), str("????")))))
	add("nsh of the unknown", eth(0x894f, cat(raw{0x0f, 0xc2, 1, 9}, be32(5<<8|255), str("????"))))
	add("zero macs", cat(zeros(12), be16(0x0800), udp4(40000, 40001, nil)))
	add("zero macs arp", cat(zeros(12), be16(0x0806), arpBody(1, MAC{}, addrA, MAC{}, addrB)))
	streamedDNS(add)
	googleQUIC(add)
}

func streamedDNS(add func(string, raw)) {
	record := dnsRecord(1, addrA)
	message := cat(dnsHeader(0x8180, 1, 3, 0, 0), dnsName("a", "example"), be16(1, 1), record, record, record)
	whole := cat(be16(len(message)), message)
	segment := func(b raw) raw { return eth(0x0800, tcp4(53, 40000, 0x18, nil, b)) }
	add("dns over tcp", segment(whole))
	add("dns over tcp length alone", segment(whole[:2]))
	add("dns over tcp without its header", segment(whole[:9]))
	add("dns over tcp first segment", segment(whole[:2+len(message)-len(record)]))
	add("dns over tcp within a record", segment(whole[:len(whole)-2]))
	header := cat(dnsHeader(0x8180, 1, 1, 1, 0), dnsName("a", "example"), be16(1, 1), record)
	add("dns over tcp authorities later", segment(cat(be16(len(header)+40), header)))
	add("dns over tcp later segment", segment(str("later text that begins with no length and no header of a message")))
	query := cat(dnsHeader(0x0100, 1, 0, 0, 0), dnsName("a", "example"), be16(1, 1))
	add("dns at 443", eth(0x0800, udp4(40000, 443, query)))
	add("dns answer at 443", eth(0x0800, udp4(443, 40000, cat(dnsHeader(0x8180, 1, 1, 0, 0), dnsName("a", "example"), be16(1, 1), record))))
}

// chlo is a client's hello of Google's QUIC in a stream, behind the hash.
func chlo() raw {
	values := cat(str("pad"), str("www.example.org"))
	hello := cat(str("CHLO"), raw{2, 0, 0, 0}, str("PAD\x00"), le32(3), str("SNI\x00"), le32(len(values)), values)
	return cat(zeros(12), raw{0xa0, 1}, be16(len(hello)), hello)
}

func googleQUIC(add func(string, raw)) {
	id := raw{1, 2, 3, 4, 5, 6, 7, 8}
	at := func(name string, b ...raw) { add(name, eth(0x0800, udp4(40000, 443, cat(b...)))) }
	at("gquic 43", raw{0x09}, id, str("Q043"), raw{1}, chlo())
	at("gquic 46", raw{0xc3}, str("Q046"), raw{0x50}, id, be32(1), chlo())
	at("gquic reset", raw{0x0a}, id, str("PRST"), raw{0, 0, 0, 0})
	add("gquic versions", eth(0x0800, udp4(443, 40000, cat(raw{0x09}, id, str("Q043Q039")))))
}

// moreLinks are packets of link types that came later.
func moreLinks() []sample {
	four, six := udp4(40000, 40001, str("four")), udp6(40000, 40001, str("six"))
	var all []sample
	add := func(name string, link pcap.LinkType, b ...raw) {
		p := cat(b...)
		all = append(all, sample{name, link, pcap.Packet{Data: p, Length: uint32(len(p))}})
	}
	add("link ipv4", 228, four)
	add("link ipv6", 229, six)
	add("link raw 12", 12, four)
	add("link raw 14", 14, six)
	add("link ppp hdlc", 50, raw{0xff, 3, 0, 0x21}, four)
	add("link ppp hdlc of cisco", 50, raw{0x0f, 0, 8, 0}, four)
	add("link ppp ether", 51, raw{0x11, 0}, be16(7, len(four)+2, 0x21), four)
	add("link ppp ether discovery", 51, raw{0x11, 9}, be16(0, 4, 0x0101, 0))
	add("link chdlc", 104, raw{0x0f, 0, 8, 0}, four)
	add("link chdlc ipv6", 104, raw{0x0f, 0, 0x86, 0xdd}, six)
	add("link chdlc slarp", 104, raw{0x8f, 0, 0x80, 0x35}, be32(2, 5, 4), be16(0xffff))
	add("link chdlc slarp address", 104, raw{0x8f, 0, 0x80, 0x35}, be32(1), addrA, raw{255, 255, 255, 0}, be16(0))
	add("link chdlc is-is", 104, raw{0x0f, 0, 0xfe, 0xfe, 3}, raw{0x83, 27, 1, 0, 17, 1, 0, 0, 1, 1, 2, 3, 4, 5, 6})
	add("link frame relay", 107, raw{0x18, 0x41, 3, 0xcc}, four)
	add("link frame relay ipv6", 107, raw{0x18, 0x41, 3, 0x8e}, six)
	add("link frame relay snap", 107, raw{0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 8, 0}, four)
	add("link frame relay of cisco", 107, raw{0x18, 0x41, 8, 0}, four)
	add("link frame relay long address", 107, raw{0x18, 0x40, 0x02, 0x05, 3, 0xcc}, four)
	add("link frame relay is-is", 107, raw{0x18, 0x41, 3, 0x83, 27, 1, 0, 17, 1, 0, 0, 1, 1, 2, 3, 4, 5, 6})
	add("link frame relay lmi", 107, raw{0, 1, 3, 8, 0, 0x75})
	part := func(kind int, b raw) raw { return cat(le16(4+len(b)), le16(kind), b, zeros(-len(b)&3)) }
	add("link nflog ipv4", 239, raw{2, 0, 0, 5}, part(1, raw{8, 0, 3, 0}), part(10, str("drop\x00")), part(5, be32(2)), part(9, four))
	add("link nflog ipv6 big-endian", 239, raw{10, 0, 0, 5}, be16(4+len(six), 9), six)
	add("link nflog bridge", 239, raw{7, 0, 0, 5}, part(1, raw{8, 0, 3, 0}), part(9, four))
	common := cat(le16(2), le16(20), zeros(8), le16(1), le16(2), le16(2437), le16(0xa0), raw{0, 0, 0xd8, 0xa0})
	ack := raw{0xd4, 0, 0, 0, 2, 0, 0, 0, 0, 1}
	add("link ppi 802.11", 192, raw{0, 0}, le16(32), le32(105), common, ack, zeros(4))
	add("link ppi ethernet", 192, raw{0, 0}, le16(8), le32(1), eth(0x0800, four))
	gid := func(last byte) raw { return cat(raw{0xfe, 0x80}, zeros(13), raw{last}) }
	add("link ipoib", 242, raw{0x60, 0, 0, 0, 0, 0, 0x1b, 0}, gid(1), gid(2), be16(0x0800, 0), four)
	add("link can", 227, be32(0x123), raw{8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	add("link can extended remote", 227, be32(0xc0000000|0x1abcdef), raw{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	add("link can fd", 227, be32(0x123), raw{12, 5, 0, 0}, zeros(12))
	add("link can xl", 227, be32(0x00020123), raw{0x80, 3}, le16(2), le32(0x55), raw{1, 2})
	cooked := func(family int) raw { return cat(be16(0, 824, 0), zeros(8), be16(family)) }
	add("link netlink getlink", 253, cooked(0), le32(32), le16(18), le16(0x0301), le32(1, 0), raw{17}, zeros(15))
	add("link netlink big-endian", 253, cooked(0), be32(20), be16(3, 2), be32(1, 9), zeros(4))
	add("link netlink of netfilter", 253, cooked(12), le32(20), le16(0x0a02), le16(1), le32(7, 0), zeros(4))
	add("link netlink uevent", 253, cooked(15), str("add@/devices/virtual/net/veth0\x00ACTION=add\x00"))
	add("sll netlink", 113, cooked(0), le32(16), le16(18), le16(1), le32(1, 0))
	return all
}
