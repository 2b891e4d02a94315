package decode

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

var (
	icmp6Types = map[uint8]string{
		1: "unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem", 128: "echo request", 129: "echo reply",
		130: "listener query", 131: "listener report", 132: "listener done", 133: "router solicitation", 134: "router advertisement",
		135: "neighbor solicitation", 136: "neighbor advertisement", 137: "redirect", 138: "router renumbering",
		139: "node information query", 140: "node information reply", 141: "inverse neighbor solicitation",
		142: "inverse neighbor advertisement", 143: "listener report v2", 144: "home agent request", 145: "home agent reply",
		146: "mobile prefix solicitation", 147: "mobile prefix advertisement", 148: "certification path solicitation",
		149: "certification path advertisement", 151: "multicast router advertisement", 152: "multicast router solicitation",
		153: "multicast router termination", 155: "rpl control", 160: "extended echo request", 161: "extended echo reply",
	}
	icmp6Unreachable = []string{
		"no route", "administratively prohibited", "beyond scope", "address unreachable", "port unreachable", "source address failed policy",
		"reject route", "error in source routing header",
	}
	icmp6Time    = []string{"hop limit exceeded", "time exceeded in reassembly"}
	icmp6Problem = []string{"erroneous header", "unrecognized next header", "unrecognized option", "incomplete first fragment"}
)

func icmp6(s *sink, x data) {
	if !s.enter("icmpv6") {
		return
	}
	c := read(x)
	m := icmpHeader(s, c, s.checksum(x, 58, 0))
	if m == nil {
		return
	}
	if m.Type < 128 {
		icmp6Error(s, m, c)
	} else {
		icmp6Message(s, m, c)
	}
	s.sayNumber("length ", uint64(x.n))
}

func icmp6Error(s *sink, m *ICMP, c *cursor) {
	rest := c.u32()
	if s.ended(c) {
		return
	}
	switch m.Type {
	case 1:
		s.say("unreachable, %s", pick(icmp6Unreachable, int(m.Code)))
	case 2:
		s.say("packet too big, mtu %d", rest)
		s.field("mtu", "%d", rest)
	case 3:
		s.sayText(pick(icmp6Time, int(m.Code)))
	case 4:
		s.say("parameter problem, %s at byte %d", pick(icmp6Problem, int(m.Code)), rest)
		s.field("pointer", "%d", rest)
	default:
		s.say("type %d, code %d", m.Type, m.Code)
	}
	icmpQuote(s, c.data)
}

func icmp6Message(s *sink, m *ICMP, c *cursor) {
	name, ok := icmp6Types[m.Type]
	if !ok {
		name = "type " + number(int(m.Type))
	}
	switch m.Type {
	case 128, 129:
		rest := c.u32()
		if !s.ended(c) {
			icmpEcho(s, m, name, rest)
		}
	case 130, 131, 132:
		mld(s, m, name, c)
	case 133:
		s.sayText(name)
		c.u32()
		ndOptions(s, c)
	case 134:
		ndRouterAdvertisement(s, name, c)
	case 135, 136, 137:
		ndNeighbor(s, m, name, c)
	case 143:
		mldReport(s, name, c)
	default:
		s.say("%s, code %d", name, m.Code)
	}
}

func ndRouterAdvertisement(s *sink, name string, c *cursor) {
	hops, flags, life, reach, retrans := c.u8(), c.u8(), c.u16(), c.u32(), c.u32()
	if s.ended(c) {
		return
	}
	words := flagWords("none", uint64(flags>>2), "proxy", "", "", "home-agent", "other", "managed")
	s.field("hop limit", "%d", hops)
	s.field("flags", "0x%02x (%s)", flags, words)
	s.field("preference", "%s", []string{"medium", "high", "reserved", "low"}[flags>>3&3])
	s.field("lifetime", "%ds", life)
	s.field("reachable", "%dms", reach)
	s.field("retransmit", "%dms", retrans)
	s.say("%s, hop limit %d, flags [%s], lifetime %ds", name, hops, words, life)
	ndOptions(s, c)
}

func ndNeighbor(s *sink, m *ICMP, name string, c *cursor) {
	flags := c.u32()
	target := c.ip6()
	if s.ended(c) {
		return
	}
	m.Target = target
	s.field("target", "%s", target)
	switch m.Type {
	case 135:
		s.say("%s, who has %s", name, target)
	case 136:
		words := flagWords("none", uint64(flags>>29), "override", "solicited", "router")
		s.field("flags", "%s", words)
		s.say("%s, target is %s, flags [%s]", name, target, words)
	case 137:
		to := c.ip6()
		if s.ended(c) {
			return
		}
		s.field("destination", "%s", to)
		s.say("%s, %s to %s", name, to, target)
	}
	ndOptions(s, c)
}

