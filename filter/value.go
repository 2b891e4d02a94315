package filter

import "math"

// A value is a number that a program can compute. Values that are computed the same way are the
// same pointer.
type value struct {
	op   valueOp
	size uint32 // opLoad: number of bytes; opALU: the operator's bits of the instruction
	k    uint32 // opConst: the number; opLoad, opMSH: the offset; opAux, opCell: the index
	a, b *value // opALU: the operands; opLoad: a is added to the offset, or nil

	max   uint32 // upper bound of the result
	cells bool   // depends on a cell
	x     bool   // computing it in A uses X
	fails bool   // computing it can end the program: by a missing byte or a division by zero
	need  int    // length in bytes that its loads from fixed offsets need
}

type valueOp uint8

const (
	opConst valueOp = iota
	opLen           // length of the packet on the wire
	opAux           // metadata of the packet on a live Linux socket, at SKF_AD_OFF+k
	opLoad          // bytes of the packet
	opMSH           // four times the low four bits of a byte: the length of an IPv4 header
	opCell          // scratch memory
	opALU
	opNeg
)

// neverOffset is an offset at which no packet has a byte. The kernel still treats it as an offset
// in the packet, not as one with a special meaning.
const neverOffset = math.MaxInt32 - 8

// BPF's operators: BPF_OP(code) of an ALU instruction.
const (
	aluAdd = 0x00
	aluSub = 0x10
	aluMul = 0x20
	aluDiv = 0x30
	aluOr  = 0x40
	aluAnd = 0x50
	aluLsh = 0x60
	aluRsh = 0x70
	aluMod = 0x90
	aluXor = 0xa0
)

// values holds all values. Equal values are the same pointer.
type values map[value]*value

// one returns the only value that is equal to v.
func (vs values) one(v value) *value {
	p := vs[v]
	if p == nil {
		p = &v
		vs[v] = p
	}
	return p
}

func (vs values) constant(k uint32) *value {
	return vs.one(value{op: opConst, k: k, max: k})
}

func (vs values) length() *value {
	return vs.one(value{op: opLen, max: math.MaxUint32})
}

func (vs values) aux(k, size, most uint32) *value {
	return vs.one(value{op: opAux, k: k, size: size, max: most})
}

func (vs values) cell(i int) *value {
	return vs.one(value{op: opCell, k: uint32(i), max: math.MaxUint32, cells: true})
}

func (vs values) msh(off uint32) *value {
	return vs.one(value{op: opMSH, k: off, max: 60, x: true, fails: true, need: int(off) + 1})
}

// load returns the bytes at base+off, or at off if base is nil. An offset outside every packet
// results in a load that always fails.
func (vs values) load(base *value, off, size uint32) *value {
	for base != nil {
		if base.op == opConst {
			if off = off + base.k; off < base.k {
				off = neverOffset
			}
			base = nil
			break
		}
		// base+c+off is the same in any order only if no partial sum wraps around.
		if base.op != opALU || base.size != aluAdd || base.b.op != opConst ||
			uint64(base.a.max)+uint64(base.b.k)+uint64(off) >= neverOffset {
			break
		}
		base, off = base.a, off+base.b.k
	}
	v := value{op: opLoad, a: base, k: min(off, neverOffset), size: size, max: math.MaxUint32, fails: true}
	if size < 4 {
		v.max = 1<<(8*size) - 1
	}
	if base != nil {
		v.cells, v.x, v.need = base.cells, true, base.need
	} else {
		v.need = int(v.k + size)
	}
	return vs.one(v)
}

func (vs values) neg(a *value) *value {
	if a.op == opConst {
		return vs.constant(-a.k)
	}
	return vs.one(value{op: opNeg, a: a, max: math.MaxUint32, cells: a.cells, x: a.x, fails: a.fails, need: a.need})
}

// alu returns the operator applied to a and b. Callers must have rejected a constant b that is a
// zero divisor or a shift count over 31.
func (vs values) alu(op uint32, a, b *value) *value {
	if a.op == opConst && b.op == opConst {
		return vs.constant(compute(op, a.k, b.k))
	}
	if a.op == opConst && commutes(op) {
		a, b = b, a
	}
	if b.op == opConst {
		switch {
		case b.k == 0 && op != aluMul && op != aluAnd,
			b.k == 1 && (op == aluMul || op == aluDiv),
			op == aluAnd && b.k&a.max == a.max && a.max&(a.max+1) == 0:
			return a
		case op == aluSub:
			return vs.alu(aluAdd, a, vs.constant(-b.k))
		case op == aluAdd && a.op == opALU && a.size == aluAdd && a.b.op == opConst:
			return vs.alu(aluAdd, a.a, vs.constant(a.b.k+b.k))
		}
	}
	v := value{op: opALU, size: op, a: a, b: b, max: bound(op, a, b)}
	v.cells = a.cells || b.cells
	v.x = a.x || b.x || b.op != opConst || op == aluMod || op == aluXor // see coder.replace
	v.fails = a.fails || b.fails || divides(op) && b.op != opConst
	v.need = max(a.need, b.need)
	return vs.one(v)
}

func divides(op uint32) bool { return op == aluDiv || op == aluMod }

func commutes(op uint32) bool {
	return op == aluAdd || op == aluMul || op == aluAnd || op == aluOr || op == aluXor
}

// compute applies the operator as BPF does.
func compute(op, a, b uint32) uint32 {
	switch op {
	case aluAdd:
		return a + b
	case aluSub:
		return a - b
	case aluMul:
		return a * b
	case aluDiv:
		return a / b
	case aluMod:
		return a % b
	case aluAnd:
		return a & b
	case aluOr:
		return a | b
	case aluXor:
		return a ^ b
	case aluLsh:
		return a << b
	}
	return a >> b
}

// bound returns an upper bound for the operator's result.
func bound(op uint32, a, b *value) uint32 {
	most := uint64(math.MaxUint32)
	switch op {
	case aluAdd:
		most = uint64(a.max) + uint64(b.max)
	case aluMul:
		most = uint64(a.max) * uint64(b.max)
	case aluAnd:
		most = uint64(min(a.max, b.max))
	case aluDiv, aluMod:
		most = uint64(a.max)
	case aluRsh:
		most = uint64(a.max)
		if b.op == opConst {
			most >>= b.k
		}
	case aluLsh:
		if b.op == opConst {
			most = uint64(a.max) << b.k
		}
	}
	return uint32(min(most, math.MaxUint32))
}
