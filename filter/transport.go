package filter

import (
	"strconv"
	"strings"
)

// Protocol numbers of IP (IANA).
const (
	ipICMP     = 1
	ipIGMP     = 2
	ipTCP      = 6
	ipIGRP     = 9
	ipUDP      = 17
	ipFragment = 44
	ipESP      = 50
	ipAH       = 51
	ipICMPv6   = 58
	ipPIM      = 103
	ipVRRP     = 112 // and CARP
	ipSCTP     = 132
)

// Protocol numbers of OSI (ISO/IEC TR 9577) and PDU types of IS-IS (ISO/IEC
// 10589).
const (
	osiCLNP = 0x81
	osiESIS = 0x82
	osiISIS = 0x83

	isisL1Hello = 15
	isisL2Hello = 16
	isisP2P     = 17
	isisL1LSP   = 18
	isisL2LSP   = 20
	isisL1CSNP  = 24
	isisL2CSNP  = 25
	isisL1PSNP  = 26
	isisL2PSNP  = 27
)

// proto returns the condition that the packet is of the protocol.
func (g *generator) proto(p proto) *cond {
	if n := etherNumber(p); n != 0 {
		return g.linkProto(n)
	}
	isis := func(types ...uint32) *cond {
		var cs []*cond
		for _, t := range types {
			cs = append(cs, g.protoNumber(t, protoISIS))
		}
		return or(cs...)
	}
	switch p {
	case protoLink, protoRadio:
		return g.fail("", "%s alone says nothing", p)
	case protoTCP, protoUDP, protoSCTP, protoAH, protoESP, protoPIM:
		return g.protoNumber(ipNumber(p), protoAny)
	case protoICMP, protoIGMP, protoIGRP, protoVRRP, protoCARP:
		return g.protoNumber(ipNumber(p), protoIP)
	case protoICMPv6:
		return g.protoNumber(ipICMPv6, protoIPv6)
	case protoCLNP:
		return g.protoNumber(osiCLNP, protoISO)
	case protoESIS:
		return g.protoNumber(osiESIS, protoISO)
	case protoISIS:
		return g.protoNumber(osiISIS, protoISO)
	case protoISISL1:
		return isis(isisL1PSNP, isisL1CSNP, isisL1LSP, isisL1Hello, isisP2P)
	case protoISISL2:
		return isis(isisL2PSNP, isisL2CSNP, isisL2LSP, isisL2Hello, isisP2P)
	case protoISISIIH:
		return isis(isisP2P, isisL1Hello, isisL2Hello)
	case protoISISLSP:
		return isis(isisL1LSP, isisL2LSP)
	case protoISISSNP:
		return isis(isisL2PSNP, isisL1PSNP, isisL1CSNP, isisL2CSNP)
	case protoISISCSNP:
		return isis(isisL1CSNP, isisL2CSNP)
	}
	return isis(isisL1PSNP, isisL2PSNP)
}

// etherNumber returns the number of a protocol of the link layer, or 0.
func etherNumber(p proto) uint32 {
	switch p {
	case protoIP:
		return etherIP
	case protoIPv6:
		return etherIPv6
	case protoARP:
		return etherARP
	case protoRARP:
		return etherRARP
	case protoATalk:
		return etherATalk
	case protoAARP:
		return etherAARP
	case protoDECnet:
		return etherDECnet
	case protoLAT:
		return etherLAT
	case protoSCA:
		return etherSCA
	case protoMOPDL:
		return etherMOPDL
	case protoMOPRC:
		return etherMOPRC
	case protoISO:
		return sapISO
	case protoSTP:
		return sapSTP
	case protoIPX:
		return sapIPX
	case protoNetBEUI:
		return sapNetBEUI
	}
	return 0
}

// ipNumber returns the number of a protocol of IP, or 0.
func ipNumber(p proto) uint32 {
	switch p {
	case protoTCP:
		return ipTCP
	case protoUDP:
		return ipUDP
	case protoSCTP:
		return ipSCTP
	case protoICMP:
		return ipICMP
	case protoIGMP:
		return ipIGMP
	case protoIGRP:
		return ipIGRP
	case protoPIM:
		return ipPIM
	case protoVRRP, protoCARP:
		return ipVRRP
	case protoAH:
		return ipAH
	case protoESP:
		return ipESP
	}
	return 0
}

// protoNumber returns the condition that the protocol in carries the protocol with number n.
func (g *generator) protoNumber(n uint32, in proto) *cond {
	switch in {
	case protoAny:
		return or(g.protoNumber(n, protoIP), g.protoNumber(n, protoIPv6))
	case protoLink:
		return g.linkProto(n)
	case protoIP:
		return and(g.linkProto(etherIP), g.equal(g.net(9, 1), n))
	case protoIPv6:
		next := g.net(6, 1)
		return and(g.linkProto(etherIPv6), or(g.equal(next, n), and(g.equal(next, ipFragment), g.equal(g.net(40, 1), n))))
	case protoISO:
		return and(g.linkProto(sapISO), g.equal(g.bytes(g.payload, g.noSNAPOff, 1), n))
	case protoISIS:
		return and(g.protoNumber(osiISIS, protoISO), g.equal(g.bytes(g.payload, g.noSNAPOff+4, 1), n))
	}
	return g.fail("use ip proto, ip6 proto, ether proto or proto", "%s carries no protocols with numbers", in)
}

