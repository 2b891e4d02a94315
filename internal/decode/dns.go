package decode

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

var (
	dnsRCodes = []string{
		"NoError", "FormErr", "ServFail", "NXDomain", "NotImp", "Refused", "YXDomain", "YXRRSet", "NXRRSet", "NotAuth", "NotZone",
	}
	dnsOpcodes = []string{"query", "inverse query", "status", 4: "notify", 5: "update", 6: "stateful"}
	dnsTypes   = map[uint16]string{
		1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 10: "NULL", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 17: "RP", 18: "AFSDB", 24: "SIG", 25: "KEY", 28: "AAAA",
		29: "LOC", 33: "SRV", 35: "NAPTR", 36: "KX", 37: "CERT", 39: "DNAME", 41: "OPT", 42: "APL", 43: "DS", 44: "SSHFP", 45: "IPSECKEY",
		46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 49: "DHCID", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP", 59: "CDS",
		60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", 64: "SVCB", 65: "HTTPS", 99: "SPF", 108: "EUI48", 109: "EUI64",
		249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR", 255: "ANY", 256: "URI", 257: "CAA",
	}
	nbnsTypes = map[uint16]string{32: "NB", 33: "NBSTAT"}
)

const maxTexts = 8 // of one record

// dns returns DNS, or one of those that took over the form of its messages.
func dns(name string) protocol {
	return func(s *sink, x data) { dnsMessage(s, name, x) }
}

func dnsMessage(s *sink, name string, x data) {
	if !s.enter(name) {
		return
	}
	f := s.frame
	c := read(x)
	id, flags := c.u16(), c.u16()
	var counts [4]int
	for i := range counts {
		counts[i] = int(c.u16())
	}
	if s.ended(c) {
		return
	}
	m := &s.room.dns
	*m = DNS{
		ID: id, Response: flags&0x8000 != 0, Opcode: uint8(flags >> 11 & 15), RCode: uint8(flags & 15), Counts: counts,
		Questions: m.Questions[:0], Answers: m.Answers[:0],
	}
	f.DNS = m
	words := flagWords("", uint64(flags>>4), "cd", "ad", "", "ra", "rd", "tc", "aa")
	m.Flags = strings.Fields(words)
	if s.verbose {
		s.field("id", "%d", id)
		s.field("flags", "0x%04x (%s)", flags, words)
		s.field("opcode", "%d (%s)", m.Opcode, pick(dnsOpcodes, int(m.Opcode)))
		s.field("rcode", "%d (%s)", m.RCode, pick(dnsRCodes, int(m.RCode)))
		s.field("counts", "%d/%d/%d/%d", counts[0], counts[1], counts[2], counts[3])
	}
	p := &dnsReader{cursor: read(c.data), message: x.b, netbios: name == "nbns"}
	ok := p.questions(m, counts[0]) && p.records(&m.Answers, counts[1])
	dnsWords(s, m)
	if !ok {
		dnsCut(s, p)
	}
}

func dnsCut(s *sink, p *dnsReader) {
	if p.bad {
		s.bad("a name that does not end")
		return
	}
	s.ended(p.cursor)
}

func dnsWords(s *sink, m *DNS) {
	what := "query"
	if m.Response {
		what = "answer"
	}
	if m.Opcode != 0 {
		what = pick(dnsOpcodes, int(m.Opcode)) + " " + what
	}
	s.say("%s %d", what, m.ID)
	if m.Response {
		if m.RCode != 0 {
			s.more(" %s", pick(dnsRCodes, int(m.RCode)))
		}
		s.more(" %d/%d/%d", m.Counts[1], m.Counts[2], m.Counts[3])
	}
	for _, w := range m.Flags {
		s.more(" %s", w)
	}
	for _, q := range m.Questions {
		s.field("question", "%s %s", q.Type, q.Name)
		s.sayText(q.Type, "? ", q.Name)
	}
	for _, a := range m.Answers {
		s.field("answer", "%s %s %d %s", a.Name, a.Type, a.TTL, a.Data)
		s.sayText(a.Type, " ", a.Data)
	}
}

