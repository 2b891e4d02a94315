package decode

import "encoding/binary"

func (d *Decoder) gre(x data) {
	if !d.enter("gre") {
		return
	}
	c := read(x)
	flags, proto := c.u16(), c.u16()
	if d.ended(c) {
		return
	}
	d.field("flags", "0x%04x (%s)", flags, flagWords("none", uint64(flags>>11), "strict", "sequence", "key", "routing", "checksum"))
	d.field("version", "%d", flags&7)
	d.field("protocol", "0x%04x (%s)", proto, etherName(proto))
	if flags&7 == 1 {
		d.pptp(flags, c)
		return
	}
	if flags&0xc000 != 0 {
		d.field("checksum", "0x%04x", c.u16())
		c.u16() // the offset of routing
	}
	var key *uint32
	if flags&0x2000 != 0 {
		k := c.u32()
		key = &k
		d.field("key", "%d", k)
	}
	sequence := flags&0x1000 != 0
	if sequence {
		d.field("sequence", "%d", c.u32())
	}
	if d.ended(c) || !d.tunnel("gre", key) {
		return
	}
	d.greInner(proto, sequence, c)
}

func (d *Decoder) greInner(proto uint16, sequence bool, c *cursor) {
	switch {
	case proto == 0x88be && sequence:
		d.erspan(c)
	case proto == 0x88be: // without a header
		d.ethernet(c.data)
	case proto == 0x22eb:
		d.erspan3(c)
	case proto == 0x880b:
		d.ppp(c.data)
	case proto == 0:
		d.say("keepalive")
	default:
		d.etherType(proto, c.data)
	}
}

// pptp is version 1 of GRE: the key is a length and a call.
func (d *Decoder) pptp(flags uint16, c *cursor) {
	n, call := int(c.u16()), uint32(c.u16())
	if flags&0x1000 != 0 {
		d.field("sequence", "%d", c.u32())
	}
	if flags&0x80 != 0 {
		d.field("acknowledgment", "%d", c.u32())
	}
	if d.ended(c) {
		return
	}
	d.field("call", "%d", call)
	d.field("payload length", "%d", n)
	if n == 0 {
		d.say("v1, call %d, acknowledgment", call)
		return
	}
	if d.tunnel("pptp", &call) {
		d.ppp(c.limit(n))
	}
}

func (d *Decoder) erspan(c *cursor) {
	if !d.enter("erspan") {
		return
	}
	vlan, id := c.u16(), c.u16()
	c.u32()
	if d.ended(c) {
		return
	}
	d.field("version", "%d", vlan>>12)
	d.field("vlan", "%d", vlan&0xfff)
	d.field("session", "%d", id&0x3ff)
	d.ethernet(c.data)
}

func (d *Decoder) erspan3(c *cursor) {
	if !d.enter("erspan") {
		return
	}
	vlan, id := c.u16(), c.u16()
	c.u32() // a time
	c.u16()
	more := c.u16()
	if more&1 != 0 {
		c.u64()
	}
	if d.ended(c) {
		return
	}
	d.field("version", "%d", vlan>>12)
	d.field("vlan", "%d", vlan&0xfff)
	d.field("session", "%d", id&0x3ff)
	d.ethernet(c.data)
}

func (d *Decoder) etherIP(x data) {
	if !d.enter("etherip") {
		return
	}
	c := read(x)
	version := c.u16()
	if d.ended(c) {
		return
	}
	d.field("version", "%d", version>>12)
	if d.tunnel("etherip", nil) {
		d.ethernet(c.data)
	}
}

// vxlan has the generic extension where a bit says that the type of the payload
// is told.
func (d *Decoder) vxlan(x data) {
	if !d.enter("vxlan") {
		return
	}
	c := read(x)
	flags, _, next, id := c.u8(), c.u16(), c.u8(), c.u32()>>8
	if d.ended(c) {
		return
	}
	d.field("flags", "0x%02x", flags)
	d.field("vni", "%d", id)
	if !d.tunnel("vxlan", &id) {
		return
	}
	if flags&4 != 0 {
		d.gpe(next, c.data)
		return
	}
	d.ethernet(c.data)
}

