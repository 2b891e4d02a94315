package decode

import (
	"fmt"
	"net/netip"
)

var (
	icmpTypes = []string{
		0: "echo reply", 3: "unreachable", 4: "source quench", 5: "redirect", 8: "echo request", 9: "router advertisement",
		10: "router solicitation", 11: "time exceeded", 12: "parameter problem", 13: "timestamp request", 14: "timestamp reply",
		15: "information request", 16: "information reply", 17: "mask request", 18: "mask reply", 30: "traceroute",
		40: "photuris", 42: "extended echo request", 43: "extended echo reply",
	}
	icmpUnreachable = []string{
		"net unreachable", "host unreachable", "protocol unreachable", "port unreachable", "fragmentation needed", "source route failed",
		"net unknown", "host unknown", "source host isolated", "net prohibited", "host prohibited", "net unreachable for this service",
		"host unreachable for this service", "prohibited by filter", "host precedence violation", "precedence cutoff",
	}
	icmpRedirect = []string{"redirect net", "redirect host", "redirect net for service", "redirect host for service"}
	icmpTime     = []string{"time exceeded in transit", "time exceeded in reassembly"}
)

func icmp(s *sink, x data) {
	if !s.enter("icmp") {
		return
	}
	c := read(x)
	m := icmpHeader(s, c, s.plainSum(x))
	if m == nil {
		return
	}
	rest := c.u32()
	if s.ended(c) {
		return
	}
	switch m.Type {
	case 3:
		s.sayText(pick(icmpUnreachable, int(m.Code)))
		if m.Code == 4 {
			s.more(" (mtu %d)", rest&0xffff)
			s.field("mtu", "%d", rest&0xffff)
		}
		icmpQuote(s, c.data)
	case 5:
		gw := netip.AddrFrom4([4]byte{byte(rest >> 24), byte(rest >> 16), byte(rest >> 8), byte(rest)})
		m.Target = gw
		s.field("gateway", "%s", gw)
		s.say("%s to %s", pick(icmpRedirect, int(m.Code)), gw)
		icmpQuote(s, c.data)
	case 11:
		s.sayText(pick(icmpTime, int(m.Code)))
		icmpQuote(s, c.data)
	case 12:
		s.say("parameter problem at byte %d", rest>>24)
		s.field("pointer", "%d", rest>>24)
		icmpQuote(s, c.data)
	default:
		icmpQuery(s, m, rest, c)
	}
	s.sayNumber("length ", uint64(x.n))
}

// icmpHeader reads what ICMP and ICMPv6 have in common.
func icmpHeader(s *sink, c *cursor, sum Checksum) *ICMP {
	f := s.frame
	kind, code, check := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return nil
	}
	f.ICMP = &s.room.icmp
	*f.ICMP = ICMP{Type: kind, Code: code, Checksum: sum}
	if s.verbose {
		s.field("type", "%d", kind)
		s.field("code", "%d", code)
		s.field("checksum", "0x%04x (%s)", check, sum)
	}
	return f.ICMP
}

func icmpQuery(s *sink, m *ICMP, rest uint32, c *cursor) {
	name := pick(icmpTypes, int(m.Type))
	if name == number(int(m.Type)) {
		name = "type " + name
	}
	switch m.Type {
	case 0, 8, 13, 14, 15, 16, 17, 18:
		icmpEcho(s, m, name, rest)
	case 9:
		s.say("%s, lifetime %d, addresses %d", name, rest&0xffff, rest>>24)
	default:
		s.say("%s, code %d", name, m.Code)
	}
	switch m.Type {
	case 13, 14:
		original, received, sent := c.u32(), c.u32(), c.u32()
		if !s.ended(c) {
			s.field("original", "%d", original)
			s.field("received", "%d", received)
			s.field("sent", "%d", sent)
		}
	case 17, 18:
		mask := c.ip4()
		if !s.ended(c) {
			s.say("mask %s", mask)
		}
	}
}

func icmpEcho(s *sink, m *ICMP, name string, rest uint32) {
	m.ID, m.Seq = uint16(rest>>16), uint16(rest)
	s.field("id", "%d", m.ID)
	s.field("sequence", "%d", m.Seq)
	s.say("%s, id %d, seq %d", name, m.ID, m.Seq)
}

// quote says which packet an error is about. It is only looked at, so that the
// frame keeps the facts of the error itself.
func icmpQuote(s *sink, x data) {
	if packet := quoted(x); packet != "" {
		s.sayText("for ", packet)
		s.field("about", "%s", packet)
	}
}

func quoted(x data) string {
	c := read(x)
	var src, dst netip.Addr
	var proto uint8
	first := c.u8()
	if first>>4 == 6 {
		c.take(5)
		proto = c.u8()
		c.u8()
		src, dst = c.ip6(), c.ip6()
	} else {
		c.take(8)
		proto = c.u8()
		c.u16()
		src, dst = c.ip4(), c.ip4()
		c.take(int(first&15)*4 - 20)
	}
	if c.short {
		return ""
	}
	if proto == 6 || proto == 17 || proto == 132 || proto == 33 {
		if from, to := c.u16(), c.u16(); !c.short {
			return fmt.Sprintf("%s %s > %s", protoName(proto), netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to))
		}
	}
	return fmt.Sprintf("%s %s > %s", protoName(proto), src, dst)
}
