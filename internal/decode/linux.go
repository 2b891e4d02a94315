package decode

import "encoding/binary"

// can is a frame of a CAN bus as SocketCAN has it: an identifier in network
// order, whose highest bits are flags, a length, flags of CAN FD, and the data
// (https://www.tcpdump.org/linktypes/LINKTYPE_CAN_SOCKETCAN.html).
func can(s *sink, x data) {
	if len(x.b) > 4 && x.b[4]&0x80 != 0 {
		canXL(s, x)
		return
	}
	if !s.enter("can") {
		return
	}
	c := read(x)
	id, n, flags := c.u32(), c.u8(), c.u8()
	c.u16()
	if s.ended(c) {
		return
	}
	words := flagWords("", uint64(id>>29), "error", "remote", "extended")
	s.field("id", "0x%x", id&0x1fffffff)
	s.field("flags", "%s", words)
	s.field("length", "%d", n)
	if flags&4 != 0 {
		s.field("fd flags", "%s", flagWords("none", uint64(flags), "bit-rate-switch", "error-state", "fd"))
		s.say("fd")
	}
	digits := 3
	if id&0x80000000 != 0 {
		digits = 8
	}
	s.say("id 0x%0*x", digits, id&0x1fffffff)
	if words != "" {
		s.more(" [%s]", words)
	}
	if id&0x40000000 == 0 {
		b := c.take(min(int(n), c.n))
		if s.ended(c) {
			return
		}
		s.field("data", "0x%s", hexBytes(b))
		if len(b) > 0 {
			s.sayText("data ", hexBytes(b))
		}
	}
	s.say("length %d", n)
}

// canXL has a priority with the network's number above it, and its other
// numbers little-endian.
func canXL(s *sink, x data) {
	if !s.enter("can") {
		return
	}
	c := read(x)
	priority, flags, sdt, size, acceptance := c.u32(), c.u8(), c.u8(), c.take(2), c.take(4)
	if s.ended(c) {
		return
	}
	le := binary.LittleEndian
	s.field("priority", "0x%x", priority&0x7ff)
	s.field("network", "%d", priority>>16&0xff)
	s.field("flags", "0x%02x", flags)
	s.field("sdu type", "%d", sdt)
	s.field("acceptance", "0x%08x", le.Uint32(acceptance))
	s.say("xl, priority 0x%03x, sdu type %d, acceptance 0x%08x, length %d", priority&0x7ff, sdt, le.Uint32(acceptance), le.Uint16(size))
}

var (
	netlinkFamilies = []string{
		0: "route", 2: "usersock", 4: "sock-diag", 5: "nflog", 6: "xfrm", 7: "selinux", 8: "iscsi", 9: "audit", 10: "fib-lookup",
		11: "connector", 12: "netfilter", 15: "kobject-uevent", 16: "generic", 18: "scsi-transport", 20: "rdma", 21: "crypto",
	}
	netlinkControl = []string{1: "noop", 2: "error", 3: "done", 4: "overrun"}
	netlinkRoutes  = []string{
		16: "newlink", 17: "dellink", 18: "getlink", 19: "setlink", 20: "newaddr", 21: "deladdr", 22: "getaddr",
		24: "newroute", 25: "delroute", 26: "getroute", 28: "newneigh", 29: "delneigh", 30: "getneigh", 32: "newrule", 33: "delrule", 34: "getrule",
		36: "newqdisc", 37: "delqdisc", 38: "getqdisc", 40: "newtclass", 41: "deltclass", 42: "gettclass", 44: "newtfilter", 45: "deltfilter", 46: "gettfilter",
	}
)

const netlinkUevent = 15 // its messages are text

