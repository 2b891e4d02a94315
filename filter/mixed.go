package filter

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/net/bpf"
)

// netOffset is what an offset is relative to the network header with (SKF_NET_OFF in linux/filter.h).
const netOffset = 1<<32 - 0x100000

// maxNetwork is the largest offset relative to the network header that stays one when a header's length is added.
const maxNetwork = 0x80000

// CompileMixed compiles the expression for a Linux packet socket of the type SOCK_RAW that receives the frames of all interfaces,
// whatever their link layer. types says which hardware types (ARPHRD_ of linux/if_arp.h) have which link type. The program asks
// the metadata for the hardware type and tests each frame as its link layer has it. Frames of hardware types that Compile has no
// link type for are tested from their network header on, as those of a cooked socket are; their length is that of the frame and
// 20 more.
//
// What only Ethernet has, as addresses, VLAN tags and MPLS headers, no frame of another link layer has: ether host, vlan, mpls, llc
// and broadcast are false there.
func CompileMixed(expr string, types map[uint16]LinkType) (*Program, error) {
	all := &Program{Instructions: []bpf.RawInstruction{{Op: classLD | modeABS | sizeW, K: auxOffset + auxHatype}}, never: true, always: true}
	for _, link := range []LinkType{LinkEthernet, LinkRaw} {
		var hardware []uint16
		for _, h := range slices.Sorted(maps.Keys(types)) {
			if types[h] == link {
				hardware = append(hardware, h)
			}
		}
		if len(hardware) == 0 {
			continue
		}
		p, err := all.add(expr, link)
		if err != nil {
			return nil, err
		}
		all.Instructions = append(all.Instructions, dispatch(hardware, len(p))...)
		all.Instructions = append(all.Instructions, p...)
	}
	rest, err := all.add(expr, LinkSLL2)
	if err != nil {
		return nil, err
	}
	all.Instructions = append(all.Instructions, fromNetwork(rest)...)
	if n := len(all.Instructions); n > MaxInstructions {
		return nil, fmt.Errorf("compile filter: the program for all interfaces has %d instructions; the kernel takes %d", n, MaxInstructions)
	}
	return all, nil
}

// add compiles the expression for one link type of several, and returns the instructions.
func (p *Program) add(expr string, link LinkType) ([]bpf.RawInstruction, error) {
	one, err := Compile(expr, Target{LinkType: link, Live: true, mixed: true})
	if err != nil {
		return nil, err
	}
	p.never = p.never && one.never
	p.always = p.always && one.always
	// A program may rely on A being 0 at its start.
	return append([]bpf.RawInstruction{{Op: classLD | modeIMM}}, one.Instructions...), nil
}

// dispatch returns instructions that skip the next n unless A is one of the hardware types.
func dispatch(hardware []uint16, n int) []bpf.RawInstruction {
	var code []bpf.RawInstruction
	for i, h := range hardware {
		code = append(code, bpf.RawInstruction{Op: classJMP | jeq, K: uint32(h), Jt: uint8(len(hardware) - i)})
	}
	return append(code, bpf.RawInstruction{Op: classJMP | opJA, K: uint32(n)})
}

// fromNetwork makes the loads of packet bytes relative to the network header.
func fromNetwork(code []bpf.RawInstruction) []bpf.RawInstruction {
	for i := range code {
		in := &code[i]
		load := in.Op&7 == classLD && (in.Op&0xe0 == modeABS || in.Op&0xe0 == modeIND) || in.Op&7 == classLDX && in.Op&0xe0 == modeMSH
		if load && in.K < netOffset {
			in.K += netOffset
		}
	}
	return code
}
