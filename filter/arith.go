package filter

import "math"

// A number is a value, and the condition under which a packet has that value.
type number struct {
	v     *value
	guard *cond // nil: always
}

// operators are BPF's operators.
var operators = map[string]uint32{
	"+": aluAdd, "-": aluSub, "*": aluMul, "/": aluDiv, "%": aluMod,
	"&": aluAnd, "|": aluOr, "^": aluXor, "<<": aluLsh, ">>": aluRsh,
}

// relation returns the condition that a comparison holds.
func (g *generator) relation(e relExpr) *cond {
	l, r := g.arith(e.left), g.arith(e.right)
	if g.err != nil {
		return &cond{op: condFalse}
	}
	op := map[string]uint16{"=": jeq, ">": jgt, ">=": jge}[e.op]
	c := &cond{op: condTest, test: test{op, l.v, r.v}}
	if e.not {
		c = not(c)
	}
	return and(l.guard, r.guard, c)
}

// arith returns the number that an arithmetic node stands for.
func (g *generator) arith(e arith) number {
	if g.err != nil {
		return number{v: g.constant(0)}
	}
	switch e := e.(type) {
	case numArith:
		return number{v: g.constant(e.num)}
	case lenArith:
		// A live socket's length does not include the cooked header, which a file has.
		if g.cooked() {
			return number{v: g.alu(aluAdd, g.length(), g.constant(g.cookedLen()))}
		}
		return number{v: g.length()}
	case negArith:
		n := g.arith(e.x)
		n.v = g.neg(n.v)
		return n
	case binArith:
		return g.binary(e)
	}
	return g.access(e.(loadArith))
}

// binary returns the result of an operator applied to two numbers.
func (g *generator) binary(e binArith) number {
	l, r := g.arith(e.left), g.arith(e.right)
	g.at = e.offset()
	op := operators[e.op]
	if k := r.v; k.op == opConst {
		switch {
		case (op == aluDiv || op == aluMod) && k.k == 0:
			g.fail("", "division by zero")
			return l
		case (op == aluLsh || op == aluRsh) && k.k > 31:
			g.fail("", "a shift by %d bits: a number has 32", k.k)
			return l
		}
	} else if op == aluLsh || op == aluRsh {
		return g.shift(op, l, r)
	}
	guard := and(l.guard, r.guard)
	if g.quirks {
		guard = l.guard
	}
	return number{g.alu(op, l.v, r.v), guard}
}

// shift shifts l by a number that is known only when the program runs. The kernel takes the shift
// count modulo 32, and libpcap does not: the result is made zero for counts of 32 and more.
func (g *generator) shift(op uint32, l, r number) number {
	n := number{g.alu(op, l.v, r.v), and(l.guard, r.guard)}
	if g.quirks {
		n.guard = l.guard
	}
	if r.v.max > 31 {
		// (r>>5)-1 has its top bit set only if r < 32.
		over := g.alu(aluAdd, g.alu(aluRsh, r.v, g.constant(5)), g.constant(0xffffffff))
		n.v = g.alu(aluMul, n.v, g.alu(aluRsh, over, g.constant(31)))
	}
	return n
}

// access returns the bytes of a packet that an expression such as ip[0] names.
func (g *generator) access(e loadArith) number {
	i := g.arith(e.index)
	g.at = e.offset()
	if g.opaque {
		g.failOpaque()
		return i
	}
	if i.v.op == opConst && i.v.k > 1<<24 {
		g.fail("an offset counts from the start of the header", "no packet has a byte at offset %d", i.v.k)
		return i
	}
	switch p := e.proto; p {
	case protoLink:
		i.v = g.element(g.linkHdr, 0, i.v, e.size)
	case protoIP, protoARP, protoRARP, protoATalk, protoDECnet, protoSCA, protoLAT, protoMOPRC, protoMOPDL, protoIPv6:
		i = number{g.element(g.payload, g.netOff, i.v, e.size), and(i.guard, g.proto(p))}
	case protoSCTP, protoTCP, protoUDP, protoICMP, protoIGMP, protoIGRP, protoPIM, protoVRRP, protoCARP:
		at := g.alu(aluAdd, i.v, g.ipHeaderLen())
		if i.v.op == opConst {
			at = g.alu(aluAdd, g.ipHeaderLen(), i.v)
		}
		guard := and(g.proto(protoIP), i.guard, g.proto(p), g.firstFragment())
		i = number{g.indexed(g.inside(i.v, at), g.payload, g.netOff, e.size), guard}
	case protoICMPv6:
		guard := and(i.guard, g.proto(protoIPv6), g.equal(g.net(6, 1), ipICMPv6))
		i = number{g.element(g.payload, g.netOff+40, i.v, e.size), guard}
	default:
		g.fail("ether, ip, ip6, arp, rarp, tcp, udp, sctp, icmp, icmp6, igmp, pim, vrrp or carp", "%s has no header whose bytes can be indexed", p)
	}
	return i
}

// element returns the bytes at o+off+index.
func (g *generator) element(o offset, off uint32, index *value, size uint32) *value {
	if index.op == opConst {
		return g.bytes(o, off+index.k, size)
	}
	at := index
	if o.cell != none {
		at = g.alu(aluAdd, index, g.cell(o.cell))
	}
	if o.cell == none && g.cooked() && o.k+off < g.cookedLen() {
		g.fail("give the offset as a number", "a live socket does not see the cooked header")
		return index
	}
	return g.indexed(g.inside(index, at), o, off, size)
}

// inside returns at, the offset that index is part of, in a form that the kernel never takes for a
// special offset. Linux gives offsets near 0xfff00000 (SKF_NET_OFF) meanings of their own. An
// offset with its top bit set lies in no packet, so it is replaced by another one that lies in no
// packet.
func (g *generator) inside(index, at *value) *value {
	if g.target.mixed && g.cooked() && index.op != opConst && index.max > maxNetwork {
		g.fail("choose a cooked link type for all interfaces", "an offset that may be larger than %d is not possible for frames of all interfaces", maxNetwork)
		return at
	}
	if !g.target.Live || index.op == opConst || index.max <= math.MaxInt32 {
		return at
	}
	return g.alu(aluSub, at, g.alu(aluLsh, g.alu(aluRsh, at, g.constant(31)), g.constant(24)))
}
