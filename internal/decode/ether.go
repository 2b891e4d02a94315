package decode

// etherOther decodes the types of Ethernet that are no network's.
func (d *Decoder) etherOther(t uint16, x data) {
	switch t {
	case 0x88cc:
		d.lldp(x)
	case 0x888e:
		d.eapol(x)
	case 0x8808:
		d.pause(x)
	case 0x8809:
		d.slow(x)
	case 0x88f7:
		d.ptp(x)
	case 0x88e5:
		d.macsec(x)
	case 0x88e7:
		d.pbb(x)
	case 0x894f:
		d.nsh(x)
	case 0x0842:
		d.wake(x)
	case 0x8902:
		d.cfm(x)
	case 0x9000:
		d.ctp(x)
	default:
		d.enter(etherName(t))
		d.say("length %d", x.n)
	}
}

func (d *Decoder) pause(x data) {
	if !d.enter("pause") {
		return
	}
	c := read(x)
	op, quanta := c.u16(), c.u16()
	if d.ended(c) {
		return
	}
	d.field("opcode", "%d", op)
	d.field("quanta", "%d", quanta)
	switch op {
	case 1:
		d.say("for %d quanta", quanta)
	case 0x101:
		d.say("by class, classes 0x%02x", quanta&0xff)
	default:
		d.say("opcode 0x%04x", op)
	}
}

// slow is one of the slow protocols: LACP, marker, OAM, ESMC.
func (d *Decoder) slow(x data) {
	if len(x.b) > 0 && x.b[0] == 1 {
		d.lacp(x)
		return
	}
	if !d.enter("slow") {
		return
	}
	c := read(x)
	kind := c.u8()
	if d.ended(c) {
		return
	}
	d.field("subtype", "%d", kind)
	d.say("%s, length %d", pick([]string{2: "marker", 3: "OAM", 10: "ESMC"}, int(kind)), x.n)
}

func (d *Decoder) lacp(x data) {
	if !d.enter("lacp") {
		return
	}
	c := read(x)
	c.u8()
	version := c.u8()
	if d.ended(c) {
		return
	}
	d.field("version", "%d", version)
	for _, who := range []string{"actor", "partner"} {
		c.u16() // type and length of the part
		prio, mac, key, portPrio, port, state := c.u16(), c.mac(), c.u16(), c.u16(), c.u16(), c.u8()
		c.u24()
		if d.ended(c) {
			return
		}
		words := flagWords("none", uint64(state), "active", "short", "aggregatable", "in-sync", "collecting", "distributing", "defaulted", "expired")
		d.field(who, "%s priority %d key %d port %d port priority %d state [%s]", mac, prio, key, port, portPrio, words)
		d.say("%s %s key %d port %d [%s]", who, mac, key, port, words)
	}
}

var ptpNames = []string{
	"sync", "delay-req", "pdelay-req", "pdelay-resp", 8: "follow-up", 9: "delay-resp", 10: "pdelay-resp-follow-up",
	11: "announce", 12: "signaling", 13: "management",
}

func (d *Decoder) ptp(x data) {
	if !d.enter("ptp") {
		return
	}
	c := read(x)
	kind, version, n, domain := c.u8(), c.u8(), c.u16(), c.u8()
	c.u8()
	flags, correction := c.u16(), c.u64()
	c.u32()
	clock, port, seq := c.u64(), c.u16(), c.u16()
	if d.ended(c) {
		return
	}
	d.field("version", "%d", version&15)
	d.field("length", "%d", n)
	d.field("domain", "%d", domain)
	d.field("flags", "0x%04x", flags)
	d.field("correction", "%d", int64(correction))
	d.field("clock", "%016x", clock)
	d.field("port", "%d", port)
	d.say("%s v%d, domain %d, clock %016x port %d, seq %d", pick(ptpNames, int(kind&15)), version&15, domain, clock, port, seq)
}

func (d *Decoder) macsec(x data) {
	if !d.enter("macsec") {
		return
	}
	c := read(x)
	tci, short, pn := c.u8(), c.u8(), c.u32()
	if d.ended(c) {
		return
	}
	d.field("tci", "0x%02x", tci)
	d.field("short length", "%d", short)
	d.field("packet number", "%d", pn)
	d.say("an %d, pn %d", tci&3, pn)
	if tci&0x20 != 0 {
		mac, port := c.mac(), c.u16()
		if d.ended(c) {
			return
		}
		d.say("sci %s port %d", mac, port)
	}
	if tci&8 != 0 {
		d.say("encrypted")
	}
	d.say("length %d", c.n)
}

