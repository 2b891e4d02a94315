package filter

import (
	"bytes"
	"slices"
)

// A carried is a payload of a link layer, with its Ethernet type.
type carried struct {
	typ  int
	data []byte
}

// framed adds an Ethernet header.
func (c carried) framed() []byte {
	return slices.Concat(macPool[0], macPool[1], be16(c.typ), c.data)
}

// inIP4, inIP6 and the functions like them wrap a payload in a packet.
func inIP4(proto byte, payload ...byte) carried {
	return from4(10, 0, 0, 1)(proto, payload...)
}

func from4(src ...byte) func(proto byte, payload ...byte) carried {
	return func(proto byte, payload ...byte) carried {
		h := slices.Concat([]byte{0x45, 0}, be16(20+len(payload)), []byte{0, 0, 0, 0, 64, proto, 0, 0}, src, []byte{192, 168, 1, 1})
		return carried{etherIP, append(h, payload...)}
	}
}

func inIP6(next byte, payload ...byte) carried {
	return from6(ip6Pool[0])(next, payload...)
}

func from6(src []byte) func(next byte, payload ...byte) carried {
	return func(next byte, payload ...byte) carried {
		h := slices.Concat([]byte{0x60, 0, 0, 0}, be16(len(payload)), []byte{next, 64}, src, ip6Pool[1])
		return carried{etherIPv6, append(h, payload...)}
	}
}

func tagged(tag int, c carried) carried {
	return carried{etherVLAN, slices.Concat(be16(tag), be16(c.typ), c.data)}
}

func labelled(c carried, labels ...int) carried {
	var b []byte
	for i, l := range labels {
		l <<= 12
		if i == len(labels)-1 {
			l |= 0x100
		}
		b = append(b, be32(l|64)...)
	}
	return carried{etherMPLS, append(b, c.data...)}
}

func inPPPoE(c carried) carried {
	proto := map[int]int{etherIP: pppIP, etherIPv6: pppIPv6}[c.typ]
	return carried{etherPPPoES, slices.Concat([]byte{0x11, 0, 0, 0x27}, be16(2+len(c.data)), be16(proto), c.data)}
}

func inGeneve(typ int, inner []byte) carried {
	return inIP4(17, slices.Concat(be16(1000), be16(6081), be32(0), []byte{1, 0}, be16(typ), be32(0xb<<8), be32(0), inner)...)
}

func ports(src, dst int, rest ...byte) []byte { return slices.Concat(be16(src), be16(dst), rest) }

// segment returns a TCP segment to port 80 with the flags.
func segment(flags byte) []byte {
	return slices.Concat(be16(1000), be16(80), be32(0), be32(0), []byte{0x50, flags, 0, 0, 0, 0, 0, 0}, []byte("GET / HTTP/1.1"))
}

// purposeful returns packets that random generation rarely produces, so that every expression of
// the list matches some packet.
func purposeful() []carried {
	var all []carried
	for typ := range byte(19) {
		for code := range byte(4) {
			all = append(all, inIP4(1, typ, code, 0, 0, 0, 0, 0, 0))
		}
	}
	for typ := range byte(154) {
		if typ <= 4 || typ >= 128 {
			all = append(all, inIP6(58, typ, typ%2, 0, 0, 0, 0, 0, 0))
		}
	}
	for _, flags := range []byte{0x01, 0x02, 0x03, 0x04, 0x10, 0x11, 0x12, 0x14, 0x18, 0x20, 0x40, 0x80} {
		all = append(all, inIP4(6, segment(flags)...), inIP6(6, segment(flags)...))
	}
	for _, p := range [][2]int{{0, 0}, {53, 53}, {80, 443}, {1000, 80}, {22, 9102}, {514, 514}, {1000, 1010}} {
		for _, proto := range []byte{6, 17, 132} {
			body := append(ports(p[0], p[1], 0, 40, 0, 0), 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)
			all = append(all, inIP4(proto, body...), inIP6(proto, body...))
		}
	}
	for _, src := range [][]byte{{10, 0, 0, 0}, {0, 0, 0, 10}, {10, 1, 0, 0}, {10, 1, 2, 0}, {0, 0, 1, 0}, {1, 0, 0, 0}, {224, 0, 0, 1}} {
		all = append(all, from4(src...)(17, ports(9, 9)...))
	}
	for _, src := range [][]byte{ip6(0, 0, 1), ip6(0, 0, 0), {10: 0xff, 11: 0xff, 12: 10, 15: 1}, {1: 1, 3: 2, 5: 3, 7: 4, 9: 5, 11: 6, 13: 7, 15: 8}} {
		all = append(all, from6(src)(17, ports(9, 9)...))
	}
	return append(all, oddities()...)
}

// oddities returns unusual packets.
func oddities() []carried {
	web, short := inIP4(6, segment(2)...), inIP4(17, ports(9, 9)...)
	short.data[8] = 1 // hop limit
	padded := carried{etherIP, append(slices.Clone(web.data), 0, 0, 0, 0)}
	echo := inIP6(58, 128, 0, 0, 0, 0, 0, 0, 0)
	geneve := inGeneve(0x6558, web.framed())
	long := inIP4(17, ports(9, 9)...)
	long.data[3] += 14 // longer than the packet
	all := []carried{
		short, padded, long, inIP4(2, 0x11, 0, 0, 0, 0, 0, 0, 0), inIP4(9, 0, 0, 0, 0), inIP4(103, 0x20, 0, 0, 0), inIP4(112, 0x21, 5, 0, 0),
		tagged(0, web), tagged(100, web), tagged(100, tagged(200, web)), labelled(web, 1024), labelled(web, 100000, 1024), labelled(echo, 5),
		inPPPoE(web), inPPPoE(echo), geneve, inGeneve(0x0800, web.data), inGeneve(0x86dd, echo.data),
		inGeneve(0x6558, tagged(100, web).framed()), inGeneve(0x6558, echo.framed()), inGeneve(0x6558, inPPPoE(web).framed()), inGeneve(0x6558, labelled(web, 5).framed()),
		inGeneve(0x6558, slices.Concat(macPool[2], geneve.framed()[6:])),
		inGeneve(0x6558, geneve.framed()), inGeneve(0x6558, inGeneve(0x0800, web.data).framed()),
		inIP4(17, slices.Concat(ports(9, 9, 6, 64, 0, 0), []byte{0, 0}, bytes.Repeat([]byte{0, 0, 0, 1}, 400))...),
	}
	for _, typ := range []int{0, 0xffff, etherATalk, etherDECnet, etherLAT, etherSCA, etherMOPRC, etherMOPDL} {
		all = append(all, carried{typ, append([]byte{1, 0}, make([]byte, 30)...)}, carried{typ, make([]byte, 30)})
	}
	for op := range 5 {
		body := slices.Concat(be16(1), be16(0x0800), []byte{6, 4}, be16(op), make([]byte, 20))
		all = append(all, carried{etherARP, body}, carried{etherRARP, body})
	}
	return all
}
