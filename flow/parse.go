package flow

import (
	"encoding/binary"
	"net/netip"

	"capd/pcap"
)

// MaxLayers is how many flows of a frame are told apart: its own, and those in tunnels. Deeper ones are not looked at.
const MaxLayers = 4

// A Layer is what a frame says about one flow that it belongs to.
type Layer struct {
	Key
	Flags uint8 // of TCP
	Marks Marks
}

// A Frame is the flows of one frame, the outer one first. It may be used again.
type Frame struct {
	N      int
	Layers [MaxLayers]Layer
}

// Parse finds the flows of a frame. It reads hostile bytes: what was cut off or makes no sense is left out of the keys, and
// there is always the outer flow. It looks for addresses where pcap-filter expressions do, even if a header is malformed.
func (f *Frame) Parse(link pcap.LinkType, b []byte) {
	f.N = 0
	f.link(link, b, 0)
	if f.N == 0 {
		f.add(Layer{})
	}
}

func (f *Frame) add(l Layer) {
	if f.N < MaxLayers {
		f.Layers[f.N] = l
		f.N++
	}
}

// within begins a flow that a tunnel carries.
func (f *Frame) within(t Tunnel) (l Layer, ok bool) {
	l.Tunnel = t
	return l, f.N < MaxLayers
}

const (
	etherIPv4   = 0x0800
	etherARP    = 0x0806
	etherTEB    = 0x6558
	etherRARP   = 0x8035
	etherVLAN   = 0x8100
	etherIPv6   = 0x86dd
	etherMPLS   = 0x8847
	etherMPLSMC = 0x8848
	etherPPPoE  = 0x8864
	etherQinQ   = 0x88a8
	etherQinQ1  = 0x9100
	ether8022   = 4    // what Linux calls a frame with a length in place of a type
	maxLength   = 1500 // of an IEEE 802.2 frame: more is a type
)

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// link finds the flows of a frame by its link type. depth counts link types within link types, which only pktap has.
func (f *Frame) link(link pcap.LinkType, b []byte, depth int) {
	var l Layer
	switch link {
	case pcap.LinkTypeEthernet:
		f.ethernet(l, b)
	case pcap.LinkTypeRaw, 12, 14, 228, 229:
		f.ip(l, b)
	case pcap.LinkTypeNull, pcap.LinkTypeLoop:
		f.family32(l, b, 4)
	case pcap.LinkTypeEnc:
		f.family32(l, b, 12)
	case pcap.LinkTypePFLog:
		f.pflog(l, b)
	case pcap.LinkTypeLinuxSLL:
		if len(b) >= 16 {
			l.cooked(be16(b[4:]), b[6:])
			f.cooked(l, be16(b[14:]), be16(b[2:]), b[16:])
		}
	case pcap.LinkTypeLinuxSLL2:
		if len(b) >= 20 {
			l.cooked(uint16(b[11]), b[12:])
			f.cooked(l, be16(b), be16(b[8:]), b[20:])
		}
	case linkNFLOG:
		f.nflog(l, b)
	case pcap.LinkTypePPP, 50:
		f.ppp(l, b)
	case 51:
		f.etherType(l, etherPPPoE, b)
	case pcap.LinkTypeIEEE80211:
		f.dot11(l, b)
	case pcap.LinkTypeRadiotap:
		if len(b) >= 4 {
			f.dot11(l, from(b, int(binary.LittleEndian.Uint16(b[2:]))))
		}
	case pcap.LinkTypePKTAP:
		f.pktap(b, depth)
	}
}

const linkNFLOG pcap.LinkType = 239

// from returns b from an offset on; nothing if it ends before.
func from(b []byte, at int) []byte {
	if at > len(b) {
		return nil
	}
	return b[at:]
}

func (f *Frame) ethernet(l Layer, b []byte) {
	if len(b) >= 6 {
		l.DstMAC, l.Has = MAC(b[:6]), l.Has|HasDstMAC
	}
	if len(b) >= 12 {
		l.SrcMAC, l.Has = MAC(b[6:12]), l.Has|HasSrcMAC
	}
	f.typeOrLength(l, from(b, 12))
}

func (f *Frame) typeOrLength(l Layer, b []byte) {
	l.EtherType = 0 // not that of a tag
	switch {
	case len(b) < 2:
		l.Marks |= Short
		f.add(l)
	case be16(b) > maxLength:
		f.etherType(l, be16(b), b[2:])
	default:
		l.EtherType = ether8022
		f.add(l)
	}
}

// etherType finds the flows of what is behind an Ethernet type. The type of a frame with labels or with PPPoE stays that of
// the labels or of PPPoE, as filters see it; its addresses are those of the packet behind.
func (f *Frame) etherType(l Layer, t uint16, b []byte) {
	l.EtherType = t
	switch t {
	case etherIPv4:
		f.ipv4(l, b)
	case etherIPv6:
		f.ipv6(l, b)
	case etherARP, etherRARP:
		f.arp(l, b)
	case etherVLAN, etherQinQ, etherQinQ1:
		if len(b) < 2 || l.NumVLANs == MaxVLANs {
			l.Marks |= Short
			f.add(l)
			return
		}
		l.VLANs[l.NumVLANs] = be16(b) & 0xfff
		l.NumVLANs++
		f.typeOrLength(l, b[2:])
	case etherMPLS, etherMPLSMC:
		f.mpls(l, b)
	case etherPPPoE:
		f.ppp(l, from(b, 6))
	default:
		f.add(l)
	}
}