func (d *Decoder) geneve(x data) {
	if !d.enter("geneve") {
		return
	}
	c := read(x)
	first, flags, proto, id := c.u8(), c.u8(), c.u16(), c.u32()>>8
	options := c.take(int(first&63) * 4)
	if d.ended(c) {
		return
	}
	d.field("version", "%d", first>>6)
	d.field("flags", "0x%02x", flags)
	d.field("protocol", "0x%04x (%s)", proto, etherName(proto))
	d.field("vni", "%d", id)
	d.field("options", "%d bytes", len(options))
	if d.tunnel("geneve", &id) {
		d.etherType(proto, c.data)
	}
}

var gtpTypes = map[uint8]string{
	1: "echo request", 2: "echo response", 26: "error indication", 31: "supported extension headers", 254: "end marker", 255: "g-pdu",
	16: "create pdp request", 17: "create pdp response", 18: "update pdp request", 19: "update pdp response", 20: "delete pdp request",
	21: "delete pdp response", 32: "create session request", 33: "create session response", 34: "modify bearer request",
	35: "modify bearer response", 36: "delete session request", 37: "delete session response",
}

// gtp is GTP version 1 of users, or the control protocol in versions 1 and 2.
func (d *Decoder) gtp(x data) {
	if !d.enter("gtp") {
		return
	}
	c := read(x)
	flags, kind, n := c.u8(), c.u8(), c.u16()
	name, ok := gtpTypes[kind]
	if !ok {
		name = "type " + number(int(kind))
	}
	var id uint32
	if flags>>5 == 1 || flags&8 != 0 {
		id = c.u32()
	}
	if flags>>5 == 1 && flags&7 != 0 {
		d.gtpExtensions(flags, c)
	}
	if d.ended(c) {
		return
	}
	d.field("version", "%d", flags>>5)
	d.field("type", "%d", kind)
	d.field("length", "%d", n)
	d.field("teid", "0x%08x", id)
	if kind == 255 && flags>>5 == 1 {
		if d.tunnel("gtp", &id) {
			d.ip(c.data)
		}
		return
	}
	d.say("v%d %s, teid 0x%08x", flags>>5, name, id)
}

func (d *Decoder) gtpExtensions(flags uint8, c *cursor) {
	seq := c.u16()
	c.u8()
	next := c.u8()
	d.field("sequence", "%d", seq)
	for i := 0; flags&4 != 0 && next != 0 && i < maxItems && !c.short; i++ {
		d.field("extension", "0x%02x", next)
		n := int(c.u8())*4 - 2
		if n < 0 {
			d.bad("gtp extension of no length")
			return
		}
		c.take(n)
		next = c.u8()
	}
}

func (d *Decoder) l2tp(x data) {
	if !d.enter("l2tp") {
		return
	}
	c := read(x)
	flags := c.u16()
	if flags&15 != 2 {
		if !d.ended(c) {
			d.say("version %d", flags&15)
		}
		return
	}
	if flags&0x4000 != 0 {
		d.field("length", "%d", c.u16())
	}
	tunnel, session := c.u16(), c.u16()
	if flags&0x0800 != 0 {
		d.field("sequence", "%d", c.u16())
		d.field("expected", "%d", c.u16())
	}
	if flags&0x0200 != 0 {
		c.take(int(c.u16()))
	}
	if d.ended(c) {
		return
	}
	d.field("flags", "0x%04x", flags)
	d.field("tunnel", "%d", tunnel)
	d.field("session", "%d", session)
	if flags&0x8000 != 0 {
		d.l2tpControl(tunnel, session, c)
		return
	}
	id := uint32(session)
	if d.tunnel("l2tp", &id) {
		d.ppp(c.data)
	}
}

var l2tpTypes = []string{1: "SCCRQ", 2: "SCCRP", 3: "SCCCN", 4: "StopCCN", 6: "HELLO", 7: "OCRQ", 8: "OCRP", 9: "OCCN", 10: "ICRQ", 11: "ICRP", 12: "ICCN", 14: "CDN", 15: "WEN", 16: "SLI"}

func (d *Decoder) l2tpControl(tunnel, session uint16, c *cursor) {
	d.say("control, tunnel %d, session %d", tunnel, session)
	if c.n == 0 {
		d.say("ZLB")
		return
	}
	avp := c.take(8)
	if d.ended(c) {
		return
	}
	d.say("%s", pick(l2tpTypes, int(binary.BigEndian.Uint16(avp[6:]))))
}

func (d *Decoder) l2tp3(x data) {
	if !d.enter("l2tp") {
		return
	}
	c := read(x)
	session := c.u32()
	if d.ended(c) {
		return
	}
	d.field("session", "%d", session)
	d.say("v3, session %d, length %d", session, c.n)
}
