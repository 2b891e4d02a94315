package decode

import (
	"encoding/binary"
	"net/netip"
)

// lldp describes the station that sends it, in parts of type, length and value.
func lldp(s *sink, x data) {
	if !s.enter("lldp") {
		return
	}
	c := read(x)
	for range maxItems * 2 {
		if len(c.b) == 0 && c.n == 0 {
			break
		}
		head := c.u16()
		b := c.take(int(head & 0x1ff))
		if s.ended(c) {
			return
		}
		if head>>9 == 0 {
			break
		}
		lldpPart(s, int(head>>9), b)
	}
	s.sayNumber("length ", uint64(x.n))
}

func lldpPart(s *sink, kind int, b []byte) {
	var value string
	be := binary.BigEndian
	switch {
	case kind == 1 && len(b) > 1:
		value = lldpID(b, 4, 5)
		s.sayText("chassis ", value)
	case kind == 2 && len(b) > 1:
		value = lldpID(b, 3, 4)
		s.sayText("port ", value)
	case kind == 3 && len(b) >= 2:
		value = number(int(be.Uint16(b)))
		s.sayText("ttl ", value)
	case kind == 5:
		value = printable(b)
		s.sayText("system ", value)
	case kind == 4 || kind == 6:
		value = printable(b)
	case kind == 7 && len(b) >= 4:
		value = lldpCapabilities(be.Uint16(b)) + ", enabled " + lldpCapabilities(be.Uint16(b[2:]))
	case kind == 8 && len(b) >= 6 && b[1] == 1 && b[0] == 5:
		value = netip.AddrFrom4([4]byte(b[2:6])).String()
		s.sayText("management ", value)
	default:
		value = "0x" + hexBytes(b)
	}
	names := []string{1: "chassis", 2: "port", 3: "ttl", 4: "port description", 5: "system name", 6: "system description", 7: "capabilities", 8: "management address", 127: "organization"}
	s.field(pick(names, kind), "%s", value)
}

func lldpCapabilities(bits uint16) string {
	return flagWords("none", uint64(bits), "other", "repeater", "bridge", "wlan", "router", "telephone", "docsis", "station")
}

// lldpID is an identity: a MAC or an IP address where its first byte says so.
func lldpID(b []byte, mac, addr byte) string {
	kind, id := b[0], b[1:]
	switch {
	case kind == mac && len(id) == 6:
		return MAC(id).String()
	case kind == addr && len(id) == 5 && id[0] == 1:
		return netip.AddrFrom4([4]byte(id[1:])).String()
	case kind == addr && len(id) == 17 && id[0] == 2:
		return netip.AddrFrom16([16]byte(id[1:])).String()
	}
	return printable(id)
}

// cdp is Cisco's discovery protocol.
func cdp(s *sink, x data) {
	if !s.enter("cdp") {
		return
	}
	c := read(x)
	version, ttl, check := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("version", "%d", version)
	s.field("ttl", "%d", ttl)
	s.field("checksum", "0x%04x", check)
	s.say("v%d, ttl %d", version, ttl)
	names := []string{1: "device", 2: "addresses", 3: "port", 4: "capabilities", 5: "software", 6: "platform", 9: "vtp domain", 10: "native vlan", 11: "duplex"}
	for i := 0; c.n > 0 && i < maxItems*2; i++ {
		kind, n := c.u16(), int(c.u16())
		if !c.short && n < 4 {
			s.bad("cdp part of %d bytes", n)
			return
		}
		b := c.take(n - 4)
		if s.ended(c) {
			return
		}
		value := "0x" + hexBytes(b)
		if kind == 1 || kind == 3 || kind == 5 || kind == 6 || kind == 9 {
			value = printable(b)
		}
		s.field(pick(names, int(kind)), "%s", value)
		if kind == 1 || kind == 3 || kind == 6 {
			s.say("%s %s", names[kind], value)
		}
	}
	s.sayNumber("length ", uint64(x.n))
}
