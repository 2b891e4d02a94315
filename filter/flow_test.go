package filter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// parsed returns the flow of one frame, whose sender is A, as the documentation of Flow asks for it.
func parsed(l LinkType, b []byte, wirelen int) Flow {
	f := Flow{Link: l}
	f.A.Packets, f.A.Bytes, f.A.Has = 1, uint64(wirelen), HasBytes
	f.link(b)
	return f
}

func (f *Flow) link(b []byte) {
	has := func(n int) bool { // a header of n bytes
		if len(b) >= n {
			f.Has |= HasFrame
		}
		return len(b) >= n
	}
	u16 := func(off int) uint16 { return binary.BigEndian.Uint16(b[off:]) }
	switch f.Link {
	case LinkEthernet:
		if has(14) {
			f.A.MAC, f.B.MAC = [6]byte(b[6:]), [6]byte(b[:6])
			f.A.Has, f.B.Has = f.A.Has|HasMAC, f.B.Has|HasMAC
			f.EtherType = u16(12)
			b = b[14:]
		}
	case LinkSLL:
		if has(16) {
			f.EtherType = u16(14)
			b = b[16:]
		}
	case LinkSLL2:
		if has(20) {
			f.EtherType = u16(0)
			b = b[20:]
		}
	case LinkPPP:
		if has(4) {
			f.EtherType = map[uint16]uint16{pppIP: etherIP, pppIPv6: etherIPv6}[u16(2)]
			b = b[4:]
		}
	case LinkNull, LinkLoop:
		if has(4) {
			n := binary.BigEndian.Uint32(b)
			if f.Link == LinkNull {
				n = binary.NativeEndian.Uint32(b)
			}
			f.EtherType = map[uint32]uint16{2: etherIP, 24: etherIPv6, 28: etherIPv6, 30: etherIPv6, 10: etherIPv6}[n]
			b = b[4:]
		}
	case LinkIPv4:
		f.Has, f.EtherType = HasFrame, etherIP
	case LinkIPv6:
		f.Has, f.EtherType = HasFrame, etherIPv6
	case LinkRaw:
		if has(1) {
			f.EtherType = map[byte]uint16{4: etherIP, 6: etherIPv6}[b[0]>>4]
		}
	}
	for isTag(uint32(f.EtherType)) && len(b) >= 4 && len(f.VLANs) < 4 {
		f.VLANs, f.EtherType = append(f.VLANs, u16(0)&0xfff), u16(2)
		b = b[4:]
	}
	if f.Has&HasFrame != 0 {
		f.network(b)
	}
}

func (f *Flow) network(b []byte) {
	addr := func(at, n int) netip.Addr {
		a, _ := netip.AddrFromSlice(b[at : at+n])
		return a
	}
	switch f.EtherType {
	case etherIP:
		if len(b) < 20 {
			return
		}
		f.A.Addr, f.B.Addr = addr(12, 4), addr(16, 4)
		f.Protocol, f.Has = b[9], f.Has|HasProtocol
		if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			f.Has |= LaterFragments
		} else if n := int(b[0]&15) * 4; n <= len(b) {
			f.transport(b[n:])
		}
	case etherIPv6:
		if len(b) < 40 {
			return
		}
		f.A.Addr, f.B.Addr = addr(8, 16), addr(24, 16)
		f.Protocol, f.Has = b[6], f.Has|HasProtocol
		if !isExtension(b[6]) {
			f.Has |= NoExtensions
		}
		b = b[40:]
		for isExtension(f.Protocol) {
			n := 8
			if len(b) >= 2 && f.Protocol == ipAH {
				n = (int(b[1]) + 2) * 4
			} else if len(b) >= 2 && f.Protocol != ipFragment {
				n += int(b[1]) * 8
			}
			if len(b) < n {
				return
			}
			later := f.Protocol == ipFragment && binary.BigEndian.Uint16(b[2:])&0xfff8 != 0
			f.Protocol, b = b[0], b[n:]
			if later {
				f.Has |= LaterFragments
				return
			}
		}
		f.transport(b)
	case etherARP, etherRARP:
		if len(b) >= 28 {
			f.A.Addr, f.B.Addr = addr(14, 4), addr(24, 4)
		}
	}
}

func (f *Flow) transport(b []byte) {
	switch f.Protocol {
	case ipTCP, ipUDP, ipSCTP:
		if len(b) >= 4 {
			f.A.Port, f.B.Port = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
			f.A.Has, f.B.Has = f.A.Has|HasPort, f.B.Has|HasPort
		}
		if f.Protocol == ipTCP && len(b) >= 14 {
			f.A.TCPFlags, f.A.Has = b[13], f.A.Has|HasTCPFlags
		}
	case ipICMP, ipICMPv6:
		if len(b) >= 2 {
			f.A.ICMPType, f.A.ICMPCode, f.A.Has = b[0], b[1], f.A.Has|HasICMP
		}
	}
}

