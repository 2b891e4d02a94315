package filter

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
)

// A frame is a packet of the test corpus.
type frame struct {
	data    []byte
	wirelen int
	meta    *Meta // for packets of a live socket
}

// Pools are small, and random expressions use them too, so that expressions match packets often
// enough.
var (
	macPool  = [][]byte{{0, 0x1b, 0x44, 0x11, 0x3a, 0xb7}, {2, 0, 0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {1, 0, 0x5e, 0, 0, 1}}
	ip4Pool  = [][]byte{{10, 0, 0, 1}, {10, 0, 0, 2}, {10, 1, 2, 3}, {192, 168, 1, 1}, {1, 2, 3, 4}, {224, 0, 0, 1}, {255, 255, 255, 255}, {0, 0, 0, 0}}
	ip6Pool  = [][]byte{ip6(0x2001, 0xdb8, 1), ip6(0x2001, 0xdb8, 2), ip6(0xfe80, 0, 1), ip6(0xff02, 0, 1)}
	portPool = []int{22, 53, 80, 123, 443, 1000, 1005, 1010, 6081, 9102, 65535}
)

func ip6(a, b uint16, last byte) []byte {
	x := make([]byte, 16)
	binary.BigEndian.PutUint16(x, a)
	binary.BigEndian.PutUint16(x[2:], b)
	x[15] = last
	return x
}

// A maker generates pseudo-random packets, the same in every run.
type maker struct{ *rand.Rand }

func pick[T any](m maker, pool []T) T { return pool[m.IntN(len(pool))] }

func (m maker) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}