// pbb is a provider's backbone: a tag, and the customer's frame.
func (d *Decoder) pbb(x data) {
	if !d.enter("pbb") {
		return
	}
	c := read(x)
	tag := c.u32()
	if d.ended(c) {
		return
	}
	id := tag & 0xffffff
	d.field("service", "%d", id)
	if d.tunnel("pbb", &id) {
		d.ethernet(c.data)
	}
}

// nsh is a network service header.
func (d *Decoder) nsh(x data) {
	if !d.enter("nsh") {
		return
	}
	c := read(x)
	first, path := c.u32(), c.u32()
	n := int(first>>16&63) * 4
	if d.ended(c) {
		return
	}
	if n < 8 {
		d.bad("nsh header of %d bytes", n)
		return
	}
	d.field("length", "%d", n)
	d.field("service path", "%d", path>>8)
	d.field("service index", "%d", path&0xff)
	id := path >> 8
	if d.tunnel("nsh", &id) {
		d.gpe(uint8(first), x.from(n))
	}
}

// gpe decodes by the numbers of next protocols that VXLAN-GPE and NSH share.
func (d *Decoder) gpe(next uint8, x data) {
	switch next {
	case 1:
		d.ipv4(x)
	case 2:
		d.ipv6(x)
	case 3:
		d.ethernet(x)
	case 4:
		d.nsh(x)
	case 5:
		d.mpls(x)
	default:
		d.say("next protocol %d, length %d", next, x.n)
	}
}

// wake is a magic packet: six times ff, then sixteen times the address.
func (d *Decoder) wake(x data) {
	if !d.enter("wake-on-lan") {
		return
	}
	c := read(x)
	c.take(6)
	mac := c.mac()
	if d.ended(c) {
		return
	}
	d.field("target", "%s", mac)
	d.say("for %s", mac)
}

var cfmNames = []string{1: "continuity check", 2: "loopback reply", 3: "loopback message", 4: "linktrace reply", 5: "linktrace message"}

func (d *Decoder) cfm(x data) {
	if !d.enter("cfm") {
		return
	}
	c := read(x)
	level, op, flags := c.u8(), c.u8(), c.u8()
	c.u8()
	seq := c.u32()
	if d.ended(c) {
		return
	}
	d.field("version", "%d", level&31)
	d.field("flags", "0x%02x", flags)
	d.say("%s, level %d, seq %d", pick(cfmNames, int(op)), level>>5, seq)
}

// ctp is Ethernet's configuration test protocol; its numbers are little-endian.
func (d *Decoder) ctp(x data) {
	if !d.enter("ctp") {
		return
	}
	c := read(x)
	skip, function := c.take(2), c.take(2)
	if d.ended(c) {
		return
	}
	d.field("skip", "%d", int(skip[1])<<8|int(skip[0]))
	d.say("%s, length %d", pick([]string{1: "reply", 2: "forward"}, int(function[1])<<8|int(function[0])), x.n)
}

var (
	eapolTypes = []string{"eap", "start", "logoff", "key", "asf-alert", "mka"}
	eapCodes   = []string{1: "request", 2: "response", 3: "success", 4: "failure", 5: "initiate", 6: "finish"}
	eapTypes   = []string{
		1: "identity", 2: "notification", 3: "nak", 4: "md5", 5: "otp", 6: "gtc", 13: "tls", 17: "leap", 18: "sim", 21: "ttls", 23: "aka",
		25: "peap", 26: "mschapv2", 43: "fast", 50: "aka'", 52: "pwd", 55: "teap",
	}
)

func (d *Decoder) eapol(x data) {
	if !d.enter("eapol") {
		return
	}
	c := read(x)
	version, kind, n := c.u8(), c.u8(), c.u16()
	if d.ended(c) {
		return
	}
	d.field("version", "%d", version)
	d.field("type", "%d", kind)
	d.field("length", "%d", n)
	if kind == 0 {
		d.eap(c.limit(int(n)))
		return
	}
	d.say("%s v%d, length %d", pick(eapolTypes, int(kind)), version, n)
}

func (d *Decoder) eap(x data) {
	if !d.enter("eap") {
		return
	}
	c := read(x)
	code, id, n := c.u8(), c.u8(), c.u16()
	if d.ended(c) {
		return
	}
	d.field("code", "%d", code)
	d.field("id", "%d", id)
	d.field("length", "%d", n)
	d.say("%s, id %d", pick(eapCodes, int(code)), id)
	if code != 1 && code != 2 {
		return
	}
	kind := c.u8()
	if d.ended(c) {
		return
	}
	d.say("%s", pick(eapTypes, int(kind)))
	if kind == 1 && len(c.b) > 0 {
		d.more(" %s", printable(c.limit(int(n)-5).b))
	}
}
