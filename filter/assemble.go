package filter

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// Opcodes of BPF: instruction classes, and the further fields of a code.
const (
	classLD, classLDX, classST, classSTX    = 0x00, 0x01, 0x02, 0x03
	classALU, classJMP, classRET, classMISC = 0x04, 0x05, 0x06, 0x07

	modeIMM, modeABS, modeIND, modeMEM, modeLEN, modeMSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xa0

	sizeW, sizeH, sizeB = 0x00, 0x08, 0x10

	srcX = 0x08

	opJA  = 0x00
	opNEG = 0x80

	miscTAX, miscTXA = 0x00, 0x80
)

// auxOffset is where the offsets of a packet's metadata start (SKF_AD_OFF in linux/filter.h).
const auxOffset = 0xfffff000

// regs is the value that each register holds, or nil.
type regs struct{ a, x *value }

// A coder generates the instructions of one block.
type coder struct {
	machine Machine
	code    []bpf.RawInstruction
	regs    regs
	cells   int // cells with this index and above are free
	failed  bool
}

func (c *coder) emit(op uint16, k uint32) {
	c.code = append(c.code, bpf.RawInstruction{Op: op, K: k})
}

// assemble generates the program for the target.
func (g *graph) assemble(root *block, t Target) ([]bpf.RawInstruction, error) {
	blocks := g.order(root)
	in := make([]*regs, len(blocks))
	code := make([][]bpf.RawInstruction, len(blocks))
	in[0] = &regs{}
	first := g.zeroCells(blocks)
	for i, b := range blocks {
		c := coder{machine: t.Machine, regs: *in[i], cells: g.cells}
		c.block(b)
		if c.failed {
			return nil, &SyntaxError{Msg: "an arithmetic expression is nested too deeply for BPF's scratch memory"}
		}
		code[i] = c.code
		for _, to := range []*block{b.jt, b.jf} {
			if to == nil {
				continue
			}
			if in[to.n] == nil {
				in[to.n] = new(c.regs)
				continue
			}
			in[to.n].meet(c.regs)
		}
	}
	l := layout{snaplen: t.Snaplen, at: make([]int, len(blocks))}
	for i := len(blocks) - 1; i >= 0; i-- {
		l.prepend(blocks[i], code[i])
	}
	for i := len(first) - 1; i >= 0; i-- {
		l.push(first[i])
	}
	if most := t.Machine.most(); len(l.code) > most {
		return nil, &SyntaxError{Msg: fmt.Sprintf("the program has %d instructions; the kernel takes %d", len(l.code), most)}
	}
	return l.program(), nil
}

// meet keeps only what the registers hold on both ways to an instruction.
func (r *regs) meet(o regs) {
	if r.a != o.a {
		r.a = nil
	}
	if r.x != o.x {
		r.x = nil
	}
}

// zeroCells returns the instructions that clear the cells which may be read before they are set:
// the kernel refuses programs that read a cell before it is set.
func (g *graph) zeroCells(blocks []*block) []bpf.RawInstruction {
	var code []bpf.RawInstruction
	for i, early := range readEarly(blocks) {
		if early {
			code = append(code, bpf.RawInstruction{Op: classST, K: uint32(i)})
		}
	}
	if code != nil {
		code = append([]bpf.RawInstruction{{Op: classLD | modeIMM}}, code...)
	}
	return code
}

// block generates the block's instructions, except for its jump.
func (c *coder) block(b *block) {
	for _, s := range b.sets {
		if s.v != nil {
			c.loadA(s.v)
			c.emit(classST, uint32(s.cell))
		}
	}
	switch {
	case b.op != blockTest:
	case b.test.r.op == opConst:
		c.loadA(b.test.l)
	default:
		c.loadBoth(b.test.l, b.test.r, b.test.op == jeq || b.test.op == jset)
	}
}

// loadA generates code that loads the value into A.
func (c *coder) loadA(v *value) {
	if c.regs.a == v {
		return
	}
	if c.regs.x == v {
		c.emit(classMISC|miscTXA, 0)
		c.regs.a = v
		return
	}
	switch v.op {
	case opConst:
		c.emit(classLD|modeIMM, v.k)
	case opLen:
		c.emit(classLD|modeLEN, 0)
	case opAux:
		c.emit(classLD|modeABS|sizeCode(v.size), auxOffset+v.k)
	case opCell:
		c.emit(classLD|modeMEM, v.k)
	case opMSH:
		c.loadX(v)
		c.emit(classMISC|miscTXA, 0)
	case opLoad:
		c.load(v)
	case opNeg:
		c.loadA(v.a)
		c.emit(classALU|opNEG, 0)
	case opALU:
		c.operate(v)
	}
	c.regs.a = v
}

// load generates the load of bytes of the packet into A.
func (c *coder) load(v *value) {
	switch {
	case c.machine.beyond(v.k): // fails for every packet
		c.emit(classLD|modeABS|sizeCode(v.size), c.machine.offsets-1)
	case v.a == nil:
		c.emit(classLD|modeABS|sizeCode(v.size), v.k)
	default:
		c.loadX(v.a)
		c.emit(classLD|modeIND|sizeCode(v.size), v.k)
	}
}

// operate generates code that applies the value's operator, with the result in A.
func (c *coder) operate(v *value) {
	op, src, k := v.size, uint16(srcX), uint32(0)
	if v.b.op == opConst {
		c.loadA(v.a)
		src, k = 0, v.b.k
		if op == aluAdd && int32(k) < 0 {
			op, k = aluSub, -k
		}
	} else {
		c.loadBoth(v.a, v.b, commutes(op))
	}
	if c.machine.lacks(op) {
		c.replace(op, src, k)
		return
	}
	c.emit(classALU|uint16(op)|src, k)
}

