package filter

import (
	"encoding/binary"
	"fmt"
	"math"
	mathbits "math/bits"
	"net"
	"net/netip"
)

// A leaf is a test of a Condition. It must know everything that the program's test of the same name does: holds says yes only if
// no frame fails it, and no only if no frame passes it. A frame that is too short for the test counts for neither.
type leaf interface {
	holds(w way) truth
	directed() bool // holds tells the two directions apart
	keys() []Key    // what a flow that passes has, if the test looks at the place that it is meant for
	String() string
}

// An unknownLeaf is what a flow can't decide.
type unknownLeaf struct{}

func (unknownLeaf) holds(way) truth { return maybe }
func (unknownLeaf) directed() bool  { return false }
func (unknownLeaf) keys() []Key     { return nil }
func (unknownLeaf) String() string  { return "?" }

// A linkLeaf tests the protocol of the link layer.
type linkLeaf struct {
	tags  int
	proto uint32
	ether bool // other link types than Ethernet have their own test
	word  string
}

func (l *linkLeaf) holds(w way) truth {
	if l.ether && w.Has&HasFrame != 0 && w.Link != LinkEthernet {
		return maybe
	}
	return w.carries(l.tags, l.proto)
}

func (l *linkLeaf) directed() bool { return false }

func (l *linkLeaf) keys() []Key {
	switch p := l.proto; {
	case p <= etherMTU, p > math.MaxUint16, isTag(p), p == etherATalk, p == etherAARP:
		return nil // a flow has no single Ethernet type for these
	}
	return []Key{keyOf(KeyEtherType, l.proto)}
}

func (l *linkLeaf) String() string {
	if l.word != "" {
		return l.word
	}
	return fmt.Sprintf("ether proto 0x%04x", l.proto)
}

// A vlanLeaf tests whether there is a VLAN tag, behind a number of others.
type vlanLeaf struct {
	tags int
	id   *uint32
}

func (l *vlanLeaf) holds(w way) truth {
	n := len(w.VLANs)
	switch {
	case w.Has&HasFrame == 0 || n < l.tags:
		return maybe
	case w.Link != LinkEthernet:
		return no
	case n == l.tags:
		return min(maybe, is(isTag(uint32(w.EtherType))))
	}
	return is(l.id == nil || uint32(w.VLANs[l.tags]&0xfff) == *l.id)
}

func (l *vlanLeaf) directed() bool { return false }

func (l *vlanLeaf) keys() []Key {
	if l.id != nil {
		return []Key{keyOf(KeyVLAN, *l.id)}
	}
	return []Key{{Kind: KeyVLAN, High: 0xfff}}
}

func (l *vlanLeaf) String() string {
	if l.id == nil {
		return "vlan"
	}
	return fmt.Sprintf("vlan %d", *l.id)
}

// either combines the verdicts on source and destination as the direction requires.
func either(d direction, src, dst truth) truth {
	switch d {
	case dirSrc:
		return src
	case dirDst:
		return dst
	case dirAnd:
		return min(src, dst)
	}
	return max(src, dst)
}

var dirWords = [...]string{dirAny: "", dirSrc: "src ", dirDst: "dst ", dirOr: "", dirAnd: "src and dst "}

// A host4Leaf tests the addresses of IPv4, ARP and RARP.
type host4Leaf struct {
	tags       int
	proto      proto // protoAny: all three
	dir        direction
	addr, mask uint32
}

func (l *host4Leaf) holds(w way) truth {
	at := w.place(l.tags)
	if at == anyThere {
		return maybe
	}
	same := either(l.dir, l.same(w.src), l.same(w.dst))
	if same == no || at == tagThere {
		return no
	}
	var link truth
	if l.proto != protoAny {
		link = w.carries(l.tags, etherNumber(l.proto))
	} else {
		link = max(w.carries(l.tags, etherIP), w.carries(l.tags, etherARP), w.carries(l.tags, etherRARP))
	}
	return min(link, same)
}

func (l *host4Leaf) same(e *Endpoint) truth {
	if l.mask == 0 {
		return yes
	}
	if !e.Addr.Is4() {
		return maybe
	}
	a := e.Addr.As4()
	return is(binary.BigEndian.Uint32(a[:])&l.mask == l.addr)
}

