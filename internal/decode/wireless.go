package decode

import (
	"encoding/binary"

	"capd/pcap"
)

// radiotap reads the header before the frame: it is little-endian, and each
// field begins at a multiple of its size.
func radiotap(s *sink, x data) {
	if !s.enter("radiotap") {
		return
	}
	c := read(x)
	c.u16()
	length, present := c.take(2), c.take(4)
	if s.ended(c) {
		return
	}
	le := binary.LittleEndian
	n, bits := int(le.Uint16(length)), le.Uint32(present)
	if n < 8 {
		s.bad("radiotap header of %d bytes", n)
		return
	}
	s.field("length", "%d", n)
	s.field("present", "0x%08x", bits)
	at := 8
	for more := bits; more&(1<<31) != 0 && at+4 <= min(n, len(x.b)); at += 4 {
		more = le.Uint32(x.b[at:])
	}
	flags := radiotapFields(s, x.limit(n).b, at, bits)
	x = x.from(n)
	if flags&0x10 != 0 { // a checksum is behind the frame
		x = x.limit(x.n - 4)
	}
	dot11(s, x)
}

func radiotapFields(s *sink, b []byte, at int, bits uint32) (flags uint8) {
	sizes := []struct{ align, size int }{{8, 8}, {1, 1}, {1, 1}, {2, 4}, {1, 2}, {1, 1}, {1, 1}}
	for i, f := range sizes {
		if bits&(1<<i) == 0 {
			continue
		}
		at = (at + f.align - 1) / f.align * f.align
		if at+f.size > len(b) {
			break
		}
		v := b[at : at+f.size]
		at += f.size
		switch i {
		case 1:
			flags = v[0]
			s.field("flags", "0x%02x", flags)
		case 2:
			s.field("rate", "%d.%d Mbit/s", v[0]/2, v[0]%2*5)
		case 3:
			mhz := binary.LittleEndian.Uint16(v)
			s.field("frequency", "%d MHz", mhz)
			s.say("%d MHz", mhz)
		case 5:
			s.field("signal", "%d dBm", int8(v[0]))
			s.say("%d dBm", int8(v[0]))
		case 6:
			s.field("noise", "%d dBm", int8(v[0]))
		}
	}
	return flags
}

// ppi is a header of parts before a frame, all little-endian, with the link type
// of the frame (https://www.tcpdump.org/linktypes/LINKTYPE_PPI.html).
func ppi(s *sink, x data) {
	if !s.enter("ppi") {
		return
	}
	c := read(x)
	version, flags, length, link := c.u8(), c.u8(), c.take(2), c.take(4)
	if s.ended(c) {
		return
	}
	le := binary.LittleEndian
	n, kind := int(le.Uint16(length)), le.Uint32(link)
	if n < 8 {
		s.bad("ppi header of %d bytes", n)
		return
	}
	s.field("version", "%d", version)
	s.field("flags", "0x%02x", flags)
	s.field("link type", "%d", kind)
	checksum := ppiParts(s, read(x.limit(n).from(8)))
	x = x.from(n)
	if checksum { // it is behind the frame
		x = x.limit(x.n - 4)
	}
	linkLayer(s, pcap.LinkType(min(kind, 0xffff)), x)
}

// ppiParts shows the part that all 802.11 frames have. It returns whether that
// says that a checksum is behind the frame.
func ppiParts(s *sink, c *cursor) (checksum bool) {
	le := binary.LittleEndian
	for i := 0; c.left(4) && i < maxItems; i++ {
		kind, n := le.Uint16(c.take(2)), int(le.Uint16(c.take(2)))
		b := c.take(n)
		if c.short {
			return checksum
		}
		if kind != 2 || n < 20 {
			s.field("part", "%d 0x%s", kind, hexBytes(b))
			continue
		}
		checksum = b[8]&1 != 0
		mhz, signal, noise := le.Uint16(b[12:]), int8(b[18]), int8(b[19])
		s.field("frequency", "%d MHz", mhz)
		s.field("signal", "%d dBm", signal)
		s.field("noise", "%d dBm", noise)
		s.say("%d MHz", mhz)
		s.say("%d dBm", signal)
	}
	return checksum
}

