package filter

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A field is bytes of a packet that a flow knows. read returns the bits that are set in any frame, and those that are set in all.
type field struct {
	proto     proto
	off, size uint32
	read      func(w way) (some, all uint32, ok bool)
}

// fields are those that an arithmetic expression may name.
var fields = []field{
	{protoIP, 9, 1, func(w way) (uint32, uint32, bool) { return exactly(uint32(w.Protocol), w.Has&HasProtocol) }},
	{protoIP, 12, 4, func(w way) (uint32, uint32, bool) { return w.src.ip4() }},
	{protoIP, 16, 4, func(w way) (uint32, uint32, bool) { return w.dst.ip4() }},
	{protoTCP, 0, 2, srcPort}, {protoTCP, 2, 2, dstPort}, {protoUDP, 0, 2, srcPort}, {protoUDP, 2, 2, dstPort}, {protoSCTP, 0, 2, srcPort}, {protoSCTP, 2, 2, dstPort},
	{protoTCP, 13, 1, func(w way) (uint32, uint32, bool) {
		some, _, ok := exactly(uint32(w.src.TCPFlags), w.src.Has&HasTCPFlags)
		if w.src.Packets == 1 {
			return some, some, ok
		}
		return some, 0, ok
	}},
	{protoICMP, 0, 1, icmpType}, {protoICMP, 1, 1, icmpCode}, {protoICMPv6, 0, 1, icmpType}, {protoICMPv6, 1, 1, icmpCode},
}

func exactly(n uint32, has Fact) (some, all uint32, ok bool) { return n, n, has != 0 }

func srcPort(w way) (some, all uint32, ok bool) {
	return exactly(uint32(w.src.Port), w.src.Has&HasPort)
}
func dstPort(w way) (some, all uint32, ok bool) {
	return exactly(uint32(w.dst.Port), w.dst.Has&HasPort)
}

func icmpType(w way) (some, all uint32, ok bool) {
	return exactly(uint32(w.src.ICMPType), w.src.Has&HasICMP)
}

func icmpCode(w way) (some, all uint32, ok bool) {
	return exactly(uint32(w.src.ICMPCode), w.src.Has&HasICMP)
}

func (e *Endpoint) ip4() (some, all uint32, ok bool) {
	if !e.Addr.Is4() {
		return 0, 0, false
	}
	a := e.Addr.As4()
	n := binary.BigEndian.Uint32(a[:])
	return n, n, true
}

// A comparison compares a number of which bounds are known. op is one of = > >=.
type comparison struct {
	op  string
	not bool
	k   uint32
}

// between returns the truth for a number from least to most.
func (c comparison) between(least, most uint32) truth {
	v := maybe
	switch c.op {
	case "=":
		switch {
		case c.k < least || c.k > most:
			v = no
		case least == most:
			v = yes
		}
	case ">":
		switch {
		case most <= c.k:
			v = no
		case least > c.k:
			v = yes
		}
	default:
		switch {
		case most < c.k:
			v = no
		case least >= c.k:
			v = yes
		}
	}
	if c.not {
		return yes - v
	}
	return v
}

func (c comparison) String() string {
	op := c.op
	if c.not {
		op = map[string]string{"=": "!=", ">": "<=", ">=": "<"}[c.op]
	}
	return fmt.Sprintf("%s %d", op, c.k)
}

// A fieldLeaf compares a field, under a mask. What the frames must be, to have the field, is tested by leaves of their own.
type fieldLeaf struct {
	tags int
	*field
	mask uint32
	comparison
}

func (l *fieldLeaf) holds(w way) truth {
	some, all, ok := l.read(w)
	if !ok || w.place(l.tags) != protocolThere {
		return maybe
	}
	some, all = some&l.mask, all&l.mask
	if l.op == "=" && (l.k&^some != 0 || all&^l.k != 0) {
		return is(l.not)
	}
	return l.between(all, some)
}

func (l *fieldLeaf) directed() bool { return true }
func (l *fieldLeaf) keys() []Key    { return nil }

func (l *fieldLeaf) String() string {
	s := fmt.Sprintf("%s[%d:%d]", l.proto, l.off, l.size)
	if l.mask != math.MaxUint32 {
		s += fmt.Sprintf(" & %d", l.mask)
	}
	return s + " " + l.comparison.String()
}

// A lenLeaf compares the length of the packet.
type lenLeaf struct{ comparison }

func (l lenLeaf) holds(w way) truth {
	least, most := uint64(0), uint64(math.MaxUint32)
	if w.src.Has&HasBytes != 0 && w.src.Packets > 0 {
		most = min(most, w.src.Bytes)
		if w.src.Packets == 1 {
			least = most
		}
	}
	return l.between(uint32(least), uint32(most))
}

func (l lenLeaf) directed() bool { return true }
func (l lenLeaf) keys() []Key    { return nil }
func (l lenLeaf) String() string { return "len " + l.comparison.String() }
