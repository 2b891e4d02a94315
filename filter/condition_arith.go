package filter

import (
	"math"
	"net/netip"
)

var multicast6 = netip.MustParsePrefix("ff00::/8")

// relation returns the node of a comparison: what a packet must be to have the bytes, and the comparison itself, if it is one of a
// field that a flow knows with a constant.
func (r *reader) relation(e relExpr) *node {
	var all []*node
	if !r.blind {
		all = r.guards(r.guards(nil, e.left), e.right)
	}
	c := comparison{op: e.op, not: e.not}
	x, ok := e.left, false
	if c.k, ok = fold(e.right); !ok {
		if c.k, ok = fold(e.left); !ok {
			return joined(true, append(all, unknown())...)
		}
		// k > x is not x >= k, and k >= x is not x > k.
		x = e.right
		switch c.op {
		case ">":
			c.op, c.not = ">=", !c.not
		case ">=":
			c.op, c.not = ">", !c.not
		}
	}
	l := r.compared(x, c)
	if len(all) == 0 {
		return leafNode(l)
	}
	n := joined(true, append(all, leafNode(l))...)
	if _, ok := l.(*fieldLeaf); ok {
		n.text = l.String() // which says it all
	}
	return n
}

// compared returns the leaf that compares a number.
func (r *reader) compared(x arith, c comparison) leaf {
	mask := uint32(math.MaxUint32)
	if b, ok := x.(binArith); ok && b.op == "&" {
		if k, ok := fold(b.right); ok {
			x, mask = b.left, k
		} else if k, ok := fold(b.left); ok {
			x, mask = b.right, k
		}
	}
	switch x := x.(type) {
	case lenArith:
		if mask == math.MaxUint32 {
			return lenLeaf{c}
		}
	case loadArith:
		off, ok := fold(x.index)
		for i := range fields {
			if f := &fields[i]; ok && !r.blind && f.proto == x.proto && f.off == off && f.size == x.size {
				return &fieldLeaf{r.tags, f, mask, c}
			}
		}
	}
	return unknownLeaf{}
}

// guards appends what a packet must be to have the bytes that an arithmetic expression takes from it.
func (r *reader) guards(all []*node, e arith) []*node {
	switch e := e.(type) {
	case negArith:
		return r.guards(all, e.x)
	case binArith:
		return r.guards(r.guards(all, e.left), e.right)
	case loadArith:
		all = r.guards(all, e.index)
		switch p := e.proto; p {
		case protoIP, protoARP, protoRARP, protoATalk, protoDECnet, protoSCA, protoLAT, protoMOPRC, protoMOPDL, protoIPv6, protoICMPv6:
			return append(all, r.proto(p))
		case protoSCTP, protoTCP, protoUDP, protoICMP, protoIGMP, protoIGRP, protoPIM, protoVRRP, protoCARP:
			return append(all, leafNode(&protoLeaf{tags: r.tags, in: protoIP, n: ipNumber(p)}), leafNode(firstLeaf{r.tags}))
		}
	}
	return all
}

// fold returns the number that an arithmetic expression without bytes of a packet stands for.
func fold(e arith) (n uint32, ok bool) {
	switch e := e.(type) {
	case numArith:
		return e.num, true
	case negArith:
		n, ok = fold(e.x)
		return -n, ok
	case binArith:
		l, okL := fold(e.left)
		r, okR := fold(e.right)
		op := operators[e.op]
		if !okL || !okR || divides(op) && r == 0 || (op == aluLsh || op == aluRsh) && r > 31 {
			return 0, false
		}
		return compute(op, l, r), true
	}
	return 0, false
}