var (
	dot11ManagementNames = []string{
		"association request", "association response", "reassociation request", "reassociation response", "probe request", "probe response",
		"timing advertisement", 8: "beacon", 9: "atim", 10: "disassociation", 11: "authentication", 12: "deauthentication", 13: "action", 14: "action no ack",
	}
	dot11ControlNames = []string{
		4: "beamforming report poll", 5: "vht ndp announcement", 7: "control wrapper", 8: "block ack request", 9: "block ack", 10: "ps-poll",
		11: "rts", 12: "cts", 13: "ack", 14: "cf-end", 15: "cf-end ack",
	}
)

func dot11(s *sink, x data) {
	if !s.enter("802.11") {
		return
	}
	f := s.frame
	c := read(x)
	control, flags := c.u8(), c.u8()
	duration := c.take(2)
	receiver := c.mac()
	if s.ended(c) {
		return
	}
	f.DstMAC = keep(&s.room.dstMAC, receiver)
	kind, sub := control>>2&3, control>>4
	words := flagWords("none", uint64(flags), "to-ds", "from-ds", "more-fragments", "retry", "power", "more-data", "protected", "order")
	s.field("type", "%d", kind)
	s.field("subtype", "%d", sub)
	s.field("flags", "0x%02x (%s)", flags, words)
	s.field("duration", "%d", binary.LittleEndian.Uint16(duration))
	s.field("receiver", "%s", receiver)
	if kind == 1 {
		if sub == 11 || sub == 8 || sub == 9 || sub == 10 {
			transmitter := c.mac()
			if s.ended(c) {
				return
			}
			f.SrcMAC = keep(&s.room.srcMAC, transmitter)
		}
		s.sayText(pick(dot11ControlNames, int(sub)))
		return
	}
	two, three, seq := c.mac(), c.mac(), c.take(2)
	if s.ended(c) {
		return
	}
	f.SrcMAC = keep(&s.room.srcMAC, two)
	s.field("transmitter", "%s", two)
	s.field("address 3", "%s", three)
	s.field("sequence", "%d", binary.LittleEndian.Uint16(seq)>>4)
	if kind == 0 {
		dot11Management(s, sub, three, c)
		return
	}
	dot11Data(s, sub, flags, three, c)
}

// dot11Data finds the addresses of the stations behind those of the radios.
func dot11Data(s *sink, sub, flags uint8, three MAC, c *cursor) {
	f := s.frame
	switch flags & 3 {
	case 1:
		f.DstMAC = keep(&s.room.dstMAC, three)
	case 2:
		f.SrcMAC = keep(&s.room.srcMAC, three)
	case 3:
		f.DstMAC, f.SrcMAC = keep(&s.room.dstMAC, three), nil
		if four := c.mac(); !c.short {
			f.SrcMAC = keep(&s.room.srcMAC, four)
		}
	}
	if sub&8 != 0 { // quality of service, and more behind it with the order bit
		c.u16()
		if flags&0x80 != 0 {
			c.u32()
		}
	}
	if s.ended(c) {
		return
	}
	switch {
	case sub&4 != 0:
		s.say("no data")
	case flags&0x40 != 0:
		s.say("protected data, length %d", c.n)
	default:
		llc(s, c.data)
	}
}

// dot11Fixed is how long what is before the elements is.
var dot11Fixed = map[uint8]int{0: 4, 1: 6, 2: 10, 3: 6, 4: 0, 5: 12, 8: 12}

func dot11Management(s *sink, sub uint8, bssid MAC, c *cursor) {
	s.say("%s, bssid %s", pick(dot11ManagementNames, int(sub)), bssid)
	n, ok := dot11Fixed[sub]
	if !ok {
		if (sub == 10 || sub == 12) && c.left(2) {
			s.say("reason %d", binary.LittleEndian.Uint16(c.take(2)))
		}
		return
	}
	c.take(n)
	for i := 0; c.n > 0 && i < 2*maxItems; i++ {
		id := c.u8()
		b := c.take(int(c.u8()))
		if s.ended(c) {
			return
		}
		switch {
		case id == 0:
			s.field("ssid", "%s", printable(b))
			s.say(`ssid "%s"`, printable(b))
		case id == 3 && len(b) == 1:
			s.field("channel", "%d", b[0])
			s.say("channel %d", b[0])
		default:
			s.field("element", "%d 0x%s", id, hexBytes(b))
		}
	}
}
