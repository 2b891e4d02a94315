package filter

import (
	"encoding/binary"
	"math"

	"golang.org/x/net/bpf"
)

// A step is an instruction in the form in which Match executes it, together with those behind it that can be done at the
// same time: a load, an AND with a constant, and a jump. Most programs need nothing else; the machine does the rest.
type step struct {
	yes, no *step // that follow
	do      action
	shift   uint8  // of the four bytes at k, to have those that are loaded
	pc      uint16 // the instruction
	k       uint32
	keep    uint32 // bits of A that stay
	test    uint32 // yes follows if these bits of A are those of v
	v       uint32
}

// An action is what a step does.
type action uint8

const (
	actLoad  action = iota // as ABS, then as actTest
	actLoadX               // as IND, then as actTest
	actTest                // as AND, jeq and jset
	actReturn
	actHeader  // as MSH
	actGreater // as jgt
	actLength
	actOther // go on with the machine
)

// decode returns the first step of a program.
func decode(code []bpf.RawInstruction) *step {
	steps := make([]step, len(code)+1)
	steps[len(code)].do = actReturn // without a return a program rejects the packet
	for pc := len(code) - 1; pc >= 0; pc-- {
		steps[pc].decode(code[pc], steps[pc+1:])
		steps[pc].pc = uint16(pc)
	}
	return &steps[0]
}

// decode makes the step of an instruction, given those that follow.
func (s *step) decode(i bpf.RawInstruction, next []step) {
	to := func(skip uint8) *step { return &next[min(int(skip), len(next)-1)] }
	joins := false
	*s = step{do: actOther, k: i.K, keep: math.MaxUint32, yes: &next[0], no: &next[0]}
	switch i.Op {
	case classRET:
		s.do = actReturn
	case classLD | modeLEN:
		s.do = actLength
	case classLDX | modeMSH | sizeB:
		s.do = actHeader
	case classLD | modeABS | sizeB, classLD | modeABS | sizeH, classLD | modeABS | sizeW:
		s.do, s.shift, joins = actLoad, shiftOf(i.Op), true
	case classLD | modeIND | sizeB, classLD | modeIND | sizeH, classLD | modeIND | sizeW:
		s.do, s.shift, joins = actLoadX, shiftOf(i.Op), true
	case classALU | uint16(aluAnd):
		s.do, s.keep, joins = actTest, i.K, true
	case classJMP | opJA:
		s.do, s.yes = actTest, &next[min(uint64(i.K), uint64(len(next)-1))]
	case classJMP | jeq:
		s.do, s.test, s.v, s.yes, s.no = actTest, math.MaxUint32, i.K, to(i.Jt), to(i.Jf)
	case classJMP | jset:
		s.do, s.test, s.yes, s.no = actTest, i.K, to(i.Jf), to(i.Jt)
	case classJMP | jgt:
		s.do, s.yes, s.no = actGreater, to(i.Jt), to(i.Jf)
	case classJMP | jge:
		s.do, s.k, s.yes, s.no = actGreater, i.K-1, to(i.Jt), to(i.Jf)
		if i.K == 0 {
			s.do, s.no = actTest, s.yes
		}
	}
	if n := next[0]; joins && n.do == actTest {
		s.keep, s.test, s.v, s.yes, s.no = s.keep&n.keep, n.test, n.v, n.yes, n.no
	}
}

// shiftOf returns what moves the bytes that an instruction loads to the end of the four that begin with them.
func shiftOf(op uint16) uint8 {
	switch op & (sizeB | sizeH) {
	case sizeB:
		return 24
	case sizeH:
		return 16
	}
	return 0
}

// Match runs the program on a packet and returns how many of its bytes to keep, 0 for a rejected
// packet. wirelen is the length on the wire, at least len(packet). Match is meant for files, and
// for packets that the kernel does not filter. It does not allocate. A program for a live socket
// needs meta; others ignore it.
func (p *Program) Match(packet []byte, wirelen int, meta *Meta) int {
	a, x, pc := uint32(0), uint32(0), 0
	for s := p.first; s != nil; {
		switch {
		case s.do <= actLoadX:
			at := uint64(s.k)
			if s.do == actLoadX {
				at += uint64(x)
			}
			if at+4 > uint64(len(packet)) {
				pc, s = int(s.pc), nil
				continue
			}
			a = binary.BigEndian.Uint32(packet[at:at+4:at+4]) >> (s.shift & 31)
		case s.do == actTest:
		case s.do == actReturn:
			return int(s.k)
		case s.do == actHeader && uint64(s.k) < uint64(len(packet)):
			x = uint32(packet[s.k]) & 0xf << 2
			s = s.yes
			continue
		case s.do == actGreater:
			if a > s.k {
				s = s.yes
			} else {
				s = s.no
			}
			continue
		case s.do == actLength:
			a, s = uint32(wirelen), s.yes
			continue
		default:
			pc, s = int(s.pc), nil
			continue
		}
		a &= s.keep
		if a&s.test == s.v {
			s = s.yes
		} else {
			s = s.no
		}
	}
	var m machine
	m.packet, m.wirelen, m.meta, m.a, m.x = packet, uint32(wirelen), meta, a, x
	return int(m.run(p.Instructions, pc))
}
