package decode

import "fmt"

// ipOther decodes the protocols of IP besides TCP and UDP.
func (d *Decoder) ipOther(proto uint8, x data) {
	switch proto {
	case 1:
		d.icmp(x)
	case 58:
		d.icmp6(x)
	case 4, 94:
		if d.tunnel("ipip", nil) {
			d.ipv4(x)
		}
	case 41:
		if d.tunnel("ipip", nil) {
			d.ipv6(x)
		}
	case 47:
		d.gre(x)
	case 97:
		d.etherIP(x)
	case 137:
		if d.tunnel("mpls-in-ip", nil) {
			d.mpls(x)
		}
	case 143: // of segment routing
		if d.tunnel("srv6", nil) {
			d.ethernet(x)
		}
	case 59:
		d.named("no-next-header", x)
	default:
		d.ipControl(proto, x)
	}
}

func (d *Decoder) ipControl(proto uint8, x data) {
	switch proto {
	case 0: // not first, where it has no place
		d.named("hop-by-hop", x)
	case 2:
		d.igmp(x)
	case 33:
		d.dccp(x)
	case 46:
		d.rsvp(x)
	case 50:
		d.esp(x)
	case 51:
		d.ah(x)
	case 88:
		d.eigrp(x)
	case 89:
		d.ospf(x)
	case 103:
		d.pim(x)
	case 108:
		d.ipcomp(x)
	case 112:
		d.vrrp(x)
	case 115:
		d.l2tp3(x)
	case 132:
		d.sctp(x)
	case 136:
		d.udplite(x)
	default:
		d.named(protoName(proto), x)
	}
}

func (d *Decoder) esp(x data) {
	if !d.enter("esp") {
		return
	}
	c := read(x)
	spi, seq := c.u32(), c.u32()
	if d.ended(c) {
		return
	}
	d.field("spi", "0x%08x", spi)
	d.field("sequence", "%d", seq)
	d.say("spi 0x%08x, seq %d, length %d", spi, seq, x.n)
}

func (d *Decoder) ah(x data) {
	if !d.enter("ah") {
		return
	}
	c := read(x)
	next, n := c.u8(), (int(c.u8())+2)*4
	c.u16()
	spi, seq := c.u32(), c.u32()
	if d.ended(c) {
		return
	}
	d.field("next header", "%d (%s)", next, protoName(next))
	d.field("length", "%d", n)
	d.field("spi", "0x%08x", spi)
	d.field("sequence", "%d", seq)
	d.say("ah spi 0x%08x seq %d", spi, seq)
	if n < 12 {
		d.bad("ah header of %d bytes", n)
		return
	}
	d.frame.IP.Protocol = next
	d.ipPayload(next, x.from(n))
}

func (d *Decoder) ipcomp(x data) {
	if !d.enter("ipcomp") {
		return
	}
	c := read(x)
	next, _, cpi := c.u8(), c.u8(), c.u16()
	if d.ended(c) {
		return
	}
	d.field("next header", "%d (%s)", next, protoName(next))
	d.field("cpi", "0x%04x", cpi)
	d.say("cpi 0x%04x, %s, length %d", cpi, protoName(next), x.n)
}

func (d *Decoder) udplite(x data) {
	if !d.enter("udplite") {
		return
	}
	c := read(x)
	src, dst, coverage, check := c.u16(), c.u16(), c.u16(), c.u16()
	if d.ended(c) {
		return
	}
	d.ports(src, dst)
	d.field("coverage", "%d", coverage)
	d.field("checksum", "0x%04x", check)
	d.say("coverage %d, length %d", coverage, c.n)
}

var dccpTypes = []string{"request", "response", "data", "ack", "dataack", "closereq", "close", "reset", "sync", "syncack"}

func (d *Decoder) dccp(x data) {
	if !d.enter("dccp") {
		return
	}
	c := read(x)
	src, dst, offset, ccval := c.u16(), c.u16(), c.u8(), c.u8()
	check, kind, high := c.u16(), c.u8(), c.u8()
	seq := uint64(c.u16())
	if kind&1 != 0 { // the long form
		seq = seq<<32 | uint64(c.u32())
	} else {
		seq |= uint64(high) << 16
	}
	if d.ended(c) {
		return
	}
	d.ports(src, dst)
	d.field("data offset", "%d", int(offset)*4)
	d.field("ccval", "%d", ccval>>4)
	d.field("coverage", "%d", ccval&15)
	d.field("checksum", "0x%04x", check)
	d.say("%s, seq %d, length %d", pick(dccpTypes, int(kind>>1&15)), seq, max(x.n-int(offset)*4, 0))
}

var sctpChunks = []string{
	"DATA", "INIT", "INIT ACK", "SACK", "HEARTBEAT", "HEARTBEAT ACK", "ABORT", "SHUTDOWN", "SHUTDOWN ACK", "ERROR",
	"COOKIE ECHO", "COOKIE ACK", "ECNE", "CWR", "SHUTDOWN COMPLETE", "AUTH", 64: "I-DATA", 128: "ASCONF ACK", 130: "RE-CONFIG",
	132: "PAD", 192: "FORWARD TSN", 193: "ASCONF", 194: "I-FORWARD TSN",
}

func (d *Decoder) sctp(x data) {
	if !d.enter("sctp") {
		return
	}
	c := read(x)
	src, dst, tag, check := c.u16(), c.u16(), c.u32(), c.u32()
	if d.ended(c) {
		return
	}
	d.ports(src, dst)
	d.field("tag", "0x%08x", tag)
	d.field("checksum", "0x%08x", check)
	for i := 0; c.n >= 4 && i < maxItems; i++ {
		kind, flags, n := c.u8(), c.u8(), int(c.u16())
		if d.ended(c) {
			return
		}
		if n < 4 {
			d.bad("sctp chunk of %d bytes", n)
			return
		}
		d.sctpChunk(kind, flags, n, c.limit(n-4))
		c.data = c.from((n+3)&^3 - 4)
	}
}

func (d *Decoder) sctpChunk(kind, flags uint8, n int, x data) {
	c := read(x)
	text := ""
	switch kind {
	case 0:
		tsn, stream, seq, ppid := c.u32(), c.u16(), c.u16(), c.u32()
		text = fmt.Sprintf(" tsn %d stream %d seq %d ppid %d length %d", tsn, stream, seq, ppid, max(n-16, 0))
	case 1, 2:
		tag, window, out, in, tsn := c.u32(), c.u32(), c.u16(), c.u16(), c.u32()
		text = fmt.Sprintf(" tag 0x%08x window %d streams %d/%d tsn %d", tag, window, out, in, tsn)
	case 3:
		tsn, window := c.u32(), c.u32()
		text = fmt.Sprintf(" tsn %d window %d", tsn, window)
	}
	if c.short {
		text = " cut"
	}
	name := pick(sctpChunks, int(kind))
	d.field("chunk", "%s flags 0x%02x length %d%s", name, flags, n, text)
	d.say("[%s]%s", name, text)
}
