package decode

import "net/netip"

// arp returns ARP, or RARP, which differs in the name alone.
func arp(name string) protocol {
	return func(s *sink, x data) { arpMessage(s, name, x) }
}

func arpMessage(s *sink, name string, x data) {
	if !s.enter(name) {
		return
	}
	c := read(x)
	hardware, proto, hlen, plen, op := c.u16(), c.u16(), c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("hardware", "%d", hardware)
	s.field("protocol", "0x%04x", proto)
	s.field("hardware length", "%d", hlen)
	s.field("protocol length", "%d", plen)
	s.field("operation", "%d (%s)", op, pick(arpOps, int(op)))
	f := s.frame
	f.ARP = &s.room.arp
	*f.ARP = ARP{Operation: op}
	if hlen != 6 || plen != 4 || proto != etherIPv4 {
		s.field("addresses", "0x%s", hexBytes(c.limit(2*int(hlen)+2*int(plen)).b))
		s.say("%s, hardware %d, protocol 0x%04x, length %d", pick(arpOps, int(op)), hardware, proto, x.n)
		return
	}
	a := f.ARP
	a.SenderMAC, f.Src, a.TargetMAC, f.Dst = c.mac(), c.ip4(), c.mac(), c.ip4()
	if c.short {
		f.Src, f.Dst = netip.Addr{}, netip.Addr{}
	}
	if s.ended(c) {
		return
	}
	s.field("sender", "%s (%s)", f.Src, a.SenderMAC)
	s.field("target", "%s (%s)", f.Dst, a.TargetMAC)
	arpWords(s, op)
	s.sayNumber("length ", uint64(x.n))
}

func arpWords(s *sink, op uint16) {
	f := s.frame
	a := f.ARP
	switch {
	case op == 1 && f.Src == f.Dst:
		s.say("announcement %s is-at %s", f.Src, a.SenderMAC)
	case op == 1 && f.Src.IsUnspecified():
		s.say("probe who-has %s", f.Dst)
	case op == 1:
		s.say("who-has %s tell %s", f.Dst, f.Src)
	case op == 2:
		s.say("reply %s is-at %s", f.Src, a.SenderMAC)
	case op == 3 || op == 8:
		s.say("who-is %s tell %s", a.TargetMAC, a.SenderMAC)
	case op == 4 || op == 9:
		s.say("%s at %s", a.TargetMAC, f.Dst)
	default:
		s.say("%s %s", pick(arpOps, int(op)), f.Src)
	}
}
