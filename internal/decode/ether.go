package decode

func pause(s *sink, x data) {
	if !s.enter("pause") {
		return
	}
	c := read(x)
	op, quanta := c.u16(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("opcode", "%d", op)
	s.field("quanta", "%d", quanta)
	switch op {
	case 1:
		s.say("for %d quanta", quanta)
	case 0x101:
		s.say("by class, classes 0x%02x", quanta&0xff)
	default:
		s.say("opcode 0x%04x", op)
	}
}

// slow is one of the slow protocols: LACP, marker, OAM, ESMC.
func slowProtocol(s *sink, x data) {
	if len(x.b) > 0 && x.b[0] == 1 {
		lacp(s, x)
		return
	}
	if !s.enter("slow") {
		return
	}
	c := read(x)
	kind := c.u8()
	if s.ended(c) {
		return
	}
	s.field("subtype", "%d", kind)
	s.say("%s, length %d", pick([]string{2: "marker", 3: "OAM", 10: "ESMC"}, int(kind)), x.n)
}

func lacp(s *sink, x data) {
	if !s.enter("lacp") {
		return
	}
	c := read(x)
	c.u8()
	version := c.u8()
	if s.ended(c) {
		return
	}
	s.field("version", "%d", version)
	for _, who := range []string{"actor", "partner"} {
		c.u16() // type and length of the part
		prio, mac, key, portPrio, port, state := c.u16(), c.mac(), c.u16(), c.u16(), c.u16(), c.u8()
		c.u24()
		if s.ended(c) {
			return
		}
		words := flagWords("none", uint64(state), "active", "short", "aggregatable", "in-sync", "collecting", "distributing", "defaulted", "expired")
		s.field(who, "%s priority %d key %d port %d port priority %d state [%s]", mac, prio, key, port, portPrio, words)
		s.say("%s %s key %d port %d [%s]", who, mac, key, port, words)
	}
}

var ptpNames = []string{
	"sync", "delay-req", "pdelay-req", "pdelay-resp", 8: "follow-up", 9: "delay-resp", 10: "pdelay-resp-follow-up",
	11: "announce", 12: "signaling", 13: "management",
}

func ptp(s *sink, x data) {
	if !s.enter("ptp") {
		return
	}
	c := read(x)
	kind, version, n, domain := c.u8(), c.u8(), c.u16(), c.u8()
	c.u8()
	flags, correction := c.u16(), c.u64()
	c.u32()
	clock, port, seq := c.u64(), c.u16(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("version", "%d", version&15)
	s.field("length", "%d", n)
	s.field("domain", "%d", domain)
	s.field("flags", "0x%04x", flags)
	s.field("correction", "%d", int64(correction))
	s.field("clock", "%016x", clock)
	s.field("port", "%d", port)
	s.say("%s v%d, domain %d, clock %016x port %d, seq %d", pick(ptpNames, int(kind&15)), version&15, domain, clock, port, seq)
}

func macsec(s *sink, x data) {
	if !s.enter("macsec") {
		return
	}
	c := read(x)
	tci, short, pn := c.u8(), c.u8(), c.u32()
	if s.ended(c) {
		return
	}
	s.field("tci", "0x%02x", tci)
	s.field("short length", "%d", short)
	s.field("packet number", "%d", pn)
	s.say("an %d, pn %d", tci&3, pn)
	if tci&0x20 != 0 {
		mac, port := c.mac(), c.u16()
		if s.ended(c) {
			return
		}
		s.say("sci %s port %d", mac, port)
	}
	if tci&8 != 0 {
		s.say("encrypted")
	}
	s.sayNumber("length ", uint64(c.n))
}

// pbb is a provider's backbone: a tag, and the customer's frame.
func pbb(s *sink, x data) {
	if !s.enter("pbb") {
		return
	}
	c := read(x)
	tag := c.u32()
	if s.ended(c) {
		return
	}
	id := tag & 0xffffff
	s.field("service", "%d", id)
	if s.tunnel("pbb", &id) {
		ethernet(s, c.data)
	}
}

// nsh is a network service header.
func nsh(s *sink, x data) {
	if !s.enter("nsh") {
		return
	}
	c := read(x)
	first, path := c.u32(), c.u32()
	n := int(first>>16&63) * 4
	if s.ended(c) {
		return
	}
	if n < 8 {
		s.bad("nsh header of %d bytes", n)
		return
	}
	s.field("length", "%d", n)
	s.field("service path", "%d", path>>8)
	s.field("service index", "%d", path&0xff)
	gpe(s, "nsh", path>>8, uint8(first), x.from(n))
}

const wakeLength = 102 // six times ff, then sixteen times the address

// isMagic says whether a datagram may be a magic packet; isMagicRepeated, where
// the port says nothing, wants to see the address twice.
func isMagic(x data) bool {
	return x.n >= wakeLength && len(x.b) >= 6 && string(x.b[:6]) == "\xff\xff\xff\xff\xff\xff"
}

func isMagicRepeated(x data) bool {
	return isMagic(x) && len(x.b) >= 18 && string(x.b[6:12]) == string(x.b[12:18])
}

// wakeOnLAN is a magic packet.
func wakeOnLAN(s *sink, x data) {
	if !s.enter("wake-on-lan") {
		return
	}
	c := read(x)
	c.take(6)
	mac := c.mac()
	if s.ended(c) {
		return
	}
	s.field("target", "%s", mac)
	s.say("for %s", mac)
}

var cfmNames = []string{1: "continuity check", 2: "loopback reply", 3: "loopback message", 4: "linktrace reply", 5: "linktrace message"}

func cfm(s *sink, x data) {
	if !s.enter("cfm") {
		return
	}
	c := read(x)
	level, op, flags := c.u8(), c.u8(), c.u8()
	c.u8()
	seq := c.u32()
	if s.ended(c) {
		return
	}
	s.field("version", "%d", level&31)
	s.field("flags", "0x%02x", flags)
	s.say("%s, level %d, seq %d", pick(cfmNames, int(op)), level>>5, seq)
}

// ctp is Ethernet's configuration test protocol; its numbers are little-endian.
func ctp(s *sink, x data) {
	if !s.enter("ctp") {
		return
	}
	c := read(x)
	skip, function := c.take(2), c.take(2)
	if s.ended(c) {
		return
	}
	s.field("skip", "%d", int(skip[1])<<8|int(skip[0]))
	s.say("%s, length %d", pick([]string{1: "reply", 2: "forward"}, int(function[1])<<8|int(function[0])), x.n)
}

var (
	eapolTypes = []string{"eap", "start", "logoff", "key", "asf-alert", "mka"}
	eapCodes   = []string{1: "request", 2: "response", 3: "success", 4: "failure", 5: "initiate", 6: "finish"}
	eapTypes   = []string{
		1: "identity", 2: "notification", 3: "nak", 4: "md5", 5: "otp", 6: "gtc", 13: "tls", 17: "leap", 18: "sim", 21: "ttls", 23: "aka",
		25: "peap", 26: "mschapv2", 43: "fast", 50: "aka'", 52: "pwd", 55: "teap",
	}
)

func eapol(s *sink, x data) {
	if !s.enter("eapol") {
		return
	}
	c := read(x)
	version, kind, n := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("version", "%d", version)
	s.field("type", "%d", kind)
	s.field("length", "%d", n)
	if kind == 0 {
		eap(s, c.limit(int(n)))
		return
	}
	s.say("%s v%d, length %d", pick(eapolTypes, int(kind)), version, n)
}

func eap(s *sink, x data) {
	if !s.enter("eap") {
		return
	}
	c := read(x)
	code, id, n := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("code", "%d", code)
	s.field("id", "%d", id)
	s.field("length", "%d", n)
	s.say("%s, id %d", pick(eapCodes, int(code)), id)
	if code != 1 && code != 2 {
		return
	}
	kind := c.u8()
	if s.ended(c) {
		return
	}
	s.sayText(pick(eapTypes, int(kind)))
	if kind == 1 && len(c.b) > 0 {
		s.more(" %s", printable(c.limit(int(n)-5).b))
	}
}
