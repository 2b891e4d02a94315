package flow

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
)

// A MAC is an Ethernet address.
type MAC [6]byte

// A Tunnel is what carries a flow within another one. The zero value is a flow that nothing carries: the frame's own.
type Tunnel uint8

// Tunnels.
const (
	Outer Tunnel = iota
	IPIP
	GRE
	ERSPAN
	EtherIP
	VXLAN
	Geneve
	GTP
	numTunnels
)

var tunnelNames = [numTunnels]string{"", "ipip", "gre", "erspan", "etherip", "vxlan", "geneve", "gtp"}

// String returns the tunnel's name, and "" for Outer.
func (t Tunnel) String() string { return tunnelNames[t] }

// Has says which fields of a Key are known.
type Has uint8

// Fields that a frame may lack, because its protocol has none or because it was cut.
const (
	HasSrcMAC Has = 1 << iota
	HasDstMAC
	HasProto
	HasPorts
	HasICMP
	HasInterface
)

// Marks say what holds for some frame of a flow.
type Marks uint8

// Marks of frames.
const (
	LaterFragment Marks = 1 << iota // it is a fragment of IP and not the first one of its datagram, so it has no ports
	Extensions                      // it has extension headers of IPv6
	Short                           // it ends before a field that a Key or the flags have of its protocols, or is not read so far
	OtherMACs                       // it has two MAC addresses, and not those of the first frame
)

// MaxVLANs is how many VLAN ids of a frame are kept. A frame with more of them has the Ethernet type of a tag, and no addresses.
const MaxVLANs = 4

// A Key is what tells flows apart, as the frame has it: from its source to its destination. Two frames belong to one flow if
// their keys are equal, or equal once the ends of one are exchanged. The MAC addresses tell flows apart only where there are no
// addresses of IP.
type Key struct {
	Interface          uint32 // number that Builder.Interface gave
	Tunnel             Tunnel
	Has                Has
	NumVLANs           uint8
	Proto              uint8 // of IP; behind extension headers of IPv6
	ICMPType, ICMPCode uint8
	EtherType          uint16 // behind tags; 4: an IEEE 802.2 frame; 0: not known
	VLANs              [MaxVLANs]uint16
	SrcMAC, DstMAC     MAC
	Src, Dst           netip.Addr // of IP or ARP; invalid: there are none, or they were cut off
	SrcPort, DstPort   uint16
}

// Has reports whether all of the fields are known.
func (k *Key) has(h Has) bool { return k.Has&h == h }

// IDs returns the VLAN ids, the outermost first.
func (k *Key) IDs() []uint16 { return k.VLANs[:k.NumVLANs] }

// Inner reports whether a tunnel carries the flow.
func (k *Key) Inner() bool { return k.Tunnel != Outer }

// An identity is a Key as one value for both directions, in few words, without pointers. The lower end is a.
type identity struct {
	a, b  [2]uint64 // addresses as numbers, of IP or, without one, of Ethernet
	vlans uint64    // the outermost in the highest bits
	ports uint64    // the interface; then those of a and b, or of ICMP the type and its counterpart, or the type and code
	rest  uint64    // what pack says
}

// Bits of identity.rest, above what pack puts there.
const (
	isIPv4 = 1 << (56 + iota)
	isIPv6
	oneWay // the flow has one direction: a is its source
)

// pack makes one number of what is left of a key.
func pack(etherType uint16, t Tunnel, h Has, vlans, proto, icmpCode uint8) uint64 {
	return uint64(etherType) | uint64(t)<<16 | uint64(h)<<24 | uint64(vlans)<<32 | uint64(proto)<<40 | uint64(icmpCode)<<48
}

func portsOf(iface uint32, a, b uint16) uint64 { return uint64(iface)<<32 | uint64(a)<<16 | uint64(b) }

func (id *identity) oneWay() bool { return id.rest&oneWay != 0 }

func (id *identity) equal(o *identity) bool {
	return (id.a[0]^o.a[0])|(id.a[1]^o.a[1])|(id.b[0]^o.b[0])|(id.b[1]^o.b[1])|(id.vlans^o.vlans)|(id.ports^o.ports)|(id.rest^o.rest) == 0
}