func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func be32(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// tcp, udp, icmp and icmp6 make a transport header with some payload.
func (m maker) tcp() []byte {
	b := slices.Concat(be16(pick(m, portPool)), be16(pick(m, portPool)), m.bytes(8))
	words := 5 + m.IntN(3)
	b = append(b, byte(words<<4), byte(m.IntN(256)))
	b = append(b, m.bytes(words*4-14)...)
	return append(b, m.bytes(m.IntN(20))...)
}

func (m maker) udp() []byte {
	return slices.Concat(be16(pick(m, portPool)), be16(pick(m, portPool)), be16(20), be16(0), m.bytes(m.IntN(30)))
}

func (m maker) icmp() []byte {
	return append([]byte{byte(m.IntN(19)), byte(m.IntN(4))}, m.bytes(10)...)
}

func (m maker) icmp6() []byte {
	return append([]byte{byte(128 + m.IntN(26)), byte(m.IntN(4))}, m.bytes(10)...)
}

// geneve makes a UDP datagram with a Geneve header and its content.
func (m maker) geneve(depth int) []byte {
	words := m.IntN(4)
	typ, inner := 0x6558, m.ether(depth+1)
	switch m.IntN(3) {
	case 0:
		typ, inner = 0x0800, m.ipv4(depth+1)
	case 1:
		typ, inner = 0x86dd, m.ipv6(depth+1)
	}
	h := slices.Concat([]byte{byte(m.IntN(10)/9<<6 | words), 0}, be16(typ), be32(pick(m, []int{0xb, 0xffffff, 1})<<8), m.bytes(words*4))
	return slices.Concat(be16(pick(m, portPool)), be16(6081), be16(0), be16(0), h, inner)
}

// transport makes the payload of an IP packet. It returns the protocol's number too.
func (m maker) transport(depth int) (int, []byte) {
	switch n := m.IntN(16); n {
	case 0, 1, 2:
		return 6, m.tcp()
	case 3, 4:
		return 17, m.udp()
	case 5:
		return 132, m.udp()
	case 6:
		return 1, m.icmp()
	case 7:
		return 58, m.icmp6()
	case 8, 9:
		if depth < 2 {
			return 17, m.geneve(depth)
		}
		return 17, m.udp()
	}
	return pick(m, []int{0, 1, 2, 9, 47, 50, 51, 89, 103, 112, 255}), m.bytes(8 + m.IntN(24))
}

func (m maker) ipv4(depth int) []byte {
	proto, payload := m.transport(depth)
	words := 5
	if m.IntN(3) == 0 {
		words = 5 + m.IntN(11)
	}
	frag := pick(m, []int{0, 0, 0, 0, 0x4000, 0x2000, 0x2001, 0x0010, 0x1fff})
	h := slices.Concat([]byte{byte(0x40 | words), byte(m.IntN(4))}, be16(words*4+len(payload)), m.bytes(2), be16(frag), []byte{64, byte(proto)}, m.bytes(2), pick(m, ip4Pool), pick(m, ip4Pool), m.bytes(words*4-20))
	if m.IntN(20) == 0 {
		h[0] = byte(m.Uint32()) // a header length of 0 to 60, a version of any
	}
	return append(h, payload...)
}

func (m maker) ipv6(depth int) []byte {
	next, payload := m.transport(depth)
	for range m.IntN(3) {
		n := m.IntN(3)
		ext := append([]byte{byte(next), byte(n)}, m.bytes(6+8*n)...)
		next = pick(m, []int{0, 43, 60})
		if m.IntN(2) == 0 {
			next, ext = 44, ext[:8]
		}
		payload = append(ext, payload...)
	}
	return slices.Concat([]byte{0x60 | byte(m.IntN(16)), 0, 0, 0}, be16(len(payload)), []byte{byte(next), 64}, pick(m, ip6Pool), pick(m, ip6Pool), payload)
}

func (m maker) arp() []byte {
	return slices.Concat(be16(1), be16(0x0800), []byte{6, 4}, be16(1+m.IntN(2)), pick(m, macPool), pick(m, ip4Pool), pick(m, macPool), pick(m, ip4Pool))
}

func (m maker) mpls() []byte {
	var b []byte
	n := 1 + m.IntN(3)
	for i := range n {
		label := pick(m, []int{1024, 100000, 5})<<12 | m.IntN(8)<<9 | 64
		if i == n-1 && m.IntN(10) > 0 {
			label |= 0x100
		}
		b = append(b, be32(label)...)
	}
	if m.IntN(2) == 0 {
		return append(b, m.ipv4(2)...)
	}
	return append(b, m.ipv6(2)...)
}

func (m maker) pppoe() []byte {
	proto, inner := 0x21, m.ipv4(2)
	if m.IntN(2) == 0 {
		proto, inner = 0x57, m.ipv6(2)
	}
	return slices.Concat([]byte{0x11, 0}, be16(pick(m, []int{0x27, 1, 0xffff})), be16(2+len(inner)), be16(proto), inner)
}

// llc makes an 802.2 header and some payload.
func (m maker) llc() []byte {
	switch m.IntN(8) {
	case 0:
		return append([]byte{0xff, 0xff}, m.bytes(20)...)
	case 1:
		org, typ := pick(m, [][]byte{{0, 0, 0}, {8, 0, 7}}), pick(m, []int{0x809b, 0x80f3, 0x8137, 0x0800})
		return slices.Concat([]byte{0xaa, 0xaa, 3}, org, be16(typ), m.bytes(20))
	case 2, 3:
		pdu := pick(m, []int{15, 16, 17, 18, 20, 24, 25, 26, 27})
		return slices.Concat([]byte{0xfe, 0xfe, 3, byte(pick(m, []int{0x81, 0x82, 0x83, 0x83, 0x83})), 20, 1, 0, byte(pdu)}, m.bytes(20))
	}
	sap := byte(pick(m, []int{0x42, 0xe0, 0xf0, 0x06, 0xfe, 0xaa}))
	return append([]byte{sap, sap, byte(pick(m, []int{0, 1, 5, 9, 3, 0x63, 0x43, 0x0f, 0x6f, 0xe3, 0xaf, 0x87, 0x13}))}, m.bytes(20)...)
}

// network makes the payload of a link layer. It returns the Ethernet type too.
func (m maker) network(depth int) (int, []byte) {
	switch m.IntN(16) {
	case 0, 1, 2, 3, 4:
		return 0x0800, m.ipv4(depth)
	case 5, 6, 7:
		return 0x86dd, m.ipv6(depth)
	case 8:
		return 0x0806, m.arp()
	case 9:
		return 0x8035, m.arp()
	case 10:
		return 0x8847, m.mpls()
	case 11:
		return 0x8864, m.pppoe()
	case 12, 13:
		b := m.llc()
		return len(b), b
	}
	return pick(m, []int{0x8863, 0x809b, 0x80f3, 0x8137, 0x6001, 0x6002, 0x6003, 0x6004, 0x6007, 0x9000, 0x88cc, 1500, 1501, 0x0600}), m.bytes(m.IntN(40))
}

func (m maker) ether(depth int) []byte {
	typ, payload := m.network(depth)
	b := slices.Concat(pick(m, macPool), pick(m, macPool))
	if m.IntN(2) == 0 {
		for range m.IntN(4) {
			b = slices.Concat(b, be16(pick(m, []int{0x8100, 0x8100, 0x88a8, 0x9100})), be16(m.IntN(8)<<13|pick(m, []int{5, 100, 200, 300, 4095})))
		}
	}
	return slices.Concat(b, be16(typ), payload)
}

// link makes a packet of the link type.
func (m maker) link(l LinkType) []byte {
	if l == LinkEthernet {
		return m.ether(0)
	}
	typ, payload := m.network(0)
	return m.wrap(l, carried{typ, payload})
}

// wrap makes a packet of the link type with the content c.
func (m maker) wrap(l LinkType, c carried) []byte {
	switch l {
	case LinkNull:
		return append(binary.NativeEndian.AppendUint32(nil, m.family(c.typ)), c.data...)
	case LinkLoop:
		return append(be32(int(m.family(c.typ))), c.data...)
	case LinkPPP:
		typ := pppMPLS
		if c.typ != etherMPLS {
			typ = int(pppProto(uint32(c.typ)))
		}
		return slices.Concat([]byte{0xff, 3}, be16(typ), c.data)
	case LinkRaw, LinkIPv4, LinkIPv6:
		return c.data
	case LinkSLL:
		return slices.Concat(be16(m.IntN(5)), be16(1), be16(6), pick(m, macPool), be16(0), be16(m.sllType(c.typ)), c.data)
	case LinkSLL2:
		return slices.Concat(be16(m.sllType(c.typ)), be16(0), be32(m.IntN(4)), be16(1), []byte{byte(m.IntN(5)), 6}, pick(m, macPool), be16(0), c.data)
	}
	return c.framed()
}

func (m maker) sllType(typ int) int {
	if typ <= 1500 {
		return pick(m, []int{4, 4, 1})
	}
	return typ
}

func (m maker) family(typ int) uint32 {
	switch typ {
	case 0x0800:
		return 2
	case 0x86dd:
		return pick(m, []uint32{24, 28, 30, 10})
	}
	return pick(m, []uint32{2, 7, 1 << 25})
}

var corpora sync.Map

// corpus returns at least 2,000 packets of the link type: whole ones, ones truncated at every
// length, random bytes, and the purposeful ones.
func corpus(l LinkType) []frame {
	if c, ok := corpora.Load(l); ok {
		return c.([]frame)
	}
	m := maker{rand.New(rand.NewPCG(1, uint64(l)))}
	var fs []frame
	for range 1100 {
		b := m.link(l)
		fs = append(fs, frame{data: b, wirelen: len(b)})
	}
	for range 20 {
		b := m.link(l)
		for n := range min(len(b), 100) {
			fs = append(fs, frame{data: b[:n], wirelen: len(b)})
		}
	}
	for range 200 {
		b := m.bytes(m.IntN(100))
		fs = append(fs, frame{data: b, wirelen: len(b) + m.IntN(1000)})
	}
	for range 400 { // any packet, cut anywhere
		b := m.link(l)
		fs = append(fs, frame{data: b[:m.IntN(len(b)+1)], wirelen: len(b)})
	}
	for _, c := range purposeful() {
		b := m.wrap(l, c)
		fs = append(fs, frame{data: b, wirelen: len(b)})
	}
	fs = append(fs, frame{})
	if len(fs) < 2000 {
		panic("the corpus is too small")
	}
	c, _ := corpora.LoadOrStore(l, fs)
	return c.([]frame)
}
