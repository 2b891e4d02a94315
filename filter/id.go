package filter

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
)

// id returns the condition that an address, a number or a name stands for.
func (g *generator) id(e idExpr) *cond {
	switch e.qual.addr {
	case addrGateway:
		return g.fail("write ether host and not host, each with an address", "gateway needs a name server")
	case addrProtoChain:
		return g.fail("ip6 proto looks at the first header, and behind a fragment header", "protochain needs a loop, which the kernel refuses")
	}
	switch e.id.kind {
	case tokNumber:
		return g.number(e)
	case tokIPv4:
		return g.ipv4(e)
	case tokIPv6:
		return g.ipv6(e)
	case tokMAC:
		return g.mac(e)
	case tokARCnet:
		return g.fail("", "addresses of ARCnet are not supported")
	}
	return g.name(e)
}

// number returns the condition that a number without dots stands for.
func (g *generator) number(e idExpr) *cond {
	n := e.id.num
	switch q := e.qual; q.addr {
	case addrPort, addrPortRange:
		return g.ports(q, portRange{n, n})
	case addrProto:
		return g.protoNumber(n, q.proto)
	case addrNet:
		addr, mask := shortNet(n)
		return g.host(addr, mask, q)
	}
	return g.host(n, math.MaxUint32, e.qual)
}

// shortNet returns the network that a number without dots stands for: 10 is 10.0.0.0/8.
func shortNet(n uint32) (addr, mask uint32) {
	mask = math.MaxUint32
	for n != 0 && n>>24 == 0 {
		n, mask = n<<8, mask<<8
	}
	return n, mask
}

// ipv4 returns the condition that an IPv4 address or network stands for.
func (g *generator) ipv4(e idExpr) *cond {
	addr, mask := g.net4(e)
	return g.host(addr, mask, e.qual)
}

// net4 returns the IPv4 address or network that an id stands for.
func (g *generator) net4(e idExpr) (addr, mask uint32) {
	if e.qual.addr > addrNet {
		g.fail("", "%s needs a number or a name, not an address", e.qual.addr)
		return 0, 0
	}
	addr, mask, ok := parseIPv4(e.id.text)
	if !ok {
		g.fail("each part is a decimal number up to 255", "%q is not an IPv4 address", clip(e.id.text))
		return 0, 0
	}
	switch {
	case e.mask != nil:
		m, known, ok := parseIPv4(e.mask.text)
		if !ok {
			g.at = e.mask.off
			g.fail("", "%q is not a network mask", clip(e.mask.text))
		}
		mask = m & known
	case e.bits != nil:
		if e.bits.num > 32 {
			g.at = e.bits.off
			g.fail("", "an IPv4 address has 32 bits, not %d", e.bits.num)
		}
		mask = uint32(uint64(math.MaxUint32) << (32 - min(e.bits.num, 32)))
	default:
		return addr, mask
	}
	if addr&^mask != 0 {
		g.fail(fmt.Sprintf("the network is %s", addrOf(addr&mask)), "%s has bits outside of the network mask", e.id.text)
	}
	if e.qual.addr != addrNet {
		g.fail("write net before it", "a network mask needs net, not host")
	}
	return addr, mask
}

