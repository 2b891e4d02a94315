package decode

import (
	"fmt"
	"net/netip"
)

var ospfTypes = []string{1: "hello", 2: "database description", 3: "ls-request", 4: "ls-update", 5: "ls-ack"}

func ospf(s *sink, x data) {
	if !s.enter("ospf") {
		return
	}
	c := read(x)
	version, kind, n, router, area, check := c.u8(), c.u8(), c.u16(), c.ip4(), c.ip4(), c.u16()
	if version < 3 {
		c.u16()
		c.u64() // authentication
	} else {
		c.u16()
	}
	if s.ended(c) {
		return
	}
	s.field("version", "%d", version)
	s.field("type", "%d", kind)
	s.field("length", "%d", n)
	s.field("router", "%s", router)
	s.field("area", "%s", area)
	s.field("checksum", "0x%04x", check)
	s.say("v%d %s, router %s, area %s", version, pick(ospfTypes, int(kind)), router, area)
	switch {
	case kind == 1:
		ospfHello(s, version, c)
	case kind == 4:
		if count := c.u32(); !s.ended(c) {
			s.say("%d lsas", count)
		}
	}
	s.say("length %d", n)
}

func ospfHello(s *sink, version uint8, c *cursor) {
	if version < 3 {
		mask, interval, options, priority, dead := c.ip4(), c.u16(), c.u8(), c.u8(), c.u32()
		s.field("mask", "%s", mask)
		s.field("hello", "%ds", interval)
		s.field("options", "0x%02x", options)
		s.field("priority", "%d", priority)
		s.field("dead", "%ds", dead)
	} else {
		id, options, interval, dead := c.u32(), c.u32(), c.u16(), c.u16()
		s.field("interface", "%d", id)
		s.field("options", "0x%08x", options)
		s.field("hello", "%ds", interval)
		s.field("dead", "%ds", dead)
	}
	dr, backup := c.ip4(), c.ip4()
	if s.ended(c) {
		return
	}
	s.say("dr %s, backup %s, %d neighbors", dr, backup, c.n/4)
}

// vrrp shares its number with OpenBSD's CARP, whose header has a length of
// authentication where VRRP counts addresses.
func vrrp(s *sink, x data) {
	c := read(x)
	first, id, priority, count := c.u8(), c.u8(), c.u8(), c.u8()
	if first == 0x21 && count == 7 && x.n == 36 {
		carp(s, x)
		return
	}
	if !s.enter("vrrp") {
		return
	}
	interval, check := c.u16(), c.u16()
	if s.ended(c) {
		return
	}
	unit := "s"
	if first>>4 == 3 {
		interval, unit = interval&0xfff, "cs"
	} else {
		interval &= 0xff
	}
	s.field("version", "%d", first>>4)
	s.field("type", "%d", first&15)
	s.field("checksum", "0x%04x", check)
	s.say("v%d advertisement, vrid %d, prio %d, interval %d%s", first>>4, id, priority, interval, unit)
	for range min(int(count), maxItems) {
		var a netip.Addr
		if s.frame.Src.Is4() {
			a = c.ip4()
		} else {
			a = c.ip6()
		}
		if s.ended(c) {
			return
		}
		s.say("%s", a)
	}
	s.sayNumber("length ", uint64(x.n))
}

func carp(s *sink, x data) {
	if !s.enter("carp") {
		return
	}
	c := read(x)
	first, id, skew, auth, demote, base, check := c.u8(), c.u8(), c.u8(), c.u8(), c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("version", "%d", first>>4)
	s.field("authentication length", "%d", auth)
	s.field("checksum", "0x%04x", check)
	s.say("advertisement, vhid %d, advbase %d, advskew %d, demote %d, length %d", id, base, skew, demote, x.n)
}

var pimTypes = []string{
	"hello", "register", "register-stop", "join/prune", "bootstrap", "assert", "graft", "graft-ack", "candidate rp", "state refresh", "df election",
}

