package decode

import "fmt"

func esp(s *sink, x data) {
	if !s.enter("esp") {
		return
	}
	c := read(x)
	spi, seq := c.u32(), c.u32()
	if s.ended(c) {
		return
	}
	s.field("spi", "0x%08x", spi)
	s.field("sequence", "%d", seq)
	s.say("spi 0x%08x, seq %d, length %d", spi, seq, x.n)
}

func ah(s *sink, x data) {
	if !s.enter("ah") {
		return
	}
	c := read(x)
	next, n := c.u8(), (int(c.u8())+2)*4
	c.u16()
	spi, seq := c.u32(), c.u32()
	if s.ended(c) {
		return
	}
	s.field("next header", "%d (%s)", next, protoName(next))
	s.field("length", "%d", n)
	s.field("spi", "0x%08x", spi)
	s.field("sequence", "%d", seq)
	s.say("ah spi 0x%08x seq %d", spi, seq)
	if n < 12 {
		s.bad("ah header of %d bytes", n)
		return
	}
	s.frame.IP.Protocol = next
	ipPayload(s, next, x.from(n))
}

func ipcomp(s *sink, x data) {
	if !s.enter("ipcomp") {
		return
	}
	c := read(x)
	next, _, cpi := c.u8(), c.u8(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("next header", "%d (%s)", next, protoName(next))
	s.field("cpi", "0x%04x", cpi)
	s.say("cpi 0x%04x, %s, length %d", cpi, protoName(next), x.n)
}

func udplite(s *sink, x data) {
	if !s.enter("udplite") {
		return
	}
	c := read(x)
	src, dst, coverage, check := c.u16(), c.u16(), c.u16(), c.u16()
	if s.ended(c) {
		return
	}
	s.ports(src, dst)
	s.field("coverage", "%d", coverage)
	s.field("checksum", "0x%04x", check)
	s.say("coverage %d, length %d", coverage, c.n)
}

var dccpTypes = []string{"request", "response", "data", "ack", "dataack", "closereq", "close", "reset", "sync", "syncack"}

func dccp(s *sink, x data) {
	if !s.enter("dccp") {
		return
	}
	c := read(x)
	src, dst, offset, ccval := c.u16(), c.u16(), c.u8(), c.u8()
	check, kind, high := c.u16(), c.u8(), c.u8()
	seq := uint64(c.u16())
	if kind&1 != 0 { // the long form
		seq = seq<<32 | uint64(c.u32())
	} else {
		seq |= uint64(high) << 16
	}
	if s.ended(c) {
		return
	}
	s.ports(src, dst)
	s.field("data offset", "%d", int(offset)*4)
	s.field("ccval", "%d", ccval>>4)
	s.field("coverage", "%d", ccval&15)
	s.field("checksum", "0x%04x", check)
	s.say("%s, seq %d, length %d", pick(dccpTypes, int(kind>>1&15)), seq, max(x.n-int(offset)*4, 0))
}

var sctpChunks = []string{
	"DATA", "INIT", "INIT ACK", "SACK", "HEARTBEAT", "HEARTBEAT ACK", "ABORT", "SHUTDOWN", "SHUTDOWN ACK", "ERROR",
	"COOKIE ECHO", "COOKIE ACK", "ECNE", "CWR", "SHUTDOWN COMPLETE", "AUTH", 64: "I-DATA", 128: "ASCONF ACK", 130: "RE-CONFIG",
	132: "PAD", 192: "FORWARD TSN", 193: "ASCONF", 194: "I-FORWARD TSN",
}

func sctp(s *sink, x data) {
	if !s.enter("sctp") {
		return
	}
	c := read(x)
	src, dst, tag, check := c.u16(), c.u16(), c.u32(), c.u32()
	if s.ended(c) {
		return
	}
	s.ports(src, dst)
	s.field("tag", "0x%08x", tag)
	s.field("checksum", "0x%08x", check)
	for i := 0; c.n >= 4 && i < maxItems; i++ {
		kind, flags, n := c.u8(), c.u8(), int(c.u16())
		if s.ended(c) {
			return
		}
		if n < 4 {
			s.bad("sctp chunk of %d bytes", n)
			return
		}
		sctpChunk(s, kind, flags, n, c.limit(n-4))
		c.data = c.from((n+3)&^3 - 4)
	}
}

func sctpChunk(s *sink, kind, flags uint8, n int, x data) {
	c := read(x)
	text := ""
	switch kind {
	case 0:
		tsn, stream, seq, ppid := c.u32(), c.u16(), c.u16(), c.u32()
		text = fmt.Sprintf(" tsn %d stream %d seq %d ppid %d length %d", tsn, stream, seq, ppid, max(n-16, 0))
	case 1, 2:
		tag, window, out, in, tsn := c.u32(), c.u32(), c.u16(), c.u16(), c.u32()
		text = fmt.Sprintf(" tag 0x%08x window %d streams %d/%d tsn %d", tag, window, out, in, tsn)
	case 3:
		tsn, window := c.u32(), c.u32()
		text = fmt.Sprintf(" tsn %d window %d", tsn, window)
	}
	if c.short {
		text = " cut"
	}
	name := pick(sctpChunks, int(kind))
	s.field("chunk", "%s flags 0x%02x length %d%s", name, flags, n, text)
	s.say("[%s]%s", name, text)
}