// ndOptions are options of neighbour discovery: type, and length in 8 bytes.
func ndOptions(s *sink, c *cursor) {
	for i := 0; c.n > 0 && i < maxItems; i++ {
		kind, n := c.u8(), int(c.u8())
		if !c.short && n == 0 {
			s.bad("option %d of no length", kind)
			return
		}
		b := c.take(n*8 - 2)
		if s.ended(c) {
			return
		}
		ndOption(s, kind, b)
	}
}

// ndOption shows an option; b has at least 6 bytes.
func ndOption(s *sink, kind uint8, b []byte) {
	be := binary.BigEndian
	value := ""
	switch {
	case kind == 1 || kind == 2:
		name := []string{"source", "target"}[kind-1]
		s.field(name+" link address", "%s", MAC(b[:6]))
		s.say("%s link address %s", name, MAC(b[:6]))
		return
	case kind == 3 && len(b) == 30:
		value = fmt.Sprintf("prefix %s/%d", netip.AddrFrom16([16]byte(b[14:])), b[0])
		s.field("prefix flags", "%s", flagWords("none", uint64(b[1]>>5), "router", "auto", "on-link"))
		s.field("prefix lifetimes", "%ds %ds", be.Uint32(b[2:]), be.Uint32(b[6:]))
	case kind == 5:
		value = fmt.Sprintf("mtu %d", be.Uint32(b[2:]))
	case kind == 25:
		value = "rdnss"
		for a := b[6:]; len(a) >= 16; a = a[16:] {
			value += " " + netip.AddrFrom16([16]byte(a)).String()
		}
	case kind == 31:
		value = "dnssl " + searchList(b[6:])
	}
	if value == "" {
		s.field("option", "%d 0x%s", kind, hexBytes(b))
		return
	}
	s.field("option", "%s", value)
	s.sayText(value)
}

func mld(s *sink, m *ICMP, name string, c *cursor) {
	delay := c.u16()
	c.u16()
	group := c.ip6()
	if s.ended(c) {
		return
	}
	m.Target = group
	s.field("max delay", "%dms", delay)
	s.field("group", "%s", group)
	s.say("%s, group %s", name, group)
}

var groupRecords = []string{1: "is-in", 2: "is-ex", 3: "to-in", 4: "to-ex", 5: "allow", 6: "block"}

func mldReport(s *sink, name string, c *cursor) {
	c.u16()
	n := int(c.u16())
	if s.ended(c) {
		return
	}
	s.field("records", "%d", n)
	s.say("%s, %d groups", name, n)
	for range min(n, maxItems) {
		kind, aux, sources, group := c.u8(), c.u8(), int(c.u16()), c.ip6()
		c.take(sources*16 + int(aux)*4)
		if s.ended(c) {
			return
		}
		s.field("record", "%s %s %d sources", group, pick(groupRecords, int(kind)), sources)
		s.say("[%s %s {%d sources}]", group, pick(groupRecords, int(kind)), sources)
	}
}

func igmp(s *sink, x data) {
	if !s.enter("igmp") {
		return
	}
	c := read(x)
	kind, code, check, sum := c.u8(), c.u8(), c.u16(), s.plainSum(x)
	if kind == 0x22 {
		igmp3(s, x, c)
		return
	}
	group := c.ip4()
	if s.ended(c) {
		return
	}
	s.field("type", "0x%02x", kind)
	s.field("max response", "%d", code)
	s.field("checksum", "0x%04x (%s)", check, sum)
	s.field("group", "%s", group)
	switch kind {
	case 0x11:
		version := 2
		if x.n >= 12 {
			version = 3
		} else if code == 0 {
			version = 1
		}
		s.say("query v%d, group %s", version, group)
	case 0x12:
		s.say("report v1, group %s", group)
	case 0x16:
		s.say("report v2, group %s", group)
	case 0x17:
		s.say("leave, group %s", group)
	case 0x13:
		s.say("dvmrp, length %d", x.n)
	default:
		s.say("type 0x%02x, length %d", kind, x.n)
	}
}

func igmp3(s *sink, x data, c *cursor) {
	c.u16()
	n := int(c.u16())
	if s.ended(c) {
		return
	}
	s.field("type", "0x22")
	s.field("records", "%d", n)
	s.say("report v3, %d groups", n)
	for range min(n, maxItems) {
		kind, aux, sources, group := c.u8(), c.u8(), int(c.u16()), c.ip4()
		c.take(sources*4 + int(aux)*4)
		if s.ended(c) {
			return
		}
		s.field("record", "%s %s %d sources", group, pick(groupRecords, int(kind)), sources)
		s.say("[%s %s {%d sources}]", group, pick(groupRecords, int(kind)), sources)
	}
	s.sayNumber("length ", uint64(x.n))
}