// A dnsReader reads names, which may point back into the message.
type dnsReader struct {
	*cursor
	message []byte
	netbios bool
	bad     bool
}

func (p *dnsReader) questions(m *DNS, n int) bool {
	for range min(n, maxItems) {
		name := p.name()
		t := p.u16()
		p.u16()
		if p.short || p.bad {
			return false
		}
		m.Questions = append(m.Questions, DNSRR{Name: name, Type: p.typeName(t)})
	}
	return n <= maxItems
}

func (p *dnsReader) records(to *[]DNSRR, n int) bool {
	for range min(n, maxItems) {
		rr := DNSRR{Name: p.name()}
		t := p.u16()
		p.u16()
		rr.TTL = p.u32()
		size := int(p.u16())
		if p.short || p.bad {
			return false
		}
		rr.Type = p.typeName(t)
		at := p.data
		if p.take(size); p.short {
			return false
		}
		behind := p.data
		p.data = at.limit(size)
		rr.Data = p.rdata(t, size)
		p.short, p.bad, p.data = false, false, behind // what is wrong in it is wrong in it alone
		*to = append(*to, rr)
	}
	return true
}

func (p *dnsReader) typeName(t uint16) string {
	if name, ok := nbnsTypes[t]; ok && p.netbios {
		return name
	}
	if name, ok := dnsTypes[t]; ok {
		return name
	}
	return fmt.Sprintf("TYPE%d", t)
}

// rdata shows the data of a record.
func (p *dnsReader) rdata(t uint16, size int) string {
	switch t {
	case 1:
		if a := p.ip4(); !p.short {
			return a.String()
		}
	case 28:
		if a := p.ip6(); !p.short {
			return a.String()
		}
	case 2, 5, 12, 39:
		return p.name()
	case 15:
		preference := p.u16()
		return fmt.Sprintf("%d %s", preference, p.name())
	case 33:
		priority, weight, port := p.u16(), p.u16(), p.u16()
		return fmt.Sprintf("%d %d %d %s", priority, weight, port, p.name())
	case 6:
		server, mail := p.name(), p.name()
		return fmt.Sprintf("%s %s %d", server, mail, p.u32())
	case 16, 99:
		return p.texts()
	case 257:
		p.u8()
		tag := p.take(int(p.u8()))
		return fmt.Sprintf(`%s "%s"`, printable(tag), printable(p.b))
	case 64, 65:
		priority := p.u16()
		return fmt.Sprintf("%d %s", priority, p.name())
	}
	if p.netbios && t == 32 && size >= 6 {
		p.u16()
		return p.ip4().String()
	}
	return fmt.Sprintf("[%d bytes]", size)
}

func (p *dnsReader) texts() string {
	var all []string
	for len(p.b) > 0 && len(all) < maxTexts {
		b := p.take(int(p.u8()))
		if p.short {
			break
		}
		all = append(all, `"`+printable(b)+`"`)
	}
	return strings.Join(all, " ")
}

// name reads a name. Each pointer must point before the last, so that it ends.
func (p *dnsReader) name() string {
	var name []byte
	c, limit := p.cursor, len(p.message)
	for {
		n := int(c.u8())
		switch {
		case c.short || len(name) > 255 || n&0xc0 == 0x40 || n&0xc0 == 0x80:
			p.bad = p.bad || !p.short
			return showName(name)
		case n == 0:
			if len(name) == 0 {
				return "."
			}
			return p.shown(name)
		case n&0xc0 == 0xc0:
			at := n&0x3f<<8 | int(c.u8())
			if c.short || at >= limit {
				p.bad = p.bad || !p.short
				return showName(name)
			}
			limit = at
			b := p.message[at:]
			c = read(data{b, len(b)})
		default:
			if len(name) > 0 {
				name = append(name, '.')
			}
			name = append(name, c.take(n)...)
		}
	}
}

