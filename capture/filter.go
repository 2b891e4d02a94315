package capture

import "slices"

// An Instruction is one of classic BPF, as struct sock_filter of
// linux/filter.h and struct bpf_insn of bpf(4).
type Instruction struct {
	Code   uint16
	Jt, Jf uint8
	K      uint32
}

// Classic BPF (linux/bpf_common.h, linux/filter.h).
const (
	bpfLoad         = 0x20             // ld [k]
	bpfLoadValue    = 0x00             // ld #k
	bpfJumpEqual    = 0x15             // jeq #k, jt, jf
	bpfReturn       = 0x06             // ret #k
	bpfAncillary    = 1<<32 - 0x1000   // SKF_AD_OFF
	bpfPktType      = bpfAncillary + 4 // SKF_AD_PKTTYPE
	bpfIfindex      = bpfAncillary + 8 // SKF_AD_IFINDEX
	loopbackIfindex = 1                // in every network namespace (LOOPBACK_IFINDEX)
)

// program returns the filter for the kernel: a prefix that drops the frames of
// the wrong direction, then the user's filter, if any, with every accepted
// frame cut at snaplen. A loopback interface shows each frame twice, going out
// and coming in: one of them is kept. It returns nil if all frames are wanted
// whole.
//
// The kernel keeps enough of a frame to put its VLAN tag back, whatever the
// snaplen; the packet is cut at it later.
func program(d Direction, ifindex, snaplen int, user []Instruction) []Instruction {
	p := prefix(d, ifindex)
	switch {
	case len(p) == 0 && len(user) == 0 && snaplen >= DefaultSnaplen:
		return nil
	case len(p) > 0 && len(user) > 0:
		// A program may count on starting with 0.
		p = append(p, Instruction{Code: bpfLoadValue})
	}
	return append(p, cut(max(snaplen, macsLen), user)...)
}

// nothing is a filter that takes no frame.
func nothing() []Instruction { return []Instruction{{Code: bpfReturn}} }

// cut returns the program, or one that accepts all if there is none, with
// every accepted frame cut at snaplen.
func cut(snaplen int, user []Instruction) []Instruction {
	if len(user) == 0 {
		return []Instruction{{Code: bpfReturn, K: uint32(snaplen)}}
	}
	p := slices.Clone(user)
	for i := range p {
		if p[i].Code == bpfReturn {
			p[i].K = min(p[i].K, uint32(snaplen))
		}
	}
	return p
}

// prefix returns instructions that drop unwanted frames and run on into what
// follows for the others. An ifindex of 0 is all interfaces.
func prefix(d Direction, ifindex int) []Instruction {
	pktType := Instruction{Code: bpfLoad, K: bpfPktType}
	drop := Instruction{Code: bpfReturn}
	if d == Both && ifindex == loopbackIfindex {
		d = In
	}
	switch {
	case d == In:
		return []Instruction{pktType, {Code: bpfJumpEqual, K: typeOutgoing, Jf: 1}, drop}
	case d == Out:
		return []Instruction{pktType, {Code: bpfJumpEqual, K: typeOutgoing, Jt: 1}, drop}
	case ifindex == 0:
		return []Instruction{
			{Code: bpfLoad, K: bpfIfindex},
			{Code: bpfJumpEqual, K: loopbackIfindex, Jf: 3},
			pktType,
			{Code: bpfJumpEqual, K: typeOutgoing, Jf: 1},
			drop,
		}
	}
	return nil
}