func (l *host4Leaf) net() netip.Prefix {
	return netip.PrefixFrom(addrOf(l.addr), mathbits.LeadingZeros32(^l.mask)).Masked()
}

func (l *host4Leaf) directed() bool { return l.dir == dirSrc || l.dir == dirDst }

func (l *host4Leaf) keys() (all []Key) {
	if p := l.net(); p.Bits() > 0 {
		all = append(all, Key{Kind: KeyNet, Net: p})
	}
	if l.proto != protoAny {
		all = append(all, keyOf(KeyEtherType, etherNumber(l.proto)))
	}
	return all
}

func (l *host4Leaf) String() string {
	words := dirWords[l.dir]
	if l.proto != protoAny {
		words = l.proto.String() + " " + words
	}
	if l.mask == math.MaxUint32 {
		return words + "host " + addrOf(l.addr).String()
	}
	if l.mask&(^l.mask>>1) == 0 {
		return words + "net " + l.net().String()
	}
	return fmt.Sprintf("%snet %s mask %s", words, addrOf(l.addr), addrOf(l.mask))
}

// A host6Leaf tests the addresses of IPv6.
type host6Leaf struct {
	tags int
	dir  direction
	net  netip.Prefix
}

func (l *host6Leaf) holds(w way) truth {
	at := w.place(l.tags)
	if at == anyThere {
		return maybe
	}
	same := either(l.dir, l.same(w.src), l.same(w.dst))
	if same == no || at == tagThere {
		return no
	}
	return min(w.carries(l.tags, etherIPv6), same)
}

func (l *host6Leaf) same(e *Endpoint) truth {
	if l.net.Bits() == 0 {
		return yes
	}
	if !e.Addr.Is6() {
		return maybe
	}
	return is(l.net.Contains(e.Addr))
}

func (l *host6Leaf) directed() bool { return l.dir == dirSrc || l.dir == dirDst }

func (l *host6Leaf) keys() []Key {
	if l.net.Bits() == 0 {
		return []Key{keyOf(KeyEtherType, etherIPv6)}
	}
	return []Key{{Kind: KeyNet, Net: l.net}}
}

func (l *host6Leaf) String() string {
	if l.net.IsSingleIP() {
		return dirWords[l.dir] + "host " + l.net.Addr().String()
	}
	return dirWords[l.dir] + "net " + l.net.String()
}

// A protoLeaf tests the protocol in the header of IPv4 (protoIP), of IPv6, or of either (protoAny).
type protoLeaf struct {
	tags int
	in   proto
	n    uint32
	word string
}

func (l *protoLeaf) holds(w way) truth {
	v := no
	if l.in != protoIPv6 {
		v = w.ip4Proto(l.tags, l.n)
	}
	if l.in != protoIP {
		v = max(v, w.ip6Proto(l.tags, l.n))
	}
	return v
}

func (f *Flow) ip4Proto(tags int, n uint32) truth {
	link := f.carries(tags, etherIP)
	if f.Has&HasProtocol == 0 || f.place(tags) == anyThere {
		return min(link, maybe)
	}
	return min(link, is(uint32(f.Protocol) == n))
}

// ip6Proto is ip4Proto for IPv6, where a test looks at the first protocol, and behind a fragment header if that comes first.
func (f *Flow) ip6Proto(tags int, n uint32) truth {
	link := f.carries(tags, etherIPv6)
	switch {
	case f.Has&HasProtocol == 0 || f.place(tags) == anyThere:
		return min(link, maybe)
	case uint32(f.Protocol) == n && f.Has&NoExtensions != 0:
		return link
	case f.Has&NoExtensions != 0:
		return no
	}
	return min(link, maybe, is(uint32(f.Protocol) == n || isExtension(f.Protocol) || n <= math.MaxUint8 && isExtension(uint8(n))))
}

func (l *protoLeaf) directed() bool { return false }

