package filter

import (
	"fmt"
	"strings"
)

// Decimal returns the program in the format of tcpdump -ddd: the number of instructions, then one
// line of decimal numbers for each.
func (p *Program) Decimal() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d\n", len(p.Instructions))
	for _, i := range p.Instructions {
		fmt.Fprintf(&s, "%d %d %d %d\n", i.Op, i.Jt, i.Jf, i.K)
	}
	return s.String()
}

// C returns the program in the format of tcpdump -dd: elements of an array in C.
func (p *Program) C() string {
	var s strings.Builder
	for _, i := range p.Instructions {
		fmt.Fprintf(&s, "{ 0x%x, %d, %d, 0x%08x },\n", i.Op, i.Jt, i.Jf, i.K)
	}
	return s.String()
}

// String returns the program in the format of tcpdump -d, an assembly language.
func (p *Program) String() string {
	var s strings.Builder
	for n, i := range p.Instructions {
		op, operand := mnemonic(i.Op, i.K, n)
		if i.Op&7 == classJMP && i.Op&0xf0 != opJA {
			operand = fmt.Sprintf("%-16s jt %d\tjf %d", operand, n+1+int(i.Jt), n+1+int(i.Jf))
		}
		fmt.Fprintf(&s, "(%03d) %-8s %s\n", n, op, operand)
	}
	return s.String()
}

// mnemonic returns the name and the operand of an instruction.
func mnemonic(code uint16, k uint32, n int) (op, operand string) {
	imm := fmt.Sprintf("#0x%x", k)
	switch code & 7 {
	case classLD, classLDX:
		return mnemonicLoad(code, k)
	case classST:
		return "st", fmt.Sprintf("M[%d]", k)
	case classSTX:
		return "stx", fmt.Sprintf("M[%d]", k)
	case classRET:
		return "ret", fmt.Sprintf("#%d", k)
	case classMISC:
		if code&0xf8 == miscTXA {
			return "txa", ""
		}
		return "tax", ""
	case classJMP:
		if code&0xf0 == opJA {
			return "ja", fmt.Sprint(n + 1 + int(k))
		}
		op = map[uint16]string{jeq: "jeq", jgt: "jgt", jge: "jge", jset: "jset"}[code&0xf0]
	case classALU:
		if code&0xf0 == opNEG {
			return "neg", ""
		}
		op = map[uint16]string{aluAdd: "add", aluSub: "sub", aluMul: "mul", aluDiv: "div", aluMod: "mod",
			aluAnd: "and", aluOr: "or", aluXor: "xor", aluLsh: "lsh", aluRsh: "rsh"}[code&0xf0]
		if f := uint16(code & 0xf0); f != aluAnd && f != aluOr && f != aluXor {
			imm = fmt.Sprintf("#%d", k)
		}
	}
	if code&srcX != 0 {
		return op, "x"
	}
	return op, imm
}

// mnemonicLoad is mnemonic for loads.
func mnemonicLoad(code uint16, k uint32) (op, operand string) {
	op = "ld"
	if code&7 == classLDX {
		op = "ldx"
	}
	switch code & 0x18 {
	case sizeH:
		op += "h"
	case sizeB:
		op += "b"
	}
	switch code & 0xe0 {
	case modeIMM:
		operand = fmt.Sprintf("#0x%x", k)
	case modeABS:
		operand = fmt.Sprintf("[%d]", int32(k))
	case modeIND:
		operand = fmt.Sprintf("[x + %d]", int32(k))
	case modeMEM:
		operand = fmt.Sprintf("M[%d]", k)
	case modeLEN:
		operand = "#pktlen"
	case modeMSH:
		operand = fmt.Sprintf("4*([%d]&0xf)", k)
	}
	return op, operand
}