func (p *dnsReader) shown(name []byte) string {
	if p.netbios {
		return netbiosName(name)
	}
	return showName(name)
}

func showName(name []byte) string { return printable(name) }

// netbiosName undoes the first-level encoding: two letters for a byte, and the
// last byte is what kind of service it is.
func netbiosName(b []byte) string {
	if len(b) < 32 {
		return printable(b)
	}
	var name []byte
	for i := 0; i < 32; i += 2 {
		name = append(name, (b[i]-'A')<<4|(b[i+1]-'A')&15)
	}
	return fmt.Sprintf("%s<%02x>", printable([]byte(strings.TrimRight(string(name[:15]), " \x00"))), name[15])
}

// searchList is a list of names without pointers.
func searchList(b []byte) string {
	p := &dnsReader{cursor: read(data{b, len(b)})}
	var all []string
	for len(p.b) > 0 && len(all) < maxItems {
		name := p.name()
		if p.short || p.bad {
			break
		}
		if name != "." {
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}

// dnsTCP is the message that a segment begins with, behind its length (RFC 1035,
// 4.2.2). Nothing is kept of a message that goes on in the next segment: what is
// here of it is decoded, and in a later segment of it nothing is taken for a
// message.
func dnsTCP(s *sink, x data) {
	c := read(x)
	n := int(c.u16())
	if c.short || n < 12 || !beginsDNS(c.b, n) {
		return
	}
	more := n > c.n
	dnsMessage(s, "dns", c.limit(n))
	if more && !s.frame.Truncated && !bytes.HasSuffix(s.info, []byte("[continues]")) {
		s.say("[continues]")
	}
}

// beginsDNS says whether bytes can be the beginning of a message of a length: an
// operation that there is, and a length that all that it counts has room in.
func beginsDNS(b []byte, n int) bool {
	c := read(data{b, max(len(b), n)})
	c.u16()
	flags, questions := c.u16(), int(c.u16())
	records := int(c.u16()) + int(c.u16()) + int(c.u16())
	switch {
	case c.short:
		return true // the end of the header is missing: nothing speaks against it
	case flags>>11&15 > 6 || flags&0x40 != 0:
		return false
	}
	return 12+5*questions+11*records <= n
}

// isDNS says for certain whether a datagram is a message, at a port where others
// are expected: it has one question, whose name ends and whose class is the
// Internet's, and few records.
func isDNS(x data) bool {
	c := read(x)
	c.u16()
	flags, questions, answers, authorities, more := c.u16(), c.u16(), c.u16(), c.u16(), c.u16()
	if flags&0x7800 != 0 || flags&0x40 != 0 || questions != 1 || more > 8 {
		return false
	}
	if flags&0x8000 == 0 && answers|authorities != 0 {
		return false
	}
	for range 128 { // labels; a name has fewer
		n := int(c.u8())
		if n == 0 || n > 63 {
			c.u16()
			return n == 0 && c.u16() == 1 && !c.short
		}
		c.take(n)
	}
	return false
}

// nbdgm is a NetBIOS datagram.
func nbdgm(s *sink, x data) {
	if !s.enter("nbdgm") {
		return
	}
	c := read(x)
	kind, flags, id, src, port := c.u8(), c.u8(), c.u16(), c.ip4(), c.u16()
	if s.ended(c) {
		return
	}
	s.field("flags", "0x%02x", flags)
	s.field("id", "%d", id)
	s.say("type 0x%02x, source %s", kind, netip.AddrPortFrom(src, port))
	c.u32()
	p := &dnsReader{cursor: read(c.data), message: x.b, netbios: true}
	from := p.name()
	to := p.name()
	if !p.short && !p.bad {
		s.say("%s > %s", from, to)
	}
}
