package filter

// A Machine is the BPF of one system's kernel: the programs that it takes. The zero value is that of
// Linux, and of Program.Match.
type Machine struct {
	instructions int    // of the longest program; 0: MaxInstructions
	offsets      uint32 // loads must have a smaller offset; 0: all are allowed
	fewOperators bool   // there is no instruction for % and ^
}

// MachineOf returns the machine of the system that GOOS names.
func MachineOf(system string) Machine {
	const (
		instructions = 512       // BPF_MAXINSNS of net/bpf.h
		offsets      = 512 << 10 // bpf_maxbufsize of macOS; that of OpenBSD is larger
	)
	switch system {
	case "darwin", "openbsd":
		return Machine{instructions: instructions, offsets: offsets, fewOperators: true}
	case "freebsd", "netbsd":
		return Machine{instructions: instructions}
	}
	return Machine{}
}

// most returns the number of instructions of the longest program.
func (m Machine) most() int {
	if m.instructions == 0 {
		return MaxInstructions
	}
	return m.instructions
}

// lacks reports whether the machine has no instruction for the operator.
func (m Machine) lacks(op uint32) bool { return m.fewOperators && (op == aluMod || op == aluXor) }

// beyond reports whether no load may have the offset. It lies in no packet: the largest have 64 KiB.
func (m Machine) beyond(off uint32) bool { return m.offsets > 0 && off >= m.offsets }

// replace generates code for an operator that the machine lacks. A holds the left operand; the right
// one is k, or X if src is srcX. A division by zero ends the program, as it does in %.
func (c *coder) replace(op uint32, src uint16, k uint32) {
	if c.cells+2 > maxCells {
		c.failed = true
		return
	}
	left, other := uint32(c.cells), uint32(c.cells+1)
	c.emit(classST, left)
	if op == aluMod { // a % b = a - a/b*b
		c.emit(classALU|aluDiv|src, k)
		c.emit(classALU|aluMul|src, k)
		c.emit(classMISC|miscTAX, 0)
		c.emit(classLD|modeMEM, left)
	} else { // a ^ b = (a | b) - (a & b)
		c.emit(classALU|aluAnd|src, k)
		c.emit(classST, other)
		c.emit(classLD|modeMEM, left)
		c.emit(classALU|aluOr|src, k)
		c.emit(classLDX|modeMEM, other)
	}
	c.emit(classALU|aluSub|srcX, 0)
	c.regs.x = nil
}
