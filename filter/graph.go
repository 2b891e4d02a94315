package filter

import "math"

// A test compares two values.
type test struct {
	op   uint16 // jeq, jgt, jge or jset
	l, r *value
}

// BPF's comparisons: BPF_OP(code) of a jump instruction.
const (
	jeq  = 0x10
	jgt  = 0x20
	jge  = 0x30
	jset = 0x40
)

// maxCells is how many cells BPF has (BPF_MEMWORDS).
const maxCells = 16

// A set stores a value in a cell.
type set struct {
	cell int
	v    *value
}

// A cond is a condition under construction: a tree of tests. The tests are made from left to right,
// and only as far as needed.
type cond struct {
	op      condOp
	test    test
	sets    [4]set // for condTest and condSet: executed before the test; unused ones have no value
	a, b, c *cond
}

type condOp uint8

const (
	condTrue condOp = iota
	condFalse
	condTest
	condSet // true after the sets were executed
	condNot
	condAnd
	condOr
	condIf // if a then b else c
)

func and(cs ...*cond) *cond { return join(condAnd, cs) }
func or(cs ...*cond) *cond  { return join(condOr, cs) }
func not(c *cond) *cond     { return &cond{op: condNot, a: c} }

// join combines the conditions that are not nil.
func join(op condOp, cs []*cond) *cond {
	var all *cond
	for _, c := range cs {
		switch {
		case c == nil:
		case all == nil:
			all = c
		default:
			all = &cond{op: op, a: all, b: c}
		}
	}
	return all
}

// A block is a node of a program's control flow graph: a test with two successors, a block with one
// successor, or an end. The graph has no cycles.
type block struct {
	op     blockOp
	test   test
	sets   [4]set // executed before the test
	jt, jf *block // blockGoto has only jt

	n    int // index in the order of the latest walk
	walk int // number of the latest walk
}

type blockOp uint8

const (
	blockTest blockOp = iota
	blockGoto
	blockAccept
	blockReject
)

// A graph holds the blocks of one program. Equal blocks are the same pointer.
type graph struct {
	values values
	blocks map[block]*block
	walks  int // number of walks so far
	cells  int // number of cells in use

	// tunnels is set for cells that are nonzero exactly if the packet is in a Geneve tunnel. It
	// holds the offset of the word geneve in the text, plus one; it is 0 for other cells.
	tunnels [maxCells]int
}

// maxBlocks limits the blocks of a graph, and thereby the time to optimize it.
const maxBlocks = 8 * MaxInstructions

// one returns the only block that is equal to b.
func (g *graph) one(b block) *block {
	b.n, b.walk = 0, 0
	if g.blocks == nil {
		g.blocks = map[block]*block{}
	}
	p := g.blocks[b]
	if p == nil {
		p = new(b)
		g.blocks[b] = p
	}
	return p
}

func (g *graph) accept() *block { return g.one(block{op: blockAccept}) }
func (g *graph) reject() *block { return g.one(block{op: blockReject}) }

// lower turns the condition into blocks, which continue at yes or no.
func (g *graph) lower(c *cond, yes, no *block) *block {
	if len(g.blocks) > maxBlocks {
		return no // too many blocks: the caller of lower reports it
	}
	switch c.op {
	case condTrue:
		return yes
	case condFalse:
		return no
	case condSet:
		return g.one(block{op: blockGoto, sets: c.sets, jt: yes})
	case condNot:
		return g.lower(c.a, no, yes)
	case condAnd:
		return g.lower(c.a, g.lower(c.b, yes, no), no)
	case condOr:
		return g.lower(c.a, yes, g.lower(c.b, yes, no))
	case condIf:
		return g.lower(c.a, g.lower(c.b, yes, no), g.lower(c.c, yes, no))
	}
	return g.branch(c.test, c.sets, yes, no)
}