// addrOf returns the IPv4 address that a number stands for.
func addrOf(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// parseIPv4 parses one to four decimal numbers separated by dots. It returns the address, filled
// with zeros at the end, and the mask of the numbers that were written.
func parseIPv4(s string) (addr, mask uint32, ok bool) {
	parts := strings.Split(s, ".")
	for i := range 4 {
		addr, mask = addr<<8, mask<<8
		if i >= len(parts) {
			continue
		}
		n := uint32(0)
		for _, c := range []byte(parts[i]) {
			if n = n*10 + uint32(c) - '0'; !isDigit(c) || n > 255 {
				return 0, 0, false
			}
		}
		addr, mask = addr|n, mask|0xff
	}
	return addr, mask, true
}

// host returns the condition that an IPv4 address, under the mask, is addr.
func (g *generator) host(addr, mask uint32, q qual) *cond {
	in := func(ether, src, dst uint32) *cond {
		one := func(off uint32) *cond {
			c := g.linkProto(ether)
			if mask == 0 && !g.quirks {
				return c // libpcap also loads the address, which may fail
			}
			return and(c, g.masked(g.net(off, 4), mask, addr))
		}
		return directed(q.dir, func() *cond { return one(src) }, func() *cond { return one(dst) })
	}
	switch q.proto {
	case protoAny:
		c := in(etherIP, 12, 16)
		if g.labels == 0 {
			c = or(c, in(etherARP, 14, 24), in(etherRARP, 14, 24))
		}
		return c
	case protoIP:
		return in(etherIP, 12, 16)
	case protoARP:
		return in(etherARP, 14, 24)
	case protoRARP:
		return in(etherRARP, 14, 24)
	case protoLink:
		return g.fail("an Ethernet address has 6 bytes, as in 00:1b:44:11:3a:b7", "ether needs an Ethernet address")
	}
	return g.fail("use host, net, ip, arp or rarp", "%s has no IPv4 addresses", q.proto)
}

// ipv6 returns the condition that an IPv6 address or network stands for.
func (g *generator) ipv6(e idExpr) *cond {
	p, ok := g.net6(e)
	if !ok {
		return &cond{op: condFalse}
	}
	addr := p.Addr()
	one := func(off uint32) *cond {
		c := g.linkProto(etherIPv6)
		for i, left := uint32(0), p.Bits(); i < 16 && (left > 0 || g.quirks); i, left = i+4, left-32 {
			word := binary.BigEndian.Uint32(addr.AsSlice()[i:])
			c = and(c, g.masked(g.net(off+i, 4), uint32(uint64(math.MaxUint32)<<(32-min(max(left, 0), 32))), word))
		}
		return c
	}
	return directed(e.qual.dir, func() *cond { return one(8) }, func() *cond { return one(24) })
}

// net6 returns the IPv6 address or network that an id stands for.
func (g *generator) net6(e idExpr) (p netip.Prefix, ok bool) {
	addr, err := netip.ParseAddr(e.id.text)
	if err != nil {
		g.fail("", "%q is not an IPv6 address", clip(e.id.text))
		return p, false
	}
	n := 128
	if e.bits != nil {
		if e.bits.num > 128 {
			g.at = e.bits.off
			g.fail("", "an IPv6 address has 128 bits, not %d", e.bits.num)
			return p, false
		}
		n = int(e.bits.num)
	}
	p = netip.PrefixFrom(addr, n)
	switch q := e.qual; {
	case p.Masked() != p:
		g.fail(fmt.Sprintf("the network is %s", p.Masked()), "%s has bits outside of the network mask", e.id.text)
	case q.addr > addrNet:
		g.fail("", "%s needs a number or a name, not an address", q.addr)
	case q.addr != addrNet && n != 128:
		g.fail("write net before it", "a network mask needs net, not host")
	case q.proto != protoAny && q.proto != protoIPv6:
		g.fail("use host, net or ip6", "%s has no IPv6 addresses", q.proto)
	default:
		return p, true
	}
	return p, false
}

// mac returns the condition that an Ethernet address stands for.
func (g *generator) mac(e idExpr) *cond {
	if e.qual.proto != protoLink || e.qual.addr > addrHost {
		return g.fail("write ether host, ether src or ether dst before it", "an Ethernet address needs ether")
	}
	return g.ether(parseMAC(e.id.text), e.qual.dir)
}

// parseMAC parses an address that lex has accepted.
func parseMAC(s string) (addr [6]byte) {
	groups := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(":-.", r) })
	digits := ""
	for _, group := range groups {
		if len(group) == 1 {
			digits += "0"
		}
		digits += group
	}
	for i := range addr {
		_, _ = fmt.Sscanf(digits[2*i:2*i+2], "%02x", &addr[i])
	}
	return addr
}

// name returns the condition that a name stands for.
func (g *generator) name(e idExpr) *cond {
	name, q := e.id.text, e.qual
	switch q.addr {
	case addrPort, addrPortRange:
		r, ok := g.portNames(name, &q)
		if !ok {
			return &cond{op: condFalse}
		}
		return g.ports(q, r)
	case addrProto:
		return g.protoName(name, q.proto)
	case addrNet:
		return g.fail("write its number, as in net 192.168.0.0/16", "names of networks such as %q are not looked up", clip(name))
	}
	if q.proto == protoLink {
		return g.fail("write its address, as in 00:1b:44:11:3a:b7", "names of Ethernet hosts such as %q are not looked up", clip(name))
	}
	hint := "write its address: a recorder must not depend on a name server"
	if strings.Trim(name, "0123456789.") == "" {
		hint = "an IPv4 address has 4 numbers"
	} else if w := nearest(name, starters()); w != "" {
		hint = fmt.Sprintf("did you mean %q? For a host, write its address", w)
	}
	return g.fail(hint, "host names such as %q are not looked up", clip(name))
}
