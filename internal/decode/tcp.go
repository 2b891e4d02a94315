package decode

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

func tcp(s *sink, x data) {
	if !s.enter("tcp") {
		return
	}
	f := s.frame
	c := read(x)
	src, dst := c.u16(), c.u16()
	if s.ended(c) {
		return
	}
	s.ports(src, dst)
	t := &s.room.tcp
	*t = TCP{Options: t.Options[:0]}
	t.Seq, t.Ack = c.u32(), c.u32()
	bits := c.u16()
	t.Window = c.u16()
	check := c.u16()
	t.Urgent = c.u16()
	if s.ended(c) {
		return
	}
	f.TCP = t
	header := int(bits>>12) * 4
	t.Bits = bits & 0xfff
	t.Flags = s.protocols.tcpFlags[t.Bits&0x1ff]
	t.Checksum = s.checksum(x, 6, check)
	t.Length = max(x.n-header, 0)
	tcpFields(s, t, header, check)
	s.sayText("[", t.Flags, "]")
	if header < 20 {
		s.bad("header of %d bytes", header)
		return
	}
	sent, received, acked := s.flows.base(netip.AddrPortFrom(f.Src, src), netip.AddrPortFrom(f.Dst, dst), t)
	if header > x.n {
		s.bad("header of %d bytes", header)
		return
	}
	if s.verbose && sent|received != 0 {
		s.field("relative sequence", "%d", t.Seq-sent)
		s.field("relative acknowledgment", "%d", t.Ack-received)
	}
	tcpSeq(s, t, sent, received)
	tcpOptions(s, c.limit(header-20), acked)
	s.sayNumber("length ", uint64(t.Length))
	if t.Length > 0 {
		tcpPayload(s, x.from(header))
	}
}

// tcpSeq shows sequence numbers, counted from those of the sender and of the
// receiver.
func tcpSeq(s *sink, t *TCP, sent, received uint32) {
	if t.Length > 0 || t.Bits&7 != 0 {
		s.sayNumber("seq ", uint64(t.Seq-sent))
	}
	if t.Length > 0 {
		s.moreNumber(":", uint64(t.Seq-sent+uint32(t.Length)))
	}
	if t.Bits&0x10 != 0 {
		s.sayNumber("ack ", uint64(t.Ack-received))
	}
	s.sayNumber("win ", uint64(t.Window))
	if t.Bits&0x20 != 0 {
		s.sayNumber("urg ", uint64(t.Urgent))
	}
}

func tcpFields(s *sink, t *TCP, header int, check uint16) {
	if !s.verbose {
		return
	}
	s.field("sequence", "%d", t.Seq)
	s.field("acknowledgment", "%d", t.Ack)
	s.field("header length", "%d", header)
	s.field("flags", "0x%03x (%s)", t.Bits, flagWords("none", uint64(t.Bits), "FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"))
	s.field("window", "%d", t.Window)
	s.field("checksum", "0x%04x (%s)", check, t.Checksum)
	s.field("urgent", "%d", t.Urgent)
}

// tcpFlags are the flags in tcpdump's letters, in its order. Those of all bits
// are in a table.
func tcpFlags(bits uint16) string {
	const letters = "FSRP.UEWe"
	if bits&0x1ff == 0 {
		return "none"
	}
	b := make([]byte, 0, len(letters))
	for i := range len(letters) {
		if bits&(1<<i) != 0 {
			b = append(b, letters[i])
		}
	}
	return string(b)
}

func tcpOptions(s *sink, x data, acked uint32) {
	t := s.frame.TCP
	c := read(x)
	for len(c.b) > 0 && len(t.Options) < maxItems {
		kind := c.u8()
		if kind == 0 {
			t.Options = append(t.Options, "eol")
			break
		}
		if kind == 1 {
			t.Options = append(t.Options, "nop")
			continue
		}
		n := int(c.u8())
		b := c.take(n - 2)
		if c.short || n < 2 {
			t.Options = append(t.Options, fmt.Sprintf("opt-%d bad length %d", kind, n))
			break
		}
		t.Options = append(t.Options, tcpOption(kind, b, acked))
	}
	if len(t.Options) > 0 {
		all := strings.Join(t.Options, ",")
		s.say("options [%s]", all)
		s.field("options", "[%s]", all)
	}
}

// tcpOption shows an option. What it acknowledges is counted from acked.
func tcpOption(kind uint8, b []byte, acked uint32) string {
	be := binary.BigEndian
	switch {
	case kind == 2 && len(b) == 2:
		return fmt.Sprintf("mss %d", be.Uint16(b))
	case kind == 3 && len(b) == 1:
		return fmt.Sprintf("wscale %d", b[0])
	case kind == 4 && len(b) == 0:
		return "sackOK"
	case kind == 5 && len(b)%8 == 0 && len(b) > 0:
		s := fmt.Sprintf("sack %d ", len(b)/8)
		for ; len(b) > 0; b = b[8:] {
			s += fmt.Sprintf("{%d:%d}", be.Uint32(b)-acked, be.Uint32(b[4:])-acked)
		}
		return s
	case kind == 8 && len(b) == 8:
		return fmt.Sprintf("TS val %d ecr %d", be.Uint32(b), be.Uint32(b[4:]))
	case kind == 19 && len(b) == 16:
		return "md5 " + hexBytes(b)
	case kind == 28 && len(b) == 2:
		return fmt.Sprintf("uto 0x%04x", be.Uint16(b))
	case kind == 29 && len(b) >= 2:
		return fmt.Sprintf("tcp-ao keyid %d rnextkeyid %d mac 0x%s", b[0], b[1], hexBytes(b[2:]))
	case kind == 30 && len(b) > 0:
		return fmt.Sprintf("mptcp %s", pick(mptcpNames, int(b[0]>>4)))
	case kind == 34:
		return "tfo cookie " + hexBytes(b)
	}
	return fmt.Sprintf("opt-%d 0x%s", kind, hexBytes(b))
}