// A testFlow is a flow with its frames.
type testFlow struct {
	Flow
	frames []frame
}

// identity returns what tells flows apart. That of a frame in the other direction is equal once the ends are exchanged.
func (f *Flow) identity(a, b *Endpoint) string {
	icmp := ""
	if (a.Has|b.Has)&HasICMP != 0 {
		icmp = fmt.Sprint(a.ICMPType|b.ICMPType, a.ICMPCode|b.ICMPCode)
	}
	end := func(e *Endpoint) string {
		s := fmt.Sprint(e.Addr, e.Port, e.Has&HasPort)
		if !e.Addr.IsValid() {
			s += fmt.Sprint(e.MAC)
		}
		return s
	}
	return fmt.Sprint(f.Has, f.Link, f.EtherType, f.Protocol, f.VLANs, icmp, end(a), end(b))
}

// flowsOf groups frames by flow.
func flowsOf(l LinkType, frames []frame) []*testFlow {
	var all []*testFlow
	known := map[string]*testFlow{}
	for _, fr := range frames {
		f := parsed(l, fr.data, fr.wirelen)
		to, back := known[f.identity(&f.A, &f.B)], false
		if to == nil {
			to = known[f.identity(&f.B, &f.A)]
			back = to != nil
		}
		if to == nil {
			to = &testFlow{Flow: f}
			known[f.identity(&f.A, &f.B)] = to
			all = append(all, to)
		} else {
			to.add(f, back)
		}
		to.frames = append(to.frames, fr)
	}
	return all
}

func (t *testFlow) add(f Flow, back bool) {
	a, b := &t.A, &t.B
	if back {
		a, b = b, a
	}
	if a.Has&HasMAC != 0 && (a.MAC != f.A.MAC || b.MAC != f.B.MAC) {
		a.Has, b.Has = a.Has&^HasMAC, b.Has&^HasMAC
	}
	sent := HasTCPFlags | HasICMP | HasBytes
	if a.Packets == 0 {
		a.Has |= f.A.Has & sent
		a.ICMPType, a.ICMPCode = f.A.ICMPType, f.A.ICMPCode
	}
	a.Has &= f.A.Has | ^sent
	a.TCPFlags |= f.A.TCPFlags
	a.Packets++
	a.Bytes += f.A.Bytes
}

// forgotten returns the flow with less knowledge.
func (t *testFlow) forgotten(m maker) *testFlow {
	f := *t
	lose := func(e *Endpoint) {
		e.Has &= Fact(m.Uint32())
		if m.IntN(3) == 0 {
			e.Addr = netip.Addr{}
		}
	}
	if m.IntN(2) == 0 {
		f.Has &= Fact(m.Uint32())
	}
	if f.Has&HasFrame == 0 {
		f.Link, f.VLANs, f.EtherType = 0, nil, 0
	}
	lose(&f.A)
	lose(&f.B)
	if m.IntN(4) == 0 {
		f.A.Packets, f.B.Packets = 0, 0
	}
	return &f
}

// unlistedFlows groups frames by what they are sent to, as a table does for a flood.
func unlistedFlows(l LinkType, frames []frame) []*testFlow {
	known := map[string]*testFlow{}
	var all []*testFlow
	for _, fr := range frames {
		f := parsed(l, fr.data, fr.wirelen)
		f.Has &= HasProtocol
		f.Link, f.VLANs, f.EtherType, f.A = 0, nil, 0, Endpoint{Packets: 1, Bytes: f.A.Bytes, Has: HasBytes}
		f.B.Has &^= HasMAC
		f.B.MAC = [6]byte{}
		key := f.identity(&f.A, &f.B)
		if to := known[key]; to == nil {
			known[key] = &testFlow{Flow: f, frames: []frame{fr}}
			all = append(all, known[key])
		} else {
			to.add(f, false)
			to.frames = append(to.frames, fr)
		}
	}
	return all
}

