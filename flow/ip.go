package flow

import (
	"net/netip"
)

// ip reads a packet by the version in its first byte.
func (f *Frame) ip(l Layer, b []byte) {
	switch {
	case len(b) > 0 && b[0]>>4 == 4:
		f.ipv4(l, b)
	case len(b) > 0 && b[0]>>4 == 6:
		f.ipv6(l, b)
	default:
		f.add(l)
	}
}

func (f *Frame) ipv4(l Layer, b []byte) {
	l.implied(etherIPv4)
	if len(b) < minIPv4Header {
		l.Marks |= Short
		f.add(l)
		return
	}
	l.Src, l.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	l.Proto, l.Has = b[9], l.Has|HasProto
	if be16(b[6:])&0x1fff != 0 { // it has no ports
		l.Marks |= LaterFragment
		f.add(l)
		return
	}
	f.transport(l, from(b, int(b[0]&15)*4))
}

// implied sets the Ethernet type of a packet whose link layer has none.
func (l *Layer) implied(etherType uint16) {
	if l.EtherType == 0 {
		l.EtherType = etherType
	}
}

func (f *Frame) ipv6(l Layer, b []byte) {
	l.implied(etherIPv6)
	if len(b) < ipv6HeaderSize {
		l.Marks |= Short
		f.add(l)
		return
	}
	l.Src, l.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	l.Proto, l.Has = b[6], l.Has|HasProto
	b = b[ipv6HeaderSize:]
	for range maxExtensions {
		size := 0
		switch l.Proto {
		case protoHopByHop, protoRouting, protoDestOpts, protoMobility, protoHIP, protoShim6:
			if len(b) >= 2 {
				size = (int(b[1]) + 1) * 8
			}
		case protoAH:
			if len(b) >= 2 {
				size = (int(b[1]) + 2) * 4
			}
		case protoFragment:
			size = 8
			if len(b) >= size && be16(b[2:])&0xfff8 != 0 {
				l.Proto, l.Marks = b[0], l.Marks|LaterFragment|Extensions
				f.add(l)
				return
			}
		default:
			f.transport(l, b)
			return
		}
		l.Marks |= Extensions
		if size == 0 || len(b) < size {
			break
		}
		l.Proto, b = b[0], b[size:]
	}
	l.Marks |= Short
	f.add(l)
}

// transport reads what is behind the headers of IP, and what is in tunnels.
func (f *Frame) transport(l Layer, b []byte) {
	switch l.Proto {
	case protoTCP, protoUDP, protoSCTP, protoDCCP, protoUDPLite:
		need := 4
		if len(b) >= 4 {
			l.SrcPort, l.DstPort, l.Has = be16(b), be16(b[2:]), l.Has|HasPorts
		}
		if l.Proto == protoTCP {
			if need = 14; len(b) >= need {
				l.Flags = b[13]
			}
		}
		l.need(b, need)
	case protoICMP, protoICMPv6:
		if len(b) >= 2 {
			l.ICMPType, l.ICMPCode, l.Has = b[0], b[1], l.Has|HasICMP
		}
		l.need(b, 2)
	}
	f.add(l)
	f.tunnel(&l, b)
}

// need marks a frame whose header is not whole.
func (l *Layer) need(b []byte, n int) {
	if len(b) < n {
		l.Marks |= Short
	}
}

func (f *Frame) tunnel(l *Layer, b []byte) {
	switch l.Proto {
	case protoIPv4, protoIPwithin:
		if in, ok := f.within(IPIP); ok {
			f.ipv4(in, b)
		}
	case protoIPv6:
		if in, ok := f.within(IPIP); ok {
			f.ipv6(in, b)
		}
	case protoGRE:
		f.gre(b)
	case protoEtherIP:
		if in, ok := f.within(EtherIP); ok && len(b) > 2 {
			f.ethernet(in, b[2:])
		}
	case protoUDP:
		if l.has(HasPorts) && len(b) > 8 {
			f.datagram(l.DstPort, b[8:])
		}
	}
}