// loadX generates code that loads the value into X. It may use A.
func (c *coder) loadX(v *value) {
	if c.regs.x == v {
		return
	}
	if !c.loadXAlone(v) {
		c.loadA(v)
		c.emit(classMISC|miscTAX, 0)
	}
	c.regs.x = v
}

// loadXAlone generates code that loads the value into X without using A. It reports whether that is
// possible.
func (c *coder) loadXAlone(v *value) bool {
	switch {
	case c.regs.x == v:
		return true
	case c.regs.a == v:
		c.emit(classMISC|miscTAX, 0)
	case v.op == opConst:
		c.emit(classLDX|modeIMM, v.k)
	case v.op == opLen:
		c.emit(classLDX|modeLEN, 0)
	case v.op == opCell:
		c.emit(classLDX|modeMEM, v.k)
	case v.op == opMSH:
		c.emit(classLDX|modeMSH|sizeB, v.k)
	default:
		return false
	}
	c.regs.x = v
	return true
}

// alone reports whether loadXAlone could load v into X after other was loaded into A.
func (c *coder) alone(v, other *value) bool {
	if v == c.regs.x && (!other.x || other == c.regs.a) {
		return true
	}
	return v.op == opConst || v.op == opLen || v.op == opCell || v.op == opMSH
}

// loadBoth loads l into A and r into X, or the other way round if the operator commutes.
func (c *coder) loadBoth(l, r *value, commutes bool) {
	switch {
	case c.alone(r, l):
		c.loadA(l)
		c.loadXAlone(r)
	case commutes && c.alone(l, r):
		c.loadA(r)
		c.loadXAlone(l)
	case !l.x:
		c.loadX(r)
		c.loadA(l)
	case commutes && !r.x:
		c.loadX(l)
		c.loadA(r)
	default:
		c.loadSpilled(l, r)
	}
}

// loadSpilled loads l into A and r into X by way of a cell.
func (c *coder) loadSpilled(l, r *value) {
	if c.cells >= maxCells {
		c.failed = true
		return
	}
	spill := uint32(c.cells)
	c.loadA(r)
	c.emit(classST, spill)
	c.cells++
	c.loadA(l)
	c.cells--
	c.emit(classLDX|modeMEM, spill)
	c.regs.x = r
}

func sizeCode(size uint32) uint16 {
	switch size {
	case 1:
		return sizeB
	case 2:
		return sizeH
	}
	return sizeW
}

// A layout puts the blocks one after the other. It starts with the last one: jumps only go forward,
// so all distances are known then. A conditional jump reaches 255 instructions. Blocks that are
// further away are reached by way of an unconditional jump nearby, or a copy of the return.
type layout struct {
	snaplen uint32
	code    []bpf.RawInstruction // in reverse
	at      []int                // instructions from the start of a block to the end of the program
	near    map[*block]int       // the nearest instruction that leads to the block, in the same unit
}

const maxJump = 255

func (l *layout) push(i bpf.RawInstruction) { l.code = append(l.code, i) }

// prepend puts a block in front of those that are already laid out.
func (l *layout) prepend(b *block, code []bpf.RawInstruction) {
	switch b.op {
	case blockAccept, blockReject:
		l.push(l.ret(b))
	case blockGoto:
		if l.at[b.jt.n] != len(l.code) {
			l.push(bpf.RawInstruction{Op: classJMP | opJA, K: uint32(len(l.code) - l.at[b.jt.n])})
		}
	case blockTest:
		l.jump(b)
	}
	for i := len(code) - 1; i >= 0; i-- {
		l.push(code[i])
	}
	l.at[b.n] = len(l.code)
	l.note(b)
}

func (l *layout) ret(b *block) bpf.RawInstruction {
	i := bpf.RawInstruction{Op: classRET}
	if b.op == blockAccept {
		i.K = l.snaplen
	}
	return i
}

func (l *layout) note(b *block) {
	if l.near == nil {
		l.near = map[*block]int{}
	}
	l.near[b] = len(l.code)
}

// jump puts the block's conditional jump in front, after the long jumps that it needs.
func (l *layout) jump(b *block) {
	// reach(jt) may add an instruction between the target of jf and the jump.
	l.reach(b.jf, maxJump-1)
	l.reach(b.jt, maxJump)
	i := bpf.RawInstruction{
		Op: classJMP | b.test.op,
		Jt: uint8(len(l.code) - l.near[b.jt]),
		Jf: uint8(len(l.code) - l.near[b.jf]),
	}
	if b.test.r.op == opConst {
		i.K = b.test.r.k
	} else {
		i.Op |= srcX
	}
	l.push(i)
}

// reach makes sure that an instruction that leads to the block is within the distance.
func (l *layout) reach(b *block, distance int) {
	if len(l.code)-l.near[b] <= distance {
		return
	}
	if b.op == blockAccept || b.op == blockReject {
		l.push(l.ret(b))
	} else {
		l.push(bpf.RawInstruction{Op: classJMP | opJA, K: uint32(len(l.code) - l.at[b.n])})
	}
	l.note(b)
}

// program returns the instructions in execution order.
func (l *layout) program() []bpf.RawInstruction {
	p := make([]bpf.RawInstruction, len(l.code))
	for i, ins := range l.code {
		p[len(p)-1-i] = ins
	}
	return p
}