// conversations returns frames of few ends, so that flows have several frames in both directions.
func conversations(l LinkType) []frame {
	m := maker{rand.New(rand.NewPCG(7, uint64(l)))}
	var all []frame
	for range 1000 {
		proto := pick(m, []byte{6, 6, 6, 17, 132, 1, 58})
		body := ports(pick(m, []int{80, 1000}), pick(m, []int{80, 1000}), m.bytes(8)...)
		body = append(body, 0x50, pick(m, []byte{2, 0x12, 0x10, 0x18, 0x11, 4}), 0, 0, 0, 0, 0, 0)
		if proto == 1 || proto == 58 {
			body = append([]byte{pick(m, []byte{0, 8, 128, 129}), 0}, body...)
		}
		var c carried
		if m.IntN(2) == 0 {
			c = from4(10, 0, 0, 1)(proto, body...)
			copy(c.data[16:], ip4Pool[1])
			if m.IntN(8) == 0 {
				c.data[7] = 1
			}
			if m.IntN(2) == 0 {
				copy(c.data[12:], slices.Concat(c.data[16:20], c.data[12:16]))
			}
		} else {
			if m.IntN(4) == 0 {
				body = append([]byte{proto, 0, 0, byte(m.IntN(2) * 8), 0, 0, 0, 1}, body...)
				proto = pick(m, []byte{44, 0, 60})
			}
			c = from6(ip6Pool[0])(proto, body...)
			if m.IntN(2) == 0 {
				copy(c.data[8:], slices.Concat(c.data[24:40], c.data[8:24]))
			}
		}
		for range max(0, m.IntN(5)-2) {
			c = tagged(pick(m, []int{5, 100}), c)
		}
		if m.IntN(10) == 0 {
			c.data = c.data[:m.IntN(len(c.data)+1)]
		}
		b := m.wrap(l, c)
		if l == LinkEthernet && m.IntN(2) == 0 {
			copy(b, slices.Concat(b[6:12], b[:6]))
		}
		all = append(all, frame{data: b, wirelen: len(b) + m.IntN(2)*m.IntN(100)})
	}
	return all
}

// deceptive returns frames whose bytes are those of other protocols for tests that look in a wrong place, and frames that end where
// parsers stop and filters do not.
func deceptive() (all []frame) {
	web, web6, echo := inIP4(6, segment(2)...), inIP6(6, segment(2)...), inIP6(58, 128, 0, 0, 0, 0, 0, 0, 0)
	add := func(b []byte) { all = append(all, frame{data: b, wirelen: len(b)}) }
	for _, c := range []carried{web, web6, echo, inIP4(17, ports(53, 53)...), {etherARP, make([]byte, 28)}} {
		for _, typ := range []int{0x88cc, 0x9200, etherIP, etherIPv6, etherARP, etherMPLS, etherPPPoES, 60} {
			in := tagged(100, c)
			in.typ = typ
			add(in.framed())
			add(tagged(5, in).framed())
			add(tagged(0x0800, in).framed())
		}
		for _, n := range []int{1, 2, 3, 4, 6} { // tags, of which a parser may take fewer
			in := c
			for i := range n {
				in = tagged(100+i, in)
				in.typ = []int{etherVLAN, etherQinQ, etherQinQOld}[i%3]
			}
			add(in.framed())
			for cut := range len(in.framed()) {
				add(in.framed()[:cut])
			}
		}
		add(labelled(tagged(5, c), 1024).framed())
		add(tagged(5, labelled(c, 1024)).framed())
		add(tagged(5, inPPPoE(c)).framed())
		add(tagged(5, inGeneve(0x6558, tagged(100, c).framed())).framed())
		gre := inIP4(47, slices.Concat(be16(0), be16(c.typ), c.data)...)
		add(gre.framed())
		add(tagged(5, gre).framed())
	}
	for _, ext := range []byte{0, 43, 44, 51, 60, 135, 139, 140} {
		for _, next := range []byte{6, 17, 44, 58, 59} {
			in := inIP6(ext, slices.Concat([]byte{next, 0, 0, 0, 0, 0, 0, 1}, segment(2))...)
			for cut := range len(in.framed()) {
				add(in.framed()[:cut])
			}
		}
		add(inIP4(ext, segment(2)...).framed())
	}
	for ihl := range byte(16) { // headers that are shorter or longer than they can be
		in := inIP4(6, segment(2)...)
		in.data[0] = 0x40 | ihl
		add(in.framed())
		in = inIP4(17, ports(16384, 53)...)
		in.data[0] = ihl<<4 | ihl
		add(in.framed())
	}
	for _, frag := range []int{0, 0x2000, 0x4000, 1, 0x2001, 0x1fff} {
		for _, proto := range []byte{6, 17, 132, 1, 2} {
			in := inIP4(proto, segment(2)...)
			copy(in.data[6:], be16(frag))
			add(in.framed())
			add(tagged(5, in).framed())
		}
	}
	return all
}

// flowCorpus returns flows of all kinds.
func flowCorpus(l LinkType) []*testFlow {
	m := maker{rand.New(rand.NewPCG(8, uint64(l)))}
	frames := append(slices.Clone(corpus(l)), conversations(l)...)
	if l == LinkEthernet {
		frames = append(frames, deceptive()...)
	}
	all := flowsOf(l, frames)
	for _, f := range all {
		if m.IntN(2) == 0 {
			all = append(all, f.forgotten(m))
		}
	}
	return append(all, unlistedFlows(l, frames)...)
}