// protoName returns the condition that the protocol in carries the protocol with that name.
func (g *generator) protoName(name string, in proto) *cond {
	n, ok := g.protocol(name, in)
	if !ok {
		return &cond{op: condFalse}
	}
	return g.protoNumber(n, in)
}

// protocol looks up the number of a protocol that the protocol in carries.
func (g *generator) protocol(name string, in proto) (n uint32, ok bool) {
	known := ipProtocols
	switch in {
	case protoAny, protoIP, protoIPv6:
		n, ok = lookup(ipProtocols, name)
	case protoLink:
		known = etherProtocols
		n, ok = lookup(etherProtocols, name)
	case protoISO:
		known = map[string]uint32{"clnp": osiCLNP, "esis": osiESIS, "isis": osiISIS}
		n, ok = lookup(known, name)
	default:
		return 0, true // protoNumber fails
	}
	if !ok {
		hint := "write its number"
		if w := nearest(name, keys(known)); w != "" {
			hint = "did you mean " + strconv.Quote(w) + "?"
		}
		g.fail(hint, "unknown protocol %q", clip(name))
	}
	return n, ok
}

// A portRange is the ports from lo to hi.
type portRange struct{ lo, hi uint32 }

// ports returns the condition that the packet's port is in the range.
func (g *generator) ports(q qual, r portRange) *cond {
	switch q.proto {
	case protoAny, protoTCP, protoUDP, protoSCTP:
	default:
		return g.fail("use tcp, udp or sctp", "%s has no ports", q.proto)
	}
	if top := max(r.lo, r.hi); top > 65535 {
		return g.fail("", "the port %d is larger than 65535", top)
	}
	if r.lo > r.hi {
		r.lo, r.hi = r.hi, r.lo
	}
	return or(g.ipv6Port(r, q.proto, q.dir), g.ipv4Port(r, q.proto, q.dir))
}

// ipv4Port returns the condition that the packet is an IPv4 packet of the protocol p, or of any
// protocol with ports, is not a later fragment, and has a port in the range.
func (g *generator) ipv4Port(r portRange, p proto, d direction) *cond {
	return and(g.linkProto(etherIP), anyPort(p, func(n uint32) *cond {
		return and(g.equal(g.net(9, 1), n), g.firstFragment(), directed(d,
			func() *cond { return g.inRange(g.transport(0, 2), r) },
			func() *cond { return g.inRange(g.transport(2, 2), r) }))
	}))
}

// ipv6Port is ipv4Port for IPv6, where ports are found only if there are no extension headers.
func (g *generator) ipv6Port(r portRange, p proto, d direction) *cond {
	return and(g.linkProto(etherIPv6), anyPort(p, func(n uint32) *cond {
		return and(g.equal(g.net(6, 1), n), directed(d,
			func() *cond { return g.inRange(g.net(40, 2), r) },
			func() *cond { return g.inRange(g.net(42, 2), r) }))
	}))
}

// anyPort applies the condition to the protocol's number, or to the numbers of all protocols with
// ports.
func anyPort(p proto, has func(n uint32) *cond) *cond {
	if p != protoAny {
		return has(ipNumber(p))
	}
	return or(has(ipSCTP), has(ipTCP), has(ipUDP))
}

func (g *generator) inRange(v *value, r portRange) *cond {
	if r.lo == r.hi {
		return g.equal(v, r.lo)
	}
	return and(g.compare(jge, v, r.lo), not(g.compare(jgt, v, r.hi)))
}

// firstFragment returns the condition that the IPv4 packet is not a later fragment: these have no
// transport header.
func (g *generator) firstFragment() *cond {
	return not(g.compare(jset, g.net(6, 2), 0x1fff))
}

// portNames returns the ports that a name, or two with a minus between, stand for. It sets the protocol of q if the services have
// only one.
func (g *generator) portNames(name string, q *qual) (r portRange, ok bool) {
	first, last := name, name
	if q.addr == addrPortRange {
		if first, last, ok = strings.Cut(name, "-"); !ok {
			g.fail("write the first and the last port with a minus between", "%q is not a range of ports", clip(name))
			return r, false
		}
	}
	lo, ok := g.service(first, q.proto)
	if !ok {
		return r, false
	}
	hi, ok := g.service(last, q.proto)
	if q.proto == protoAny && lo.proto == hi.proto {
		q.proto = lo.proto
	}
	return portRange{lo.port, hi.port}, ok
}

// service looks up a service by name or number. Unless p is protoAny, the service must exist for p.
func (g *generator) service(name string, p proto) (service, bool) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return service{port: uint32(n)}, true
	}
	s, ok := services[name]
	if !ok {
		hint := "write its number"
		if w := nearest(name, keys(services)); w != "" {
			hint = "did you mean " + strconv.Quote(w) + "?"
		}
		g.fail(hint, "unknown port %q", clip(name))
		return s, false
	}
	if p != protoAny && s.proto != protoAny && s.proto != p {
		g.fail("write its number", "%q is a port of %s, not of %s", name, s.proto, p)
		return s, false
	}
	return s, true
}
