package decode

import "capd/pcap"

// A protocol decodes the bytes of one protocol into the sink.
type protocol func(*sink, data)

// A payload is a protocol that a transport may carry.
type payload struct {
	decode protocol
	begins func(data) bool // whether it can begin with these bytes; nil: with any
}

// protocols are the tables by which the bytes behind a header find their
// protocol. They never change. They are reached through the sink, as variables
// of the package would refer to themselves: vlan asks for an Ethernet type and
// is one.
type protocols struct {
	links      map[pcap.LinkType]protocol
	etherTypes map[uint16]protocol
	families   map[uint32]protocol // address families, of all BSDs and Linux
	ppp        map[uint16]protocol
	gpe        map[uint8]protocol // of VXLAN-GPE and NSH
	gre        map[uint16]protocol
	ip         [256]protocol

	tcpPorts, udpPorts   map[uint16]payload
	tcpStarts, udpStarts []payload // those that their first bytes give away
	tcpFlags             [512]string
}

// named is a protocol of which only the name and the length are shown; nameOnly
// is it for the tables.
func named(s *sink, name string, x data) {
	if s.enter(name) {
		s.sayNumber("length ", uint64(x.n))
	}
}

func nameOnly(name string) protocol {
	return func(s *sink, x data) { named(s, name, x) }
}

// inTunnel is a protocol that begins a packet in a packet, with no header
// between the two.
func inTunnel(name string, inner protocol) protocol {
	return func(s *sink, x data) {
		if s.tunnel(name, nil) {
			inner(s, x)
		}
	}
}

// linkLayer decodes a frame from its first byte on.
func linkLayer(s *sink, link pcap.LinkType, x data) {
	if p := s.protocols.links[link]; p != nil {
		p(s, x)
		return
	}
	s.frame.Protocol = printable([]byte(link.String()))
	s.sayNumber("length ", uint64(x.n))
}

func etherType(s *sink, t uint16, x data) {
	if p := s.protocols.etherTypes[t]; p != nil {
		p(s, x)
		return
	}
	s.enter(etherName(t))
	s.sayNumber("length ", uint64(x.n))
}

func addressFamily(s *sink, family uint32, x data) {
	if p := s.protocols.families[family]; p != nil {
		p(s, x)
		return
	}
	s.say("family %d, length %d", family, x.n)
}

// pppPayload decodes what is behind the number of a protocol of PPP.
func pppPayload(s *sink, proto uint16, x data) {
	if p := s.protocols.ppp[proto]; p != nil {
		p(s, x)
		return
	}
	s.say("ppp protocol 0x%04x, length %d", proto, x.n)
}

const gpeEthernet = 3

// gpe decodes what a tunnel carries by the numbers of next protocols that
// VXLAN-GPE and NSH share.
func gpe(s *sink, tunnel string, id uint32, next uint8, x data) {
	p := s.protocols.gpe[next]
	if p == nil { // no other packet is seen: the addresses stay
		s.say("id %d, next protocol %d, length %d", id, next, x.n)
		return
	}
	if s.tunnel(tunnel, &id) {
		p(s, x)
	}
}

// grePayload is what GRE carries by its number, which is an Ethernet type but for
// a few, or nil.
func (p *protocols) grePayload(proto uint16, sequence bool) protocol {
	if proto == 0x88be && !sequence { // ERSPAN's type I, which has no header
		return ethernet
	}
	if inner := p.gre[proto]; inner != nil {
		return inner
	}
	return p.etherTypes[proto]
}

// ipProtocol decodes what is behind the last header of an IP packet that is no
// later fragment.
func ipProtocol(s *sink, proto uint8, x data) {
	if p := s.protocols.ip[proto]; p != nil {
		p(s, x)
		return
	}
	named(s, protoName(proto), x)
}

// tcpPayload decodes a segment that begins a message: by its first bytes where
// they are certain, else by the ports.
func tcpPayload(s *sink, x data) {
	p := s.protocols
	for i := range p.tcpStarts {
		if p.tcpStarts[i].take(s, x) {
			return
		}
	}
	byPort(s, p.tcpPorts, x)
}

// udpPayload decodes a datagram by its ports, else by its first bytes.
func udpPayload(s *sink, x data) {
	p := s.protocols
	if x.n == 0 || byPort(s, p.udpPorts, x) {
		return
	}
	for i := range p.udpStarts {
		if p.udpStarts[i].take(s, x) {
			return
		}
	}
}

// byPort decodes by the ports, the lower one first. It is false where neither
// is of a protocol that begins so.
func byPort(s *sink, ports map[uint16]payload, x data) bool {
	src, dst := s.frame.SrcPort, s.frame.DstPort
	for _, port := range [2]uint16{min(src, dst), max(src, dst)} {
		if p, ok := ports[port]; ok && p.take(s, x) {
			return true
		}
	}
	return false
}

// take decodes what begins as the protocol does.
func (p *payload) take(s *sink, x data) bool {
	if p.begins != nil && !p.begins(x) {
		return false
	}
	p.decode(s, x)
	return true
}
