package filter

import (
	"encoding/binary"

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

// A machine is the state of a running program.
type machine struct {
	packet  []byte
	wirelen uint32
	meta    *Meta
	a, x    uint32
	mem     [maxCells]uint32
	short   bool // bytes were asked for that the packet had, and that were not captured
}

// Undecided reports whether the program, which rejects the packet, asks for bytes that were not captured: it might accept the
// packet if it were whole.
func (p *Program) Undecided(data []byte, length int) bool {
	m := machine{packet: data, wirelen: uint32(length)}
	return m.run(p.Instructions, 0) == 0 && m.short
}

// run returns the result of the program from an instruction on. An invalid operation, such as a load outside the packet,
// ends the program with 0.
func (m *machine) run(code []bpf.RawInstruction, pc int) uint32 {
	for ; pc < len(code); pc++ {
		i, ok := code[pc], true
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
			pc += m.jump(i)
		case classRET:
			return i.K
		case classMISC:
			if i.Op&0xf8 == miscTXA {
				m.a = m.x
			} else {
				m.x = m.a
			}
		}
		if !ok {
			return 0
		}
	}
	return 0
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
		m.short = off+n <= uint64(m.wirelen)
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
