package decode

import "fmt"

func (d *Decoder) mpls(x data) {
	if !d.enter("mpls") {
		return
	}
	f := &d.frame
	c := read(x)
	for {
		if len(f.MPLS) >= maxItems {
			d.bad("more than %d labels", maxItems)
			return
		}
		e := c.u32()
		if d.ended(c) {
			return
		}
		f.MPLS = append(f.MPLS, e>>12)
		d.field("label", "%d class %d bottom %d ttl %d", e>>12, e>>9&7, e>>8&1, e&0xff)
		if e&0x100 != 0 {
			break
		}
	}
	d.labelled(c.data)
}

// labelled guesses what is behind the last label, as everybody must.
func (d *Decoder) labelled(x data) {
	if len(x.b) == 0 {
		d.say("length %d", x.n)
		return
	}
	switch x.b[0] >> 4 {
	case 4:
		d.ipv4(x)
	case 6:
		d.ipv6(x)
	case 0: // a pseudowire's control word
		if d.tunnel("pseudowire", nil) {
			d.ethernet(x.from(4))
		}
	case 1:
		d.named("pw-ach", x)
	default:
		d.say("length %d", x.n)
	}
}

func (d *Decoder) pppoe(x data, discovery bool) {
	if !d.enter("pppoe") {
		return
	}
	c := read(x)
	version, code, session, n := c.u8(), c.u8(), c.u16(), int(c.u16())
	if d.ended(c) {
		return
	}
	d.field("version", "%d", version>>4)
	d.field("type", "%d", version&15)
	d.field("code", "0x%02x", code)
	d.field("session", "%d", session)
	d.field("length", "%d", n)
	c.data = c.limit(n)
	if discovery {
		d.pppoeTags(code, session, c)
		return
	}
	id := uint32(session)
	if d.tunnel("pppoe", &id) {
		d.pppProto(c)
	}
}

var pppoeCodes = map[uint8]string{0x09: "PADI", 0x07: "PADO", 0x19: "PADR", 0x65: "PADS", 0xa7: "PADT"}

func (d *Decoder) pppoeTags(code uint8, session uint16, c *cursor) {
	name, ok := pppoeCodes[code]
	if !ok {
		name = fmt.Sprintf("code 0x%02x", code)
	}
	d.say("%s, session %d", name, session)
	for i := 0; c.n > 0 && i < maxItems; i++ {
		tag := c.u16()
		b := c.take(int(c.u16()))
		if d.ended(c) || tag == 0 {
			return
		}
		switch tag {
		case 0x0101:
			d.field("service", "%s", printable(b))
			d.say(`service "%s"`, printable(b))
		case 0x0102:
			d.field("concentrator", "%s", printable(b))
			d.say("concentrator %s", printable(b))
		default:
			d.field("tag", "0x%04x 0x%s", tag, hexBytes(b))
		}
	}
}

// ppp is a frame of PPP, with or without HDLC's address and control.
func (d *Decoder) ppp(x data) {
	if !d.enter("ppp") {
		return
	}
	if len(x.b) >= 2 && x.b[0] == 0xff && x.b[1] == 3 {
		x = x.from(2)
	}
	d.pppProto(read(x))
}

func (d *Decoder) pppProto(c *cursor) {
	proto := uint16(c.u8())
	if proto&1 == 0 {
		proto = proto<<8 | uint16(c.u8())
	}
	if d.ended(c) {
		return
	}
	d.field("protocol", "0x%04x", proto)
	switch proto {
	case 0x0021:
		d.ipv4(c.data)
	case 0x0057:
		d.ipv6(c.data)
	case 0x0281, 0x0283:
		d.mpls(c.data)
	case 0xc021:
		d.pppControl("lcp", c.data)
	case 0x8021:
		d.pppControl("ipcp", c.data)
	case 0x8057:
		d.pppControl("ipv6cp", c.data)
	case 0x80fd:
		d.pppControl("ccp", c.data)
	case 0xc023:
		d.pppControl("pap", c.data)
	case 0xc223:
		d.pppControl("chap", c.data)
	default:
		d.say("ppp protocol 0x%04x, length %d", proto, c.n)
	}
}

var (
	lcpCodes = []string{
		1: "conf-request", 2: "conf-ack", 3: "conf-nak", 4: "conf-reject", 5: "term-request", 6: "term-ack", 7: "code-reject",
		8: "protocol-reject", 9: "echo-request", 10: "echo-reply", 11: "discard-request",
	}
	papCodes  = []string{1: "auth-request", 2: "auth-ack", 3: "auth-nak"}
	chapCodes = []string{1: "challenge", 2: "response", 3: "success", 4: "failure"}
)

func (d *Decoder) pppControl(name string, x data) {
	if !d.enter(name) {
		return
	}
	c := read(x)
	code, id, n := c.u8(), c.u8(), c.u16()
	if d.ended(c) {
		return
	}
	codes := lcpCodes
	switch name {
	case "pap":
		codes = papCodes
	case "chap":
		codes = chapCodes
	}
	d.field("code", "%d", code)
	d.field("id", "%d", id)
	d.field("length", "%d", n)
	d.say("%s, id %d, length %d", pick(codes, int(code)), id, n)
}