// netlink is messages between Linux and its programs (RFC 3549, 2.3.2), in the
// byte order of the machine that captured them: that in which the first length
// fits.
func netlink(s *sink, family uint16, x data) {
	if !s.enter("netlink") {
		return
	}
	s.field("family", "%d (%s)", family, pick(netlinkFamilies, int(family)))
	s.sayText(pick(netlinkFamilies, int(family)))
	c := read(x)
	for i := 0; family != netlinkUevent && c.left(4) && i < maxItems; i++ {
		order := hostOrder(c.b, c.n)
		n := int(min(order.Uint32(c.b), 1<<24))
		if n < 16 {
			s.bad("netlink message of %d bytes", n)
			return
		}
		b := c.take(16)
		if s.ended(c) {
			return
		}
		netlinkMessage(s, family, order, b)
		c.data = c.from((n+3)&^3 - 16)
	}
	s.sayNumber("length ", uint64(x.n))
}

func netlinkMessage(s *sink, family uint16, order binary.ByteOrder, b []byte) {
	kind := order.Uint16(b[4:])
	name := "type " + number(int(kind))
	if family == 0 && int(kind) < len(netlinkRoutes) && netlinkRoutes[kind] != "" {
		name = netlinkRoutes[kind]
	} else if int(kind) < len(netlinkControl) && netlinkControl[kind] != "" {
		name = netlinkControl[kind]
	}
	s.field("message", "%s length %d flags 0x%04x seq %d port %d", name, order.Uint32(b), order.Uint16(b[6:]), order.Uint32(b[8:]), order.Uint32(b[12:]))
	s.say("%s seq %d", name, order.Uint32(b[8:]))
}

// hostOrder guesses the byte order of a length: little-endian, unless only the
// other gives one that n bytes can have.
func hostOrder(b []byte, n int) binary.ByteOrder {
	if int64(binary.LittleEndian.Uint32(b)) > int64(n) && int64(binary.BigEndian.Uint32(b)) <= int64(n) {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// nflog is a packet that Linux's netfilter logged: a family, then parts with
// length and type in the byte order of the machine that captured it, of which
// one is the packet (https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html).
func nflog(s *sink, x data) {
	if !s.enter("nflog") {
		return
	}
	c := read(x)
	family, version, resource := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("family", "%d", family)
	s.field("version", "%d", version)
	s.field("group", "%d", resource)
	proto := uint16(0)
	for i := 0; c.n > 0 && i < 2*maxItems; i++ {
		head := c.take(4)
		if s.ended(c) {
			return
		}
		var order binary.ByteOrder = binary.LittleEndian
		if order.Uint16(head[2:]) > 0xff { // no type is so high
			order = binary.BigEndian
		}
		n, kind := int(order.Uint16(head)), order.Uint16(head[2:])
		if n < 4 {
			s.bad("nflog part of %d bytes", n)
			return
		}
		if kind == 9 {
			nflogPayload(s, family, proto, c.limit(n-4))
			return
		}
		part := c.take(n - 4)
		if s.ended(c) {
			return
		}
		if kind == 1 && len(part) >= 2 {
			proto = binary.BigEndian.Uint16(part)
		}
		nflogPart(s, kind, part)
		c.data = c.from(-n & 3)
	}
	s.sayNumber("length ", uint64(x.n))
}

func nflogPart(s *sink, kind uint16, b []byte) {
	be := binary.BigEndian
	switch {
	case kind == 1 && len(b) >= 4:
		s.field("protocol", "0x%04x", be.Uint16(b))
		s.field("hook", "%d", b[2])
	case kind == 2 && len(b) == 4:
		s.field("mark", "%d", be.Uint32(b))
	case kind == 4 && len(b) == 4:
		s.field("interface in", "%d", be.Uint32(b))
	case kind == 5 && len(b) == 4:
		s.field("interface out", "%d", be.Uint32(b))
	case kind == 10:
		s.field("prefix", "%s", printable(cString(b)))
		if text := cString(b); len(text) > 0 {
			s.sayText("prefix ", printable(text))
		}
	case kind == 11 && len(b) == 4:
		s.field("user", "%d", be.Uint32(b))
	default:
		s.field("part", "%d 0x%s", kind, hexBytes(b))
	}
}

// nflogPayload is a packet of an address family; what a bridge logs has an
// Ethernet type.
func nflogPayload(s *sink, family uint8, proto uint16, x data) {
	if proto != 0 && family != 2 && family != 10 {
		etherType(s, proto, x)
		return
	}
	addressFamily(s, uint32(family), x)
}