// identify returns the flow's identity, and whether the frame goes from its b to its a.
func (k *Key) identify() (id identity, reverse bool) {
	has, kind := k.Has, uint64(0)
	switch {
	case k.Src.Is4():
		id.a[1], id.b[1] = number(k.Src)[1]&math.MaxUint32, number(k.Dst)[1]&math.MaxUint32
		kind, has = isIPv4, has&^(HasSrcMAC|HasDstMAC)
	case k.Src.IsValid():
		id.a, id.b = number(k.Src), number(k.Dst)
		kind, has = isIPv6, has&^(HasSrcMAC|HasDstMAC)
	default:
		id.a[1], id.b[1] = k.SrcMAC.number(), k.DstMAC.number()
		if !k.has(HasSrcMAC | HasDstMAC) {
			kind = oneWay
		}
	}
	a, b := k.SrcPort, k.DstPort
	if k.has(HasICMP) {
		var paired bool
		if a, b, paired = icmpPorts(k.Proto, k.ICMPType, k.ICMPCode); !paired {
			kind |= oneWay
		}
	}
	for i, v := range k.VLANs {
		id.vlans |= uint64(v) << (48 - 16*i)
	}
	id.ports = portsOf(k.Interface, a, b)
	id.rest = kind | pack(k.EtherType, k.Tunnel, has, k.NumVLANs, k.Proto, k.ICMPCode)
	if id.oneWay() || cmp.Or(cmp.Compare(id.a[0], id.b[0]), cmp.Compare(id.a[1], id.b[1]), cmp.Compare(a, b)) <= 0 {
		return id, false
	}
	id.a, id.b, id.ports = id.b, id.a, portsOf(k.Interface, b, a)
	return id, true
}

// number returns an address as a number; IPv4 is in the last bits.
func number(a netip.Addr) [2]uint64 {
	b := a.As16()
	return [2]uint64{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

func (m *MAC) number() uint64 {
	return uint64(binary.BigEndian.Uint16(m[:]))<<32 | uint64(binary.BigEndian.Uint32(m[2:]))
}

// macOf is the opposite of number.
func macOf(n uint64) (m MAC) {
	binary.BigEndian.PutUint16(m[:], uint16(n>>32))
	binary.BigEndian.PutUint32(m[2:], uint32(n))
	return m
}

// addr is the opposite of number.
func (id *identity) addr(n [2]uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], n[0])
	binary.BigEndian.PutUint64(b[8:], n[1])
	switch {
	case id.rest&isIPv4 != 0:
		return netip.AddrFrom4([4]byte(b[12:]))
	case id.rest&isIPv6 != 0:
		return netip.AddrFrom16(b)
	}
	return netip.Addr{}
}

// key returns the key of a frame from a to b, or the reverse, without MAC addresses.
func (id *identity) key(reverse bool) (k Key) {
	a, b, aPort, bPort := id.a, id.b, uint16(id.ports>>16), uint16(id.ports)
	if reverse {
		a, b, aPort, bPort = b, a, bPort, aPort
	}
	r := id.rest
	k = Key{
		Interface: uint32(id.ports >> 32), EtherType: uint16(r), Tunnel: Tunnel(r >> 16), Has: Has(r >> 24), NumVLANs: uint8(r >> 32),
		Proto: uint8(r >> 40), ICMPCode: uint8(r >> 48), Src: id.addr(a), Dst: id.addr(b),
	}
	for i := range k.VLANs {
		k.VLANs[i] = uint16(id.vlans >> (48 - 16*i))
	}
	if k.has(HasICMP) {
		k.ICMPType = uint8(aPort)
	} else {
		k.SrcPort, k.DstPort = aPort, bPort
	}
	return k
}

// IP protocols.
const (
	protoHopByHop  = 0
	protoICMP      = 1
	protoIPv4      = 4
	protoTCP       = 6
	protoUDP       = 17
	protoDCCP      = 33
	protoIPv6      = 41
	protoRouting   = 43
	protoFragment  = 44
	protoGRE       = 47
	protoAH        = 51
	protoICMPv6    = 58
	protoDestOpts  = 60
	protoIPwithin  = 94
	protoEtherIP   = 97
	protoSCTP      = 132
	protoMobility  = 135
	protoUDPLite   = 136
	protoHIP       = 139
	protoShim6     = 140
	maxExtensions  = 16
	maxLabels      = 16
	minIPv4Header  = 20
	ipv6HeaderSize = 40
)

// Counterpart returns the type of ICMP, or of ICMPv6, that answers a type, or that it answers.
func Counterpart(proto, icmpType uint8) (counterpart uint8, ok bool) {
	switch proto {
	case protoICMP:
		switch icmpType {
		case 0, 8: // echo
			return 8 - icmpType, true
		case 9, 10: // router
			return 19 - icmpType, true
		case 13, 14, 15, 16, 17, 18: // timestamp, information, address mask
			return (icmpType - 1 ^ 1) + 1, true
		}
	case protoICMPv6:
		switch icmpType {
		case 128, 129, 130, 131, 144, 145: // echo, multicast listener, home agent
			return icmpType ^ 1, true
		case 133, 134, 135, 136, 139, 140: // router, neighbor, who are you
			return (icmpType - 1 ^ 1) + 1, true
		}
	}
	return 0, false
}

// icmpPorts returns what stands for the ports of a message: its type and the counterpart, or its type and code where none
// answers it.
func icmpPorts(proto, icmpType, code uint8) (src, dst uint16, paired bool) {
	if other, ok := Counterpart(proto, icmpType); ok {
		return uint16(icmpType), uint16(other), true
	}
	return uint16(icmpType), uint16(code), false
}