// branch returns the block of a test, in its simplest form.
func (g *graph) branch(t test, sets [4]set, yes, no *block) *block {
	if t.l.op == opConst && t.r.op != opConst {
		switch t.op {
		case jgt: // 5 > x is not the same as x >= 5
			t, yes, no = test{jge, t.r, t.l}, no, yes
		case jge:
			t, yes, no = test{jgt, t.r, t.l}, no, yes
		default:
			t.l, t.r = t.r, t.l
		}
	}
	if t.op == jeq && t.l.op == opALU && t.r.op == opConst {
		switch l := t.l; {
		case l.size == aluSub && t.r.k == 0:
			t.l, t.r = l.a, l.b
		case l.size == aluAdd && l.b.op == opConst:
			t.l, t.r = l.a, g.values.constant(t.r.k-l.b.k)
		}
	}
	// Testing bits under a mask needs no instruction besides the jump.
	if l := t.l; l.op == opALU && l.size == aluAnd && l.b.op == opConst && t.r.op == opConst {
		switch single := l.b.k&(l.b.k-1) == 0; {
		case (t.op == jeq || t.op == jgt) && t.r.k == 0:
			if t.op == jeq {
				yes, no = no, yes
			}
			t = test{jset, l.a, l.b}
		case t.op == jeq && single && t.r.k == l.b.k:
			t = test{jset, l.a, l.b}
		}
	}
	if known, is := always(t); known && !t.l.fails && !t.r.fails {
		if is {
			no = yes
		} else {
			yes = no
		}
	}
	b := block{op: blockTest, test: t, sets: sets, jt: yes, jf: no}
	if yes == no && !t.l.fails && !t.r.fails {
		b.op, b.test, b.jf = blockGoto, test{}, nil
		if sets == [4]set{} {
			return yes
		}
	}
	return g.one(b)
}

// always reports whether a test has the same outcome for all packets, and which.
func always(t test) (known, is bool) {
	s := newRange(t.l)
	if t.r.op != opConst {
		return t.l == t.r && t.op != jset, t.op != jgt
	}
	return s.decide(t.op, t.r.k)
}

// A valueRange is what is known about a value: it is between lo and hi, the bits in clear are 0,
// and those in set are 1.
type valueRange struct {
	lo, hi      uint32
	zeros, ones uint32
}

func newRange(v *value) valueRange {
	r := valueRange{hi: v.max, zeros: ^(1<<bits(v.max) - 1)}
	if v.op == opConst {
		r.lo, r.zeros, r.ones = v.k, ^v.k, v.k
	}
	if v.op == opALU && v.size == aluAnd && v.b.op == opConst {
		r.zeros |= ^v.b.k
	}
	return r
}

// bits returns a mask of as many low bits as a number up to most needs.
func bits(most uint32) uint32 {
	n := uint32(0)
	for ; most != 0; most >>= 1 {
		n++
	}
	return n
}

// learn adds what the outcome of a comparison with k implies.
func (r *valueRange) learn(op uint16, k uint32, outcome bool) {
	switch {
	case op == jeq && outcome:
		r.lo, r.hi = k, k
	case op == jeq:
	case op == jgt && outcome && k < math.MaxUint32:
		r.lo = max(r.lo, k+1)
	case op == jgt && !outcome:
		r.hi = min(r.hi, k)
	case op == jge && outcome:
		r.lo = max(r.lo, k)
	case op == jge && k > 0:
		r.hi = min(r.hi, k-1)
	case op == jset && !outcome:
		r.zeros |= k
	case op == jset && k&(k-1) == 0:
		r.ones |= k
	}
}

// decide returns the outcome of a comparison with k, if it is known.
func (r *valueRange) decide(op uint16, k uint32) (known, is bool) {
	switch op {
	case jeq:
		if k < r.lo || k > r.hi || k&r.zeros != 0 || ^k&r.ones != 0 {
			return true, false
		}
		return r.lo == r.hi, true
	case jgt:
		return r.lo > k || r.hi <= k, r.lo > k
	case jge:
		return r.lo >= k || r.hi < k, r.lo >= k
	}
	if r.lo == r.hi {
		return true, r.lo&k != 0
	}
	return r.ones&k != 0 || k&^r.zeros == 0, r.ones&k != 0
}