// gre reads version 0 of GRE (RFC 2784, RFC 2890), and ERSPAN in it.
func (f *Frame) gre(b []byte) {
	if len(b) < 4 || be16(b)&7 != 0 {
		return
	}
	const checksum, routing, key, sequence = 0x8000, 0x4000, 0x2000, 0x1000
	flags, proto, size := be16(b), be16(b[2:]), 4
	for _, bits := range [...]uint16{checksum | routing, key, sequence} {
		if flags&bits != 0 {
			size += 4
		}
	}
	b = from(b, size)
	const erspan12, erspan3, ppp = 0x88be, 0x22eb, 0x880b
	switch proto {
	case erspan12, erspan3:
		f.erspan(flags&sequence != 0, b)
		return
	}
	in, ok := f.within(GRE)
	switch {
	case !ok || len(b) == 0:
	case proto == etherTEB:
		f.ethernet(in, b)
	case proto == ppp:
		f.ppp(in, b)
	case proto > maxLength:
		f.etherType(in, proto, b)
	}
}

// erspan reads a mirrored frame: version 1 has no header and no sequence number, 2 has one of 8 bytes, 3 one of 12 or 20
// (draft-foschiano-erspan-03).
func (f *Frame) erspan(sequence bool, b []byte) {
	in, ok := f.within(ERSPAN)
	if !ok || len(b) == 0 {
		return
	}
	size := 0
	switch {
	case !sequence:
	case b[0]>>4 == 1:
		size = 8
	case b[0]>>4 == 2 && len(b) >= 12:
		size = 12
		if b[11]&1 != 0 {
			size = 20
		}
		if be16(b[10:])>>10&31 == 2 {
			f.ip(in, from(b, size))
			return
		}
	default:
		return
	}
	if b = from(b, size); len(b) > 0 {
		f.ethernet(in, b)
	}
}

// tunnelPort reports whether tunnels have a port of UDP.
func tunnelPort(port uint16) bool {
	switch port {
	case 4789, 4790, 8472, 6081, 2152:
		return true
	}
	return false
}

// datagram reads tunnels over UDP, which have ports of their own; tunnelPort knows them too.
func (f *Frame) datagram(port uint16, b []byte) {
	switch port {
	case 4789, 4790, 8472:
		f.vxlan(b)
	case 6081:
		f.geneve(b)
	case 2152:
		f.gtp(b)
	}
}

// vxlan reads VXLAN (RFC 7348), or its generic extension where a bit says that the header has the type of the payload.
func (f *Frame) vxlan(b []byte) {
	in, ok := f.within(VXLAN)
	if !ok || len(b) <= 8 {
		return
	}
	next := uint8(3)
	if b[0]&4 != 0 {
		next = b[3]
	}
	switch b = b[8:]; next {
	case 1:
		f.ipv4(in, b)
	case 2:
		f.ipv6(in, b)
	case 3:
		f.ethernet(in, b)
	}
}

// geneve reads Geneve (RFC 8926).
func (f *Frame) geneve(b []byte) {
	in, ok := f.within(Geneve)
	if !ok || len(b) < 8 {
		return
	}
	proto := be16(b[2:])
	b = from(b, 8+int(b[0]&63)*4)
	switch {
	case len(b) == 0:
	case proto == etherTEB:
		f.ethernet(in, b)
	case proto > maxLength:
		f.etherType(in, proto, b)
	}
}

// gtp reads the user plane of GTP version 1 (3GPP TS 29.281).
func (f *Frame) gtp(b []byte) {
	const gpdu = 255
	in, ok := f.within(GTP)
	if !ok || len(b) < 8 || b[0]>>5 != 1 || b[1] != gpdu {
		return
	}
	flags := b[0]
	b = b[8:]
	if flags&7 != 0 {
		if len(b) < 4 {
			return
		}
		next := b[3]
		b = b[4:]
		for flags&4 != 0 && next != 0 {
			if len(b) == 0 || b[0] == 0 || len(b) < int(b[0])*4 {
				return
			}
			n := int(b[0]) * 4
			next, b = b[n-1], b[n:]
		}
	}
	if len(b) > 0 {
		f.ip(in, b)
	}
}
