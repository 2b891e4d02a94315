package device

import "slices"

// An Instruction is a classic BPF instruction: struct sock_filter of linux/filter.h, struct
// bpf_insn of bpf(4).
type Instruction struct {
	Code   uint16
	Jt, Jf uint8
	K      uint32
}

// OpReturn is the code of the instruction that ends a program: ret #k.
const OpReturn = 0x06

// Nothing returns a filter that accepts no frame.
func Nothing() []Instruction { return []Instruction{{Code: OpReturn}} }

// Cut returns the program, or one that accepts everything if user is empty, modified so that
// accepted frames are truncated to snaplen.
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
