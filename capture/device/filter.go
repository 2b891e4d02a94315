package device

import "slices"

// An Instruction is one of classic BPF, as struct sock_filter of
// linux/filter.h and struct bpf_insn of bpf(4).
type Instruction struct {
	Code   uint16
	Jt, Jf uint8
	K      uint32
}

// OpReturn is the code of the instruction that ends a program: ret #k.
const OpReturn = 0x06

// Nothing is a filter that takes no frame.
func Nothing() []Instruction { return []Instruction{{Code: OpReturn}} }

// Cut returns the program, or one that accepts all if there is none, with
// every accepted frame cut at snaplen.
func Cut(snaplen int, user []Instruction) []Instruction {
	if len(user) == 0 {
		return []Instruction{{Code: OpReturn, K: uint32(snaplen)}}
	}
	p := slices.Clone(user)
	for i := range p {
		if p[i].Code == OpReturn {
			p[i].K = min(p[i].K, uint32(snaplen))
		}
	}
	return p
}
