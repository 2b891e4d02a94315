package decode

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"capd/pcap"
)

// A sample is a packet of the corpus. Samples with a wrong byte on purpose have
// a name that begins with "odd".
type sample struct {
	name string
	link pcap.LinkType
	pcap.Packet
}

type raw = []byte

var (
	macA, macB = MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}
	broadcast  = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	addrA      = raw{192, 0, 2, 1}
	addrB      = raw{198, 51, 100, 2}
	addrA6     = raw{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	addrB6     = raw{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}
	linkA6     = raw{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1}
	allNodes   = raw{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
)

func cat(parts ...raw) raw { return slices.Concat(parts...) }
func be16(n ...int) raw {
	var b raw
	for _, x := range n {
		b = binary.BigEndian.AppendUint16(b, uint16(x))
	}
	return b
}
func be32(n ...int) raw {
	var b raw
	for _, x := range n {
		b = binary.BigEndian.AppendUint32(b, uint32(x))
	}
	return b
}
func zeros(n int) raw  { return make(raw, n) }
func str(s string) raw { return raw(s) }

func eth(t int, payload raw) raw { return ethTo(macB, t, payload) }

func ethTo(to MAC, t int, payload raw) raw { return cat(to[:], macA[:], be16(t), payload) }

// llcFrame is an 802.2 frame with its length, padded as the wire does.
func llcFrame(payload raw) raw {
	b := ethTo(MAC{1, 0x80, 0xc2}, len(payload), payload)
	return append(b, zeros(max(60-len(b), 0))...)
}

func snapFrame(oui int, t int, payload raw) raw {
	return llcFrame(cat(raw{0xaa, 0xaa, 3, byte(oui >> 16), byte(oui >> 8), byte(oui)}, be16(t), payload))
}

// slowSum is the checksum as RFC 1071 defines it, unlike that of the package.
func slowSum(parts ...raw) raw {
	b := cat(parts...)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	s := 0
	for i := 0; i < len(b); i += 2 {
		s += int(b[i])<<8 | int(b[i+1])
		if s > 0xffff {
			s -= 0xffff
		}
	}
	return be16(0xffff - s)
}

// ipv4 is a packet from A to B.
func ip4(proto int, payload raw) raw { return ip4With(proto, 0x4000, nil, payload) }

func ip4With(proto, frag int, options, payload raw) raw {
	h := cat(raw{byte(0x45 + len(options)/4), 0}, be16(20+len(options)+len(payload)), be16(0x1234, frag), raw{64, byte(proto), 0, 0}, addrA, addrB, options)
	copy(h[10:], slowSum(h))
	return append(h, payload...)
}

func ip6(next int, payload raw) raw { return ip6To(addrB6, next, payload) }

func ip6To(to raw, next int, payload raw) raw {
	from := addrA6
	if to[0] == 0xff {
		from = linkA6
	}
	return cat(raw{0x60, 0, 0, 0}, be16(len(payload)), raw{byte(next), 255}, from, to, payload)
}

func pseudo4(proto, n int) raw { return cat(addrA, addrB, raw{0, byte(proto)}, be16(n)) }

func pseudo6(to raw, proto, n int) raw {
	from := addrA6
	if to[0] == 0xff {
		from = linkA6
	}
	return cat(from, to, be32(n, proto))
}

func udpHeader(src, dst int, payload raw) raw {
	return cat(be16(src, dst, 8+len(payload), 0), payload)
}

// udp4 is an IPv4 packet with a datagram and its checksum.
func udp4(src, dst int, payload raw) raw {
	u := udpHeader(src, dst, payload)
	copy(u[6:], slowSum(pseudo4(17, len(u)), u))
	return ip4(17, u)
}

func udp6(src, dst int, payload raw) raw {
	u := udpHeader(src, dst, payload)
	copy(u[6:], slowSum(pseudo6(addrB6, 17, len(u)), u))
	return ip6(17, u)
}

func tcpHeader(src, dst, flags int, options, payload raw) raw {
	return cat(be16(src, dst), be32(1000, 2000), be16((5+len(options)/4)<<12|flags, 502, 0, 0), options, payload)
}

func tcp4(src, dst, flags int, options, payload raw) raw {
	s := tcpHeader(src, dst, flags, options, payload)
	copy(s[16:], slowSum(pseudo4(6, len(s)), s))
	return ip4(6, s)
}

func icmp4(kind, code int, rest raw) raw {
	m := cat(raw{byte(kind), byte(code), 0, 0}, rest)
	copy(m[2:], slowSum(m))
	return ip4(1, m)
}

func icmp6To(to raw, kind, code int, rest raw) raw {
	m := cat(raw{byte(kind), byte(code), 0, 0}, rest)
	copy(m[2:], slowSum(pseudo6(to, 58, len(m)), m))
	return ip6To(to, 58, m)
}

// corpus is all samples.
func corpus() []sample {
	var all []sample
	add := func(name string, b raw) {
		all = append(all, sample{name, pcap.LinkTypeEthernet, pcap.Packet{Data: b, Length: uint32(len(b))}})
	}
	arpSamples(add)
	ipSamples(add)
	transportSamples(add)
	icmpSamples(add)
	icmp6Samples(add)
	routingSamples(add)
	nameSamples(add)
	leaseSamples(add)
	datagramSamples(add)
	managementSamples(add)
	streamSamples(add)
	textSamples(add)
	tlsSamples(add)
	tunnelSamples(add)
	linkSamples(add)
	discoverySamples(add)
	oddSamples(add)
	all = append(all, otherLinks()...)
	moreSamples(add) // last, so that the random cuts of those before stay the same
	return append(all, moreLinks()...)
}

// cutSamples are samples of which the capture has only a part.
func cutSamples(all []sample) []sample {
	r := rand.New(rand.NewPCG(1, 2))
	var cut []sample
	for _, s := range all {
		n := r.IntN(len(s.Data) + 1)
		s.name, s.Data = "cut "+s.name, s.Data[:n]
		cut = append(cut, s)
	}
	return cut
}

func arpBody(op int, from MAC, fromIP raw, to MAC, toIP raw) raw {
	return cat(be16(1, 0x0800), raw{6, 4}, be16(op), from[:], fromIP, to[:], toIP)
}

func arpSamples(add func(string, raw)) {
	add("arp request", ethTo(broadcast, 0x0806, cat(arpBody(1, macA, addrA, MAC{}, addrB), zeros(18))))
	add("arp reply", eth(0x0806, arpBody(2, macA, addrA, macB, addrB)))
	add("arp announcement", ethTo(broadcast, 0x0806, arpBody(1, macA, addrA, MAC{}, addrA)))
	add("arp probe", ethTo(broadcast, 0x0806, arpBody(1, macA, zeros(4), MAC{}, addrB)))
	add("rarp", ethTo(broadcast, 0x8035, arpBody(3, macA, zeros(4), macA, zeros(4))))
	add("rarp reply", eth(0x8035, arpBody(4, macA, addrA, macB, addrB)))
	add("arp inverse", eth(0x0806, arpBody(8, macA, addrA, macB, zeros(4))))
	add("arp of infiniband", ethTo(broadcast, 0x0806, cat(be16(32, 0x0800), raw{20, 4}, be16(1), zeros(48))))
}

func ipSamples(add func(string, raw)) {
	payload := str("0123456789abcdef")
	add("udp plain", eth(0x0800, udp4(40000, 40001, payload)))
	add("udp padded", eth(0x0800, cat(udp4(40000, 40001, nil), zeros(18))))
	add("udp without checksum", eth(0x0800, ip4(17, udpHeader(40000, 40001, payload))))
	add("udp over ipv6", eth(0x86dd, udp6(40000, 40001, payload)))
	options := raw{7, 11, 8, 10, 0, 0, 1, 0, 0, 0, 0, 1}
	add("ipv4 record route", eth(0x0800, ip4With(17, 0, options, udpHeader(40000, 40001, payload))))
	add("ipv4 router alert", eth(0x0800, ip4With(2, 0, raw{148, 4, 0, 0}, igmpBytes(0x16, 0, raw{239, 1, 1, 1}))))
	add("ipv4 timestamp option", eth(0x0800, ip4With(17, 0, raw{68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0}, udpHeader(40000, 40001, nil))))
	whole := udpHeader(40000, 40001, zeros(64))
	add("fragment first", eth(0x0800, ip4With(17, 0x2000, nil, whole[:32])))
	add("fragment middle", eth(0x0800, ip4With(17, 0x2004, nil, whole[32:64])))
	add("fragment last", eth(0x0800, ip4With(17, 0x0008, nil, whole[64:])))
	summed := udp6(40000, 40001, payload)[40:]
	add("ipv6 hop-by-hop", eth(0x86dd, ip6(0, cat(raw{17, 0, 5, 2, 0, 0, 1, 0}, summed))))
	add("ipv6 destination options", eth(0x86dd, ip6(60, cat(raw{17, 0, 1, 4, 0, 0, 0, 0}, summed))))
	route := udpHeader(40000, 40001, payload)
	last := cat(addrB6[:15], raw{9})
	copy(route[6:], slowSum(pseudo6(last, 17, len(route)), route))
	add("ipv6 routing", eth(0x86dd, ip6(43, cat(raw{17, 2, 2, 1}, zeros(4), last, route))))
	add("ipv6 fragment first", eth(0x86dd, ip6(44, cat(raw{17, 0}, be16(1), be32(77), whole[:32]))))
	add("ipv6 fragment last", eth(0x86dd, ip6(44, cat(raw{17, 0}, be16(32), be32(77), whole[32:]))))
	add("ipv6 no next header", eth(0x86dd, ip6(59, nil)))
	add("ipv6 mobility", eth(0x86dd, ip6(135, cat(raw{59, 0, 1, 0, 0, 0, 0, 0}))))
	add("ah", eth(0x0800, ip4(51, cat(raw{17, 4, 0, 0}, be32(0x100, 7), zeros(12), udpHeader(40000, 40001, payload)))))
	add("fragment first with dns", eth(0x0800, ip4With(17, 0x2000, nil, cat(be16(53, 40000, 200, 0), dnsHeader(0x8180, 1, 9, 0, 0), dnsName("a"), be16(1, 1)))))
	add("esp", eth(0x0800, ip4(50, cat(be32(0x1234, 9), zeros(32)))))
	add("ipcomp", eth(0x0800, ip4(108, cat(raw{6, 0}, be16(2), zeros(10)))))
	add("ip protocol 253", eth(0x0800, ip4(253, zeros(10))))
	add("ipv4 from the segmenting nic", eth(0x0800, func() raw {
		b := tcp4(40000, 40001, 0x10, nil, zeros(100))
		copy(b[2:], zeros(2))
		copy(b[10:], zeros(2))
		copy(b[10:], slowSum(b[:20]))
		return b
	}()))
}

func transportSamples(add func(string, raw)) {
	syn := cat(raw{2, 4, 5, 180, 4, 2, 8, 10}, be32(100, 0), raw{1, 3, 3, 7})
	add("tcp syn", eth(0x0800, tcp4(40000, 40001, 2, syn, nil)))
	add("tcp syn ecn", eth(0x0800, tcp4(40000, 40001, 0xc2, syn, nil)))
	add("tcp syn ack", eth(0x0800, tcp4(40001, 40000, 0x12, syn, nil)))
	add("tcp sack", eth(0x0800, tcp4(40000, 40001, 0x10, cat(raw{1, 1, 5, 10}, be32(3000, 4000)), nil)))
	add("tcp data", eth(0x0800, tcp4(40000, 40001, 0x18, nil, str("anything"))))
	add("tcp fin", eth(0x0800, tcp4(40000, 40001, 0x11, nil, nil)))
	add("tcp rst", eth(0x0800, tcp4(40000, 40001, 4, nil, nil)))
	add("tcp null", eth(0x0800, tcp4(40000, 40001, 0, nil, nil)))
	add("tcp christmas", eth(0x0800, tcp4(40000, 40001, 0x29, nil, nil)))
	add("tcp accurate ecn", eth(0x0800, tcp4(40000, 40001, 0x110, nil, nil)))
	add("tcp md5", eth(0x0800, tcp4(40000, 40001, 2, cat(raw{19, 18}, zeros(16), raw{1, 1}), nil)))
	add("tcp fast open", eth(0x0800, tcp4(40000, 40001, 2, raw{34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}, str("early"))))
	add("tcp mptcp", eth(0x0800, tcp4(40000, 40001, 2, raw{30, 4, 0, 0x81}, nil)))
	six := tcpHeader(40000, 40001, 2, nil, nil)
	copy(six[16:], slowSum(pseudo6(addrB6, 6, len(six)), six))
	add("tcp over ipv6", eth(0x86dd, ip6(6, six)))
	add("sctp init", eth(0x0800, ip4(132, cat(be16(40000, 2905), be32(0, 0), raw{1, 0}, be16(20), be32(0x99, 65535), be16(10, 10), be32(1)))))
	data := cat(raw{0, 3}, be16(20), be32(5), be16(1, 2), be32(0), str("data"))
	add("sctp data sack", eth(0x0800, ip4(132, cat(be16(40000, 40001), be32(0x99, 0), data, raw{3, 0}, be16(16), be32(4, 1000, 0)))))
	add("dccp", eth(0x0800, ip4(33, cat(be16(40000, 40001), raw{5, 0}, be16(0), raw{0, 0}, be16(0), be32(7), be32(42)))))
	add("dccp long", eth(0x0800, ip4(33, cat(be16(40000, 40001), raw{5, 0}, be16(0), raw{1, 0}, be16(0), be32(7), be32(42)))))
	add("udplite", eth(0x0800, ip4(136, cat(be16(40000, 40001, 8, 0), str("lite")))))
}

func icmpSamples(add func(string, raw)) {
	about := udp4(40000, 53, zeros(12))[:28]
	echo := cat(be16(7, 1), zeros(16))
	add("icmp echo request", eth(0x0800, icmp4(8, 0, echo)))
	add("icmp echo reply", eth(0x0800, icmp4(0, 0, echo)))
	for code := range 16 {
		add("icmp unreachable "+number(code), eth(0x0800, icmp4(3, code, cat(be16(0, 1400), about))))
	}
	add("icmp source quench", eth(0x0800, icmp4(4, 0, cat(be32(0), about))))
	add("icmp redirect", eth(0x0800, icmp4(5, 1, cat(raw{10, 0, 0, 9}, about))))
	add("icmp time exceeded", eth(0x0800, icmp4(11, 0, cat(be32(0), about))))
	add("icmp reassembly time", eth(0x0800, icmp4(11, 1, cat(be32(0), about))))
	add("icmp parameter problem", eth(0x0800, icmp4(12, 0, cat(raw{20, 0, 0, 0}, about))))
	add("icmp timestamp", eth(0x0800, icmp4(13, 0, cat(be16(7, 1), be32(100, 0, 0)))))
	add("icmp mask", eth(0x0800, icmp4(18, 0, cat(be16(7, 1), raw{255, 255, 255, 0}))))
	add("icmp router advertisement", eth(0x0800, icmp4(9, 0, cat(raw{1, 2}, be16(1800), addrA, be32(0)))))
	add("icmp router solicitation", eth(0x0800, icmp4(10, 0, be32(0))))
	add("icmp type 200", eth(0x0800, icmp4(200, 3, be32(0))))
}

func icmp6Samples(add func(string, raw)) {
	about := cat(ip6(17, udpHeader(40000, 53, zeros(12))))
	lla := cat(raw{1, 1}, macA[:])
	sixth := func(to raw, kind, code int, rest raw) raw { return eth(0x86dd, icmp6To(to, kind, code, rest)) }
	add("icmpv6 echo request", sixth(addrB6, 128, 0, cat(be16(7, 1), zeros(16))))
	add("icmpv6 echo reply", sixth(addrB6, 129, 0, cat(be16(7, 1), zeros(16))))
	for code := range 7 {
		add("icmpv6 unreachable "+number(code), sixth(addrB6, 1, code, cat(be32(0), about)))
	}
	add("icmpv6 too big", sixth(addrB6, 2, 0, cat(be32(1280), about)))
	add("icmpv6 hop limit", sixth(addrB6, 3, 0, cat(be32(0), about)))
	add("icmpv6 parameter problem", sixth(addrB6, 4, 1, cat(be32(40), about)))
	add("icmpv6 router solicitation", sixth(allNodes, 133, 0, cat(be32(0), lla)))
	prefix := cat(raw{3, 4, 64, 0xc0}, be32(86400, 14400, 0), addrA6[:8], zeros(8))
	rdnss := cat(raw{25, 3, 0, 0}, be32(600), addrA6)
	dnssl := cat(raw{31, 3, 0, 0}, be32(600), str("\x07example\x03com\x00"), zeros(3))
	add("icmpv6 router advertisement", sixth(allNodes, 134, 0, cat(raw{64, 0x48}, be16(1800), be32(0, 0), lla, raw{5, 1, 0, 0}, be32(1500), prefix, rdnss, dnssl)))
	add("icmpv6 neighbor solicitation", sixth(allNodes, 135, 0, cat(be32(0), addrB6, lla)))
	add("icmpv6 neighbor advertisement", sixth(addrB6, 136, 0, cat(be32(0x60000000), addrA6, raw{2, 1}, macA[:])))
	add("icmpv6 redirect", sixth(addrB6, 137, 0, cat(be32(0), linkA6, addrB6)))
	add("icmpv6 listener query", sixth(allNodes, 130, 0, cat(be16(1000, 0), zeros(16))))
	add("icmpv6 listener report", sixth(allNodes, 131, 0, cat(be16(0, 0), allNodes)))
	add("icmpv6 listener report v2", sixth(allNodes, 143, 0, cat(be16(0, 1), raw{4, 0, 0, 0}, allNodes)))
	add("icmpv6 type 200", sixth(addrB6, 200, 0, be32(0)))
}

func igmpBytes(kind, code int, group raw) raw {
	m := cat(raw{byte(kind), byte(code), 0, 0}, group)
	copy(m[2:], slowSum(m))
	return m
}
