package filter

import (
	"encoding/binary"
	"math"

	"golang.org/x/net/bpf"
)

// Meta is the metadata that a live Linux socket has for a packet.
type Meta struct {
	Protocol   uint16 // Ethernet type
	PacketType uint8  // PACKET_HOST and so on; 4 is PACKET_OUTGOING
	Hatype     uint16 // ARPHRD_ type of the interface
	Ifindex    uint32
	Network    int    // offset of the network header, where the packet begins with one of the link layer
	VLAN       bool   // the packet has a tag that was removed from its bytes
	VLANTag    uint16 // the tag's priority, DEI and VLAN number
}

// Match runs the program on a packet and returns how many of its bytes to keep, 0 for a rejected
// packet. wirelen is the length on the wire, at least len(packet). Match is meant for files, and
// for packets that the kernel does not filter. It does not allocate for a program of Compile. A program for a live
// socket needs meta; others ignore it.
func (p *Program) Match(packet []byte, wirelen int, meta *Meta) int {
	steps := p.steps
	if steps == nil {
		steps = decode(p.Instructions)
	}
	return int(run(steps, packet, uint32(wirelen), meta))
}

// A step is an instruction as a machine runs it, together with those behind it that can be done at the same time: a
// load, an AND with a constant, and a jump.
type step struct {
	do     action
	shift  uint8  // of the four bytes at k, to have those that are loaded
	jt, jf uint16 // the steps that follow
	k      uint32
	keep   uint32 // bits of A that stay
	test   uint32 // jt follows if these bits of A are those of v
	v      uint32
	raw    bpf.RawInstruction
}

// An action is what a step does.
type action uint8

const (
	actLoad    action = iota // ABS, then as actTest
	actLoadX                 // IND, then as actTest
	actTest                  // AND, jeq or jset
	actGreater               // jgt, jge
	actHeader                // MSH
	actReturn
	actOther // what machine.step does
)

// decode returns a step for each instruction, at the same place, and a last one that rejects the packet.
func decode(code []bpf.RawInstruction) []step {
	steps := make([]step, len(code)+1)
	steps[len(code)].do = actReturn
	for pc := len(code) - 1; pc >= 0; pc-- {
		steps[pc] = decodeOne(code[pc], pc, steps[pc+1])
	}
	return steps
}

// decodeOne returns the step of an instruction, given the next.
func decodeOne(i bpf.RawInstruction, pc int, next step) step {
	s := step{do: actOther, raw: i, k: i.K, keep: math.MaxUint32, jt: uint16(pc + 1), jf: uint16(pc + 1)}
	jump := func(yes, no uint8) { s.jt, s.jf = uint16(pc+1)+uint16(yes), uint16(pc+1)+uint16(no) }
	switch i.Op {
	case classRET:
		s.do = actReturn
	case classLDX | modeMSH | sizeB:
		s.do = actHeader
	case classLD | modeABS | sizeB, classLD | modeABS | sizeH, classLD | modeABS | sizeW:
		s.do = actLoad
	case classLD | modeIND | sizeB, classLD | modeIND | sizeH, classLD | modeIND | sizeW:
		s.do = actLoadX
	case classALU | uint16(aluAnd):
		s.do, s.keep = actTest, i.K
	case classJMP | jeq:
		s.do, s.test, s.v = actTest, math.MaxUint32, i.K
		jump(i.Jt, i.Jf)
	case classJMP | jset:
		s.do, s.test = actTest, i.K
		jump(i.Jf, i.Jt)
	case classJMP | jgt:
		s.do = actGreater
		jump(i.Jt, i.Jf)
	case classJMP | jge:
		if i.K == 0 {
			s.do = actTest
		} else {
			s.do, s.k = actGreater, i.K-1
		}
		jump(i.Jt, i.Jf)
	}
	if s.do == actLoad || s.do == actLoadX {
		switch i.Op & 0x18 {
		case sizeB:
			s.shift = 24
		case sizeH:
			s.shift = 16
		}
	}
	if next.do == actTest && (s.do == actLoad || s.do == actLoadX || i.Op == classALU|uint16(aluAnd)) {
		s.keep, s.test, s.v, s.jt, s.jf = s.keep&next.keep, next.test, next.v, next.jt, next.jf
	}
	return s
}

// A machine is the state of a running program.
type machine struct {
	packet  []byte
	wirelen uint32
	meta    *Meta
	a, x    uint32
	mem     [maxCells]uint32
}

