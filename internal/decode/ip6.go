package decode

import (
	"encoding/binary"
	"net/netip"
)

func (d *Decoder) ipv6(x data) {
	if !d.enter("ipv6") {
		return
	}
	c := read(x)
	first, n, next, hops := c.u32(), int(c.u16()), c.u8(), c.u8()
	src, dst := c.ip6(), c.ip6()
	if d.ended(c) {
		return
	}
	f := &d.frame
	f.Src, f.Dst = src, dst
	f.IP = &f.room.ip
	*f.IP = IP{Version: 6, Protocol: next, TTL: hops, Length: 40 + n, TOS: uint8(first >> 20), FlowLabel: first & 0xfffff}
	if d.verbose {
		d.field("version", "%d", first>>28)
		d.field("traffic class", "0x%02x", f.IP.TOS)
		d.field("flow label", "0x%05x", f.IP.FlowLabel)
		d.field("payload length", "%d", n)
		d.field("next header", "%d (%s)", next, protoName(next))
		d.field("hop limit", "%d", hops)
		d.field("source", "%s", src)
		d.field("destination", "%s", dst)
	}
	if first>>28 != 6 {
		d.bad("version %d in an IPv6 header", first>>28)
		return
	}
	d.pseudo = pseudo{addresses: sum(0, x.b[8:40])}
	d.extensions(next, d.ipv6Length(c.data, n, next))
}

// ipv6Length takes off what is behind the packet.
func (d *Decoder) ipv6Length(x data, n int, next uint8) data {
	switch {
	case n == 0 && next == 0, n == 0 && x.n > 0xffff: // a jumbogram
		d.frame.IP.Length = 40 + x.n
	case n > x.n:
		d.bad("payload length %d, only %d there", n, x.n)
	default:
		return x.limit(n)
	}
	return x
}

// extensions decodes the headers between that of IPv6 and the payload.
func (d *Decoder) extensions(next uint8, x data) {
	for {
		d.frame.IP.Protocol = next
		ok := false
		switch next {
		case 0, 60:
			next, x, ok = d.optionsHeader(next, x)
		case 43:
			next, x, ok = d.routing(x)
		case 44:
			next, x, ok = d.fragmentHeader(x)
		case 135, 139, 140:
			next, x, ok = d.otherExtension(next, x)
		default:
			d.ipPayload(next, x)
			return
		}
		if !ok {
			return
		}
	}
}

// extension reads the two bytes that most extension headers begin with, and
// returns the rest of the header and what is behind it.
func (d *Decoder) extension(name string, x data) (next uint8, rest, after data, ok bool) {
	if !d.enter(name) {
		return 0, data{}, data{}, false
	}
	c := read(x)
	next = c.u8()
	n := int(c.u8())*8 + 8
	c.take(n - 2)
	if d.ended(c) {
		return 0, data{}, data{}, false
	}
	d.field("next header", "%d (%s)", next, protoName(next))
	d.field("length", "%d", n)
	return next, x.limit(n).from(2), x.from(n), true
}

func (d *Decoder) otherExtension(proto uint8, x data) (uint8, data, bool) {
	next, rest, after, ok := d.extension(protoName(proto), x)
	if ok {
		d.field("data", "%s", hexBytes(rest.b))
		d.say("%s", protoName(proto))
	}
	return next, after, ok
}

func (d *Decoder) optionsHeader(proto uint8, x data) (uint8, data, bool) {
	next, rest, after, ok := d.extension(protoName(proto), x)
	if !ok {
		return 0, after, false
	}
	c := read(rest)
	for i := 0; len(c.b) > 0 && i < maxItems; i++ {
		kind := c.u8()
		if kind == 0 {
			continue
		}
		b := c.take(int(c.u8()))
		if c.short {
			d.bad("option %d of %s ends behind it", kind, protoName(proto))
			break
		}
		d.ipv6Option(kind, b)
	}
	return next, after, true
}

func (d *Decoder) ipv6Option(kind uint8, b []byte) {
	switch {
	case kind == 1:
		d.field("padding", "%d", len(b)+2)
	case kind == 5 && len(b) == 2:
		d.field("router alert", "%d", binary.BigEndian.Uint16(b))
	case kind == 0xc2 && len(b) == 4:
		d.field("jumbo payload", "%d", binary.BigEndian.Uint32(b))
	case kind == 0xc9 && len(b) == 16:
		d.field("home address", "%s", netip.AddrFrom16([16]byte(b)))
	default:
		d.field("option", "%d 0x%s", kind, hexBytes(b))
	}
}

// routing: the checksums behind it are over the last address of the route.
func (d *Decoder) routing(x data) (uint8, data, bool) {
	next, rest, after, ok := d.extension("routing", x)
	if !ok {
		return 0, after, false
	}
	c := read(rest)
	kind, left := c.u8(), c.u8()
	d.field("type", "%d", kind)
	d.field("segments left", "%d", left)
	d.say("routing type %d, segments left %d", kind, left)
	c.u32()
	n := len(c.b) / 16
	if left == 0 || n == 0 || kind != 0 && kind != 2 && kind != 4 {
		return next, after, true
	}
	for i := range min(n, maxItems) {
		d.field("address", "%s", netip.AddrFrom16([16]byte(c.b[16*i:])))
	}
	last := c.b[16*(n-1):]
	if kind == 4 { // segment routing lists them backwards
		last = c.b
	}
	src := d.frame.Src.As16()
	d.pseudo.addresses = sum(sum(0, src[:]), last[:16])
	return next, after, true
}

func (d *Decoder) fragmentHeader(x data) (uint8, data, bool) {
	if !d.enter("fragment") {
		return 0, data{}, false
	}
	c := read(x)
	next := c.u8()
	c.u8()
	offset, id := c.u16(), c.u32()
	if d.ended(c) {
		return 0, data{}, false
	}
	h := d.frame.IP
	h.ID, h.MoreFragments, h.FragmentOffset = id, offset&1 != 0, int(offset&^7)
	d.pseudo.fragment = h.MoreFragments || h.FragmentOffset > 0
	d.field("next header", "%d (%s)", next, protoName(next))
	d.field("offset", "%d", h.FragmentOffset)
	d.field("more", "%d", offset&1)
	d.field("id", "0x%08x", id)
	if h.FragmentOffset > 0 {
		h.Protocol = next
		d.ipPayload(next, c.data)
		return 0, data{}, false
	}
	return next, c.data, true
}