func (f *Frame) mpls(l Layer, b []byte) {
	for range maxLabels {
		if len(b) < 4 {
			break
		}
		last := b[2]&1 != 0
		b = b[4:]
		if last {
			f.ip(l, b)
			return
		}
	}
	f.add(l)
}

func (f *Frame) ppp(l Layer, b []byte) {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 3 {
		b = b[2:]
	}
	var proto uint16
	switch {
	case len(b) >= 1 && b[0]&1 != 0: // compressed
		proto, b = uint16(b[0]), b[1:]
	case len(b) >= 2:
		proto, b = be16(b), b[2:]
	}
	switch proto {
	case 0x0021:
		f.ipv4(l, b)
	case 0x0057:
		f.ipv6(l, b)
	case 0x0281, 0x0283:
		f.mpls(l, b)
	default:
		f.add(l)
	}
}

// cooked takes the sender's address of a cooked header.
func (l *Layer) cooked(length uint16, addr []byte) {
	if length == 6 {
		l.SrcMAC, l.Has = MAC(addr[:6]), l.Has|HasSrcMAC
	}
}

func (f *Frame) cooked(l Layer, proto, hardware uint16, b []byte) {
	const netlink = 824
	switch {
	case hardware == netlink:
		f.add(l)
	case proto <= maxLength:
		l.EtherType = proto
		f.add(l)
	default:
		f.etherType(l, proto, b)
	}
}

// family32 reads a packet behind a header that begins with an address family, in either byte order.
func (f *Frame) family32(l Layer, b []byte, header int) {
	if len(b) < header {
		return
	}
	n := binary.BigEndian.Uint32(b)
	if n > 0xffff {
		n = binary.LittleEndian.Uint32(b)
	}
	f.family(l, n, b[header:])
}

// family reads a packet of an address family, of which each system has its own numbers for IPv6.
func (f *Frame) family(l Layer, family uint32, b []byte) {
	switch family {
	case 2:
		f.ipv4(l, b)
	case 10, 24, 28, 30:
		f.ipv6(l, b)
	default:
		f.add(l)
	}
}

func (f *Frame) pflog(l Layer, b []byte) {
	if len(b) >= 2 {
		f.family(l, uint32(b[1]), from(b, (int(b[0])+3)&^3))
	}
}

// nflog reads what netfilter logged: parts with length and type in the byte order of the machine that captured it, of which
// one is the packet.
func (f *Frame) nflog(l Layer, b []byte) {
	if len(b) < 4 {
		return
	}
	const packetHeader, payload = 1, 9
	family, proto := b[0], uint16(0)
	for b = b[4:]; len(b) >= 4; {
		var order binary.ByteOrder = binary.LittleEndian
		if order.Uint16(b[2:]) > 0xff { // no type is so high
			order = binary.BigEndian
		}
		n, kind := int(order.Uint16(b)), order.Uint16(b[2:])
		if n < 4 {
			break
		}
		part := b[4:min(n, len(b))]
		switch {
		case kind == packetHeader && len(part) >= 2:
			proto = be16(part)
		case kind == payload && proto != 0 && family != 2 && family != 10:
			f.etherType(l, proto, part)
			return
		case kind == payload:
			f.family(l, uint32(family), part)
			return
		}
		b = from(b, (n+3)&^3)
	}
	f.add(l)
}

// dot11 reads a data frame of IEEE 802.11 that is not encrypted.
func (f *Frame) dot11(l Layer, b []byte) {
	if len(b) < 24 {
		return
	}
	control, flags := b[0], b[1]
	toDS, fromDS, protected := flags&1 != 0, flags&2 != 0, flags&0x40 != 0
	if control&0x0c != 0x08 { // no data
		if control&0x0c == 0 {
			l.dot11MACs(b[4:], b[10:])
		}
		f.add(l)
		return
	}
	header := 24
	switch {
	case toDS && fromDS:
		header += 6
		if len(b) < header {
			f.add(l)
			return
		}
		l.dot11MACs(b[16:], b[24:])
	case toDS:
		l.dot11MACs(b[16:], b[10:])
	case fromDS:
		l.dot11MACs(b[4:], b[16:])
	default:
		l.dot11MACs(b[4:], b[10:])
	}
	if control&0x80 != 0 { // QoS
		header += 2
		if flags&0x80 != 0 {
			header += 4
		}
	}
	snap := from(b, header)
	if protected || control&0x40 != 0 || len(snap) < 8 || string(snap[:3]) != "\xaa\xaa\x03" {
		f.add(l)
		return
	}
	f.typeOrLength(l, snap[6:])
}

func (l *Layer) dot11MACs(dst, src []byte) {
	l.DstMAC, l.SrcMAC = MAC(dst[:6]), MAC(src[:6])
	l.Has |= HasSrcMAC | HasDstMAC
}

func (f *Frame) pktap(b []byte, depth int) {
	if len(b) < 12 || depth > 0 {
		return
	}
	length, link := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[8:])
	if length >= 12 && uint64(length) <= uint64(len(b)) {
		f.link(pcap.LinkType(min(link, 0xffff)), b[length:], depth+1)
	}
}

// arp takes the addresses of IPv4 from where filters read them.
func (f *Frame) arp(l Layer, b []byte) {
	if len(b) >= 28 {
		l.Src, l.Dst = netip.AddrFrom4([4]byte(b[14:])), netip.AddrFrom4([4]byte(b[24:]))
	} else {
		l.Marks |= Short
	}
	f.add(l)
}