// run returns the program's result. An invalid operation, such as a load outside the packet, ends
// the program with 0.
//
// The instructions that most programs consist of work on registers. All others, and those that fail, are left to step.
func run(steps []step, packet []byte, wirelen uint32, meta *Meta) uint32 {
	var m machine
	m.packet, m.wirelen, m.meta = packet, wirelen, meta
	a, x := uint32(0), uint32(0)
	for pc := uint(0); pc < uint(len(steps)); {
		s := &steps[pc]
		switch {
		case s.do <= actLoadX:
			at := uint64(s.k)
			if s.do == actLoadX {
				at += uint64(x)
			}
			if at+4 <= uint64(len(packet)) {
				a = binary.BigEndian.Uint32(packet[at:]) >> (s.shift & 31)
				break
			}
			m.x = x
			v, ok := m.load(s.raw, a)
			if !ok {
				return 0
			}
			a = v
		case s.do == actTest:
		case s.do == actReturn:
			return s.k
		case s.do == actGreater:
			if a > s.k {
				pc = uint(s.jt)
			} else {
				pc = uint(s.jf)
			}
			continue
		case s.do == actHeader && uint64(s.k) < uint64(len(packet)):
			x = uint32(packet[s.k]) & 0xf << 2
			pc++
			continue
		default:
			m.a, m.x = a, x
			skip, ok := m.step(s.raw)
			if !ok {
				return 0
			}
			a, x = m.a, m.x
			pc += uint(skip) + 1
			continue
		}
		a &= s.keep
		if a&s.test == s.v {
			pc = uint(s.jt)
		} else {
			pc = uint(s.jf)
		}
	}
	return 0
}

// step executes an instruction that is no return. It returns how many to skip.
func (m *machine) step(i bpf.RawInstruction) (skip int, ok bool) {
	ok = true
	switch i.Op & 7 {
	case classLD:
		m.a, ok = m.load(i, m.a)
	case classLDX:
		m.x, ok = m.load(i, m.x)
	case classST:
		m.mem[i.K%maxCells] = m.a
	case classSTX:
		m.mem[i.K%maxCells] = m.x
	case classALU:
		ok = m.alu(i)
	case classJMP:
		skip = m.jump(i)
	case classMISC:
		if i.Op&0xf8 == miscTXA {
			m.a = m.x
		} else {
			m.x = m.a
		}
	}
	return skip, ok
}

// load returns the value that a load instruction puts into its register.
func (m *machine) load(i bpf.RawInstruction, old uint32) (uint32, bool) {
	off := uint64(i.K)
	switch i.Op & 0xe0 {
	case modeIMM:
		return i.K, true
	case modeMEM:
		return m.mem[i.K%maxCells], true
	case modeLEN:
		return m.wirelen, true
	case modeMSH:
		if i.K >= netOffset && m.meta != nil {
			off = uint64(m.meta.Network) + off - netOffset
		}
		b, ok := m.bytes(off, sizeB)
		return b & 0xf << 2, ok
	case modeIND:
		off += uint64(m.x)
	case modeABS:
		if i.K >= auxOffset {
			return m.metadata(i.K - auxOffset)
		}
	default:
		return old, false
	}
	if i.K >= netOffset && m.meta != nil {
		off = uint64(m.meta.Network) + uint64(uint32(off)-netOffset)
	}
	return m.bytes(off, i.Op&0x18)
}

// bytes returns bytes of the packet.
func (m *machine) bytes(off uint64, size uint16) (uint32, bool) {
	n := uint64(4)
	switch size {
	case sizeB:
		n = 1
	case sizeH:
		n = 2
	}
	if off+n > uint64(len(m.packet)) {
		return 0, false
	}
	b := m.packet[off:]
	switch n {
	case 1:
		return uint32(b[0]), true
	case 2:
		return uint32(binary.BigEndian.Uint16(b)), true
	}
	return binary.BigEndian.Uint32(b), true
}

// metadata returns metadata of the packet.
func (m *machine) metadata(k uint32) (uint32, bool) {
	if m.meta == nil {
		return 0, false
	}
	switch k {
	case auxProtocol:
		return uint32(m.meta.Protocol), true
	case auxPacketType:
		return uint32(m.meta.PacketType), true
	case auxIfindex:
		return m.meta.Ifindex, true
	case auxHatype:
		return uint32(m.meta.Hatype), true
	case auxVLANTag:
		return uint32(m.meta.VLANTag), true
	case auxVLANThere:
		if m.meta.VLAN {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// alu executes an arithmetic instruction on A.
func (m *machine) alu(i bpf.RawInstruction) bool {
	op, b := uint32(i.Op&0xf0), i.K
	if i.Op&srcX != 0 {
		b = m.x
	}
	switch {
	case op == opNEG:
		m.a = -m.a
	case (op == aluDiv || op == aluMod) && b == 0:
		return false
	default:
		m.a = compute(op, m.a, b)
	}
	return true
}

// jump returns how many instructions to skip.
func (m *machine) jump(i bpf.RawInstruction) int {
	b, yes := i.K, false
	if i.Op&srcX != 0 {
		b = m.x
	}
	switch i.Op & 0xf0 {
	case opJA:
		return int(i.K)
	case jeq:
		yes = m.a == b
	case jgt:
		yes = m.a > b
	case jge:
		yes = m.a >= b
	case jset:
		yes = m.a&b != 0
	}
	if yes {
		return int(i.Jt)
	}
	return int(i.Jf)
}
