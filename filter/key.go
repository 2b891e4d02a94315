package filter

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Key is something that a table of flows can be asked for without reading its rows, by a filter of what is in a column or by the
// least and the greatest of it. Keys can be compared.
type Key struct {
	Kind      KeyKind
	Net       netip.Prefix // of KeyNet; a single address has all its bits
	Low, High uint16       // of the others: the key is any number from Low to High
}

// A KeyKind is a column, or two for the ends of a flow.
type KeyKind uint8

// Kinds of keys.
const (
	KeyNet       KeyKind = iota // an end's address is in Net
	KeyPort                     // an end's port
	KeyProtocol                 // the protocol of IP
	KeyEtherType                // the Ethernet type behind VLAN tags
	KeyVLAN                     // the id of any VLAN tag
)

func keyOf(kind KeyKind, n uint32) Key { return Key{Kind: kind, Low: uint16(n), High: uint16(n)} }

func (k Key) String() string {
	word := [...]string{KeyNet: "net ", KeyPort: "port ", KeyProtocol: "proto ", KeyEtherType: "ether proto ", KeyVLAN: "vlan "}[k.Kind]
	switch {
	case k.Kind == KeyNet && k.Net.IsSingleIP():
		return "host " + k.Net.Addr().String()
	case k.Kind == KeyNet:
		return word + k.Net.String()
	case k.Kind == KeyEtherType:
		return fmt.Sprintf("%s0x%04x", word, k.Low)
	case k.Low == k.High:
		return fmt.Sprintf("%s%d", word, k.Low)
	}
	return fmt.Sprintf("%s%d-%d", word, k.Low, k.High)
}

// In reports whether the flow has the key, or may have it because it does not know.
func (k Key) In(f *Flow) bool {
	t := f.EtherType
	has6 := f.carries(len(f.VLANs), etherIPv6) != no
	hasIP := has6 || f.carries(len(f.VLANs), etherIP) != no
	switch k.Kind {
	case KeyNet:
		return (hasIP || t == etherARP || t == etherRARP) && (k.inAddr(f.A.Addr) || k.inAddr(f.B.Addr))
	case KeyPort:
		if f.Has&LaterFragments != 0 || f.Has&HasProtocol != 0 && f.Protocol != ipTCP && f.Protocol != ipUDP && f.Protocol != ipSCTP {
			return false
		}
		return hasIP && (f.A.Has&HasPort == 0 || k.inRange(f.A.Port) || f.B.Has&HasPort == 0 || k.inRange(f.B.Port))
	case KeyProtocol:
		return hasIP && (f.Has&HasProtocol == 0 || k.inRange(uint16(f.Protocol)) || has6 && isExtension(f.Protocol))
	case KeyEtherType:
		return f.carries(len(f.VLANs), uint32(k.Low)) != no
	}
	if f.Has&HasFrame == 0 || isTag(uint32(t)) {
		return true
	}
	for _, id := range f.VLANs {
		if k.inRange(id & 0xfff) {
			return true
		}
	}
	return false
}

func (k Key) inAddr(a netip.Addr) bool {
	return !a.IsValid() || k.Net.Contains(a)
}

func (k Key) inRange(n uint16) bool { return n >= k.Low && n <= k.High }

// MayIn reports whether a table may have a packet that passes the program. has says whether the table may have a flow that has all
// of the keys, in the sense of [Key.In]: it must be true if one does, so also if a row lacks the field. has must not keep or change
// the keys.
//
// The condition asks itself instead of giving a normal form: "host A and port 1 or host B and port 2" is asked as it is written,
// has is called no more often than there are tests, and a long expression can't become a longer one.
func (c *Condition) MayIn(has func(keys []Key) bool) bool { return c.root.mayIn(nil, has) }

// mayIn asks for keys of the node together with those that were asked for with it before: all of them are of one flow.
func (n *node) mayIn(given []Key, has func([]Key) bool) bool {
	switch {
	case n.leaf != nil && len(n.keys) == 0:
		return true
	case n.leaf != nil:
		return has(append(slices.Clip(given), n.keys...))
	case !n.and:
		return slices.ContainsFunc(n.kids, func(k *node) bool { return k.mayIn(given, has) })
	}
	all := n.needs(slices.Clip(given))
	return (len(all) == len(given) || has(all)) && n.choices(func(k *node) bool { return k.mayIn(all, has) })
}

// needs appends the keys of all tests that are joined by "and".
func (n *node) needs(keys []Key) []Key {
	for _, k := range n.kids {
		switch {
		case k.leaf != nil:
			keys = append(keys, k.keys...)
		case k.and:
			keys = k.needs(keys)
		}
	}
	return keys
}

// choices calls each for what is joined by "or" under the node, until it returns false.
func (n *node) choices(each func(*node) bool) bool {
	for _, k := range n.kids {
		if k.leaf == nil && (k.and && !k.choices(each) || !k.and && !each(k)) {
			return false
		}
	}
	return true
}

// Keys returns all keys that MayIn may ask for, each once, for a caller that prepares the answers. If there are none, any table may
// have packets that pass.
func (c *Condition) Keys() []Key {
	var all []Key
	seen := map[Key]bool{}
	c.root.each(func(k Key) {
		if !seen[k] {
			seen[k] = true
			all = append(all, k)
		}
	})
	return all
}

func (n *node) each(f func(Key)) {
	for _, k := range n.keys {
		f(k)
	}
	for _, k := range n.kids {
		k.each(f)
	}
}
