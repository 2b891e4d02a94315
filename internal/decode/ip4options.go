package decode

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// ipv4Options shows options of IPv4 where there are any.
func ipv4Options(s *sink, x data) {
	if x.n == 0 {
		return
	}
	c := read(x)
	for i := 0; len(c.b) > 0 && i < maxItems; i++ {
		kind := c.u8()
		if kind == 0 {
			ipv4OptionField(s, "eol")
			return
		}
		if kind == 1 {
			ipv4OptionField(s, "nop")
			continue
		}
		n := int(c.u8())
		b := c.take(n - 2)
		if c.short || n < 2 {
			ipv4OptionField(s, fmt.Sprintf("option %d of bad length %d", kind, n))
			return
		}
		ipv4OptionField(s, ipv4Option(kind, b))
	}
	if !x.whole() {
		s.frame.Truncated = true
	}
}

func ipv4OptionField(s *sink, text string) { s.field("option", "%s", text) }

var ipv4OptionNames = map[uint8]string{
	7: "record route", 68: "timestamp", 82: "traceroute", 130: "security", 131: "loose source route", 133: "extended security",
	134: "cipso", 136: "stream id", 137: "strict source route", 148: "router alert", 149: "selective broadcast",
}

func ipv4Option(kind uint8, b []byte) string {
	name, ok := ipv4OptionNames[kind]
	if !ok {
		name = "option " + number(int(kind))
	}
	switch {
	case (kind == 7 || kind == 131 || kind == 137) && len(b) > 0:
		s := fmt.Sprintf("%s pointer %d", name, b[0])
		for b = b[1:]; len(b) >= 4; b = b[4:] {
			s += " " + netip.AddrFrom4([4]byte(b)).String()
		}
		return s
	case kind == 148 && len(b) == 2:
		return fmt.Sprintf("%s %d", name, binary.BigEndian.Uint16(b))
	case len(b) == 0:
		return name
	}
	return name + " 0x" + hexBytes(b)
}