func pim(s *sink, x data) {
	if !s.enter("pim") {
		return
	}
	c := read(x)
	first, _, check := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("version", "%d", first>>4)
	s.field("type", "%d", first&15)
	s.field("checksum", "0x%04x", check)
	s.say("v%d %s, length %d", first>>4, pick(pimTypes, int(first&15)), x.n)
}

var eigrpOps = []string{1: "update", 2: "request", 3: "query", 4: "reply", 5: "hello", 10: "sia-query", 11: "sia-reply"}

func eigrp(s *sink, x data) {
	if !s.enter("eigrp") {
		return
	}
	c := read(x)
	version, op, check, flags, seq, ack, _, as := c.u8(), c.u8(), c.u16(), c.u32(), c.u32(), c.u32(), c.u16(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("version", "%d", version)
	s.field("checksum", "0x%04x", check)
	s.field("flags", "0x%08x", flags)
	s.say("v%d %s, as %d, seq %d, ack %d, length %d", version, pick(eigrpOps, int(op)), as, seq, ack, x.n)
}

var rsvpTypes = []string{1: "path", 2: "resv", 3: "path error", 4: "resv error", 5: "path tear", 6: "resv tear", 7: "resv confirm", 12: "bundle", 13: "ack", 15: "srefresh", 20: "hello"}

func rsvp(s *sink, x data) {
	if !s.enter("rsvp") {
		return
	}
	c := read(x)
	first, kind, check, ttl, _, n := c.u8(), c.u8(), c.u16(), c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("flags", "%d", first&15)
	s.field("checksum", "0x%04x", check)
	s.field("ttl", "%d", ttl)
	s.say("v%d %s, length %d", first>>4, pick(rsvpTypes, int(kind)), n)
}

var hsrpStates = map[uint8]string{0: "initial", 1: "learn", 2: "listen", 4: "speak", 8: "standby", 16: "active"}

func hsrp(s *sink, x data) {
	if !s.enter("hsrp") {
		return
	}
	c := read(x)
	version, op := c.u8(), c.u8()
	if s.ended(c) {
		return
	}
	if version != 0 {
		s.say("v2")
		return
	}
	if op == 3 {
		hsrpAdvertise(s, c)
		return
	}
	state, hello, hold, priority, group := c.u8(), c.u8(), c.u8(), c.u8(), c.u8()
	c.u8()
	c.u64() // the password
	addr := c.ip4()
	if s.ended(c) {
		return
	}
	name, ok := hsrpStates[state]
	if !ok {
		name = number(int(state))
	}
	s.field("hello", "%ds", hello)
	s.field("hold", "%ds", hold)
	s.say("%s, state %s, group %d, prio %d, address %s", pick([]string{"hello", "coup", "resign"}, int(op)), name, group, priority, addr)
}

// hsrpAdvertise says how many groups a router is in on the interface. RFC 2281
// does not have it; the layout is that of Cisco's routers.
func hsrpAdvertise(s *sink, c *cursor) {
	kind, n, state := c.u16(), c.u16(), c.u8()
	c.u8()
	active, passive := c.u16(), c.u16()
	c.u32()
	if s.ended(c) {
		return
	}
	s.field("type", "%d", kind)
	s.field("length", "%d", n)
	s.say("advertise, state %s, active groups %d, passive groups %d", pick([]string{1: "dormant", 2: "passive", 3: "active"}, int(state)), active, passive)
}

func rip(s *sink, x data) {
	if !s.enter("rip") {
		return
	}
	c := read(x)
	command, version, _ := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.say("v%d %s", version, pick([]string{1: "request", 2: "response"}, int(command)))
	for i := 0; c.n > 0 && i < maxItems; i++ {
		if version == 2 && c.left(2) && c.b[0] == 0xff && c.b[1] == 0xff {
			if !ripAuthentication(s, c) {
				return
			}
			continue
		}
		family, tag, addr, mask, next, metric := c.u16(), c.u16(), c.ip4(), c.ip4(), c.ip4(), c.u32()
		if s.ended(c) {
			return
		}
		s.field("route", "family %d tag %d %s mask %s next %s metric %d", family, tag, addr, mask, next, metric)
		s.say("%s metric %d", addr, metric)
	}
}

// ripAuthentication is an entry of RIPv2 with a password (RFC 2453, 4.1) or with
// what a digest needs (RFC 4822, 2.1), or the digest itself, which is the rest of
// the message.
func ripAuthentication(s *sink, c *cursor) bool {
	c.u16()
	kind := c.u16()
	switch kind {
	case 1:
		b := c.take(c.n)
		if s.ended(c) {
			return false
		}
		s.field("authentication data", "0x%s", hexBytes(b))
	case 2:
		password := c.take(16)
		if s.ended(c) {
			return false
		}
		s.field("authentication", "password %s", printable(cString(password)))
		s.sayText("authentication password ", printable(cString(password)))
	case 3:
		offset, key, n, seq := c.u16(), c.u8(), c.u8(), c.u32()
		c.u64()
		if s.ended(c) {
			return false
		}
		s.field("authentication", "digest at %d, key %d, length %d, sequence %d", offset, key, n, seq)
		s.say("authentication key %d seq %d", key, seq)
	default:
		c.take(16)
		if s.ended(c) {
			return false
		}
		s.say("authentication type %d", kind)
	}
	return true
}

func ripng(s *sink, x data) {
	if !s.enter("ripng") {
		return
	}
	c := read(x)
	command, version, _ := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.say("v%d %s", version, pick([]string{1: "request", 2: "response"}, int(command)))
	for i := 0; c.n > 0 && i < maxItems; i++ {
		prefix, tag, bits, metric := c.ip6(), c.u16(), c.u8(), c.u8()
		if s.ended(c) {
			return
		}
		s.field("route", "%s/%d tag %d metric %d", prefix, bits, tag, metric)
		s.say("%s/%d metric %d", prefix, bits, metric)
	}
}

var bgpTypes = []string{1: "open", 2: "update", 3: "notification", 4: "keepalive", 5: "route-refresh"}

// isBGP says whether a payload begins with the marker, which is all ones.
func isBGP(x data) bool {
	return len(x.b) >= 19 && string(x.b[:16]) == "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
}

func bgp(s *sink, x data) {
	if !s.enter("bgp") {
		return
	}
	c := read(x)
	for i := 0; c.n > 0 && i < maxItems; i++ {
		c.take(16)
		n, kind := int(c.u16()), c.u8()
		if s.ended(c) {
			return
		}
		if n < 19 {
			s.bad("bgp message of %d bytes", n)
			return
		}
		name := pick(bgpTypes, int(kind))
		if kind == 1 && c.left(9) {
			o := read(c.limit(n - 19))
			version, as, hold, id := o.u8(), o.u16(), o.u16(), o.ip4()
			name = fmt.Sprintf("open v%d as %d hold %ds id %s", version, as, hold, id)
		}
		s.field("message", "%s length %d", name, n)
		s.sayText(name)
		c.data = c.from(n - 19)
	}
}

var bfdStates = []string{"admin-down", "down", "init", "up"}

func bfd(s *sink, x data) {
	if !s.enter("bfd") {
		return
	}
	c := read(x)
	first, flags, multiplier, n := c.u8(), c.u8(), c.u8(), c.u8()
	mine, yours, tx, rx, echo := c.u32(), c.u32(), c.u32(), c.u32(), c.u32()
	if s.ended(c) {
		return
	}
	s.field("version", "%d", first>>5)
	s.field("diagnostic", "%d", first&31)
	s.field("length", "%d", n)
	s.field("multiplier", "%d", multiplier)
	s.field("flags", "%s", flagWords("none", uint64(flags), "multipoint", "demand", "authentication", "control-plane-independent", "final", "poll"))
	s.field("echo interval", "%dus", echo)
	s.say("v%d %s, discriminators 0x%08x 0x%08x, tx %dus, rx %dus", first>>5, bfdStates[flags>>6], mine, yours, tx, rx)
}