func (l *protoLeaf) keys() (all []Key) {
	switch l.in {
	case protoIP:
		all = append(all, keyOf(KeyEtherType, etherIP))
	case protoIPv6:
		all = append(all, keyOf(KeyEtherType, etherIPv6))
	}
	if l.n <= math.MaxUint8 && (l.in == protoIP || !isExtension(uint8(l.n))) {
		all = append(all, keyOf(KeyProtocol, l.n))
	}
	return all
}

func (l *protoLeaf) String() string {
	switch {
	case l.word != "":
		return l.word
	case l.in == protoAny:
		return fmt.Sprintf("proto %d", l.n)
	}
	return fmt.Sprintf("%s proto %d", l.in, l.n)
}

// A firstLeaf tests whether a frame of IPv4 has a transport header, as fragments other than the first have none.
type firstLeaf struct{ tags int }

func (l firstLeaf) holds(w way) truth {
	if w.place(l.tags) != protocolThere {
		return maybe
	}
	if w.Has&LaterFragments != 0 {
		return no
	}
	if (w.src.Has|w.dst.Has)&(HasPort|HasICMP) != 0 {
		return yes
	}
	return maybe
}

func (firstLeaf) directed() bool { return false }
func (firstLeaf) keys() []Key    { return nil }
func (firstLeaf) String() string { return "ip[6:2] & 0x1fff = 0" }

// A portLeaf tests the ports of a protocol, or of all that have ports (protoAny).
type portLeaf struct {
	tags  int
	proto proto
	dir   direction
	portRange
}

func (l *portLeaf) holds(w way) truth {
	if w.place(l.tags) == anyThere {
		return maybe
	}
	same := either(l.dir, l.same(w.src), l.same(w.dst))
	if same == no || w.Has&LaterFragments != 0 {
		return no
	}
	v := maybe
	if w.Has&HasProtocol != 0 {
		p := uint32(w.Protocol)
		v = is(p == ipNumber(l.proto) || l.proto == protoAny && (p == ipTCP || p == ipUDP || p == ipSCTP))
	}
	ip6 := w.carries(l.tags, etherIPv6)
	if w.Has&NoExtensions == 0 {
		ip6 = min(ip6, maybe)
	}
	return min(same, v, max(w.carries(l.tags, etherIP), ip6))
}

func (l *portLeaf) same(e *Endpoint) truth {
	if e.Has&HasPort == 0 {
		return maybe
	}
	return is(uint32(e.Port) >= l.lo && uint32(e.Port) <= l.hi)
}

func (l *portLeaf) directed() bool { return l.dir == dirSrc || l.dir == dirDst }

func (l *portLeaf) keys() []Key {
	all := []Key{{Kind: KeyPort, Low: uint16(l.lo), High: uint16(l.hi)}}
	if l.proto != protoAny {
		all = append(all, keyOf(KeyProtocol, ipNumber(l.proto)))
	}
	return all
}

func (l *portLeaf) String() string {
	words := dirWords[l.dir]
	if l.proto != protoAny {
		words = l.proto.String() + " " + words
	}
	if l.lo == l.hi {
		return fmt.Sprintf("%sport %d", words, l.lo)
	}
	return fmt.Sprintf("%sportrange %d-%d", words, l.lo, l.hi)
}

// A macLeaf tests the addresses of Ethernet.
type macLeaf struct {
	addr  [6]byte
	dir   direction
	group bool // any address of a group
}

func (l *macLeaf) holds(w way) truth {
	if w.Has&HasFrame != 0 && w.Link != LinkEthernet {
		return no
	}
	v := either(l.dir, l.same(w.src), l.same(w.dst))
	if w.Has&HasFrame == 0 {
		v = min(v, maybe)
	}
	return v
}

func (l *macLeaf) same(e *Endpoint) truth {
	switch {
	case e.Has&HasMAC == 0:
		return maybe
	case l.group:
		return is(e.MAC[0]&1 != 0)
	}
	return is(e.MAC == l.addr)
}

func (l *macLeaf) directed() bool { return l.dir == dirSrc || l.dir == dirDst }

func (l *macLeaf) keys() []Key { return nil } // a row has the addresses of the first frame only

func (l *macLeaf) String() string {
	if l.group {
		return "ether multicast"
	}
	return "ether " + dirWords[l.dir] + "host " + net.HardwareAddr(l.addr[:]).String()
}
