package decode

import "encoding/binary"

var snmpPDUs = []string{"get", "get-next", "response", "set", "trap", "get-bulk", "inform", "trap-v2", "report"}

// berElement reads the head of an element of BER.
func berElement(c *cursor) (tag uint8, content *cursor) {
	tag = c.u8()
	n := int(c.u8())
	if n&0x80 != 0 {
		size := n & 0x7f
		n = 0
		if size > 3 {
			c.short = true
		}
		for range min(size, 3) {
			n = n<<8 | int(c.u8())
		}
	}
	return tag, c.sub(n)
}

// berInteger is the content of an INTEGER of up to 8 bytes.
func berInteger(c *cursor) int64 {
	var v int64
	for i, b := range c.b[:min(len(c.b), 8)] {
		if i == 0 {
			v = int64(int8(b))
		} else {
			v = v<<8 | int64(b)
		}
	}
	return v
}

func snmp(s *sink, x data) {
	if !s.enter("snmp") {
		return
	}
	c := read(x)
	tag, message := berElement(c)
	_, version := berElement(message)
	if c.short || message.short || tag != 0x30 {
		return
	}
	v := berInteger(version)
	name := pick([]string{"v1", "v2c", 3: "v3"}, int(v))
	s.field("version", "%s", name)
	if v == 3 {
		s.say("v3")
		return
	}
	_, community := berElement(message)
	kind, pdu := berElement(message)
	_, id := berElement(pdu)
	if message.short || pdu.short {
		s.sayText(name)
		return
	}
	s.field("community", "%s", printable(community.b))
	what := pick(snmpPDUs, int(kind&31))
	s.say("%s %s, community %s", name, what, printable(community.b))
	if kind&31 != 4 {
		s.say("id %d", berInteger(id))
	}
	snmpName(s, pdu)
}

// snmpName shows the first object's name.
func snmpName(s *sink, pdu *cursor) {
	berElement(pdu)
	berElement(pdu)
	_, list := berElement(pdu)
	_, first := berElement(list)
	tag, oid := berElement(first)
	if pdu.short || list.short || first.short || tag != 6 || len(oid.b) == 0 {
		return
	}
	dst := []byte(number(int(oid.b[0]/40)) + "." + number(int(oid.b[0]%40)))
	v := uint32(0)
	for _, b := range oid.b[1:min(len(oid.b), 64)] {
		v = v<<7 | uint32(b&0x7f)
		if b&0x80 == 0 {
			dst = append(dst, '.')
			dst = append(dst, number(int(v))...)
			v = 0
		}
	}
	s.field("object", "%s", dst)
	s.say("%s", dst)
}

func sflow(s *sink, x data) {
	if !s.enter("sflow") {
		return
	}
	c := read(x)
	version, family := c.u32(), c.u32()
	if family == 2 {
		s.field("agent", "%s", c.ip6())
	} else {
		s.field("agent", "%s", c.ip4())
	}
	sub, seq, uptime, samples := c.u32(), c.u32(), c.u32(), c.u32()
	if s.ended(c) {
		return
	}
	s.field("sub-agent", "%d", sub)
	s.field("uptime", "%dms", uptime)
	s.say("v%d, seq %d, %d samples", version, seq, samples)
}

func netflow(s *sink, x data) {
	name := "netflow"
	if len(x.b) >= 2 && binary.BigEndian.Uint16(x.b) == 10 {
		name = "ipfix"
	}
	if !s.enter(name) {
		return
	}
	c := read(x)
	version, count := c.u16(), c.u16()
	if s.ended(c) {
		return
	}
	if name == "ipfix" {
		time, seq, domain := c.u32(), c.u32(), c.u32()
		if !s.ended(c) {
			s.field("time", "%d", time)
			s.say("seq %d, domain %d", seq, domain)
		}
		return
	}
	s.say("v%d, %d records", version, count)
}

var wireguardTypes = []string{1: "handshake initiation", 2: "handshake response", 3: "cookie reply", 4: "transport data"}

func wireguard(s *sink, x data) {
	if !s.enter("wireguard") {
		return
	}
	c := read(x)
	kind := c.u8()
	c.take(3)
	who := c.take(4)
	if s.ended(c) {
		return
	}
	s.say("%s, %s 0x%08x", pick(wireguardTypes, int(kind)), pick([]string{1: "sender", 2: "sender", 3: "receiver", 4: "receiver"}, int(kind)), binary.LittleEndian.Uint32(who))
	if kind == 4 {
		counter := c.take(8)
		if s.ended(c) {
			return
		}
		s.say("counter %d", binary.LittleEndian.Uint64(counter))
	}
}

// natpmp is NAT-PMP, or its successor PCP.
func natpmp(s *sink, x data) {
	if !s.enter("nat-pmp") {
		return
	}
	c := read(x)
	version, op := c.u8(), c.u8()
	if s.ended(c) {
		return
	}
	names := []string{"external address", "map udp", "map tcp"}
	if version == 2 {
		names = []string{"announce", "map", "peer"}
	}
	what := "request"
	if op&0x80 != 0 {
		what = "response"
	}
	s.say("v%d %s %s", version, pick(names, int(op&0x7f)), what)
}

func bacnet(s *sink, x data) {
	if !s.enter("bacnet") {
		return
	}
	c := read(x)
	kind, function, n := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	names := []string{
		0: "result", 1: "write bdt", 2: "read bdt", 3: "read bdt ack", 4: "forwarded npdu", 5: "register foreign device", 6: "read fdt",
		9: "distribute broadcast", 10: "unicast npdu", 11: "broadcast npdu",
	}
	s.field("type", "0x%02x", kind)
	s.field("length", "%d", n)
	s.sayText(pick(names, int(function)))
}
