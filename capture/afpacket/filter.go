package afpacket

import "capd/capture/device"

// Classic BPF (linux/bpf_common.h, linux/filter.h).
const (
	bpfLoad         = 0x20             // ld [k]
	bpfLoadValue    = 0x00             // ld #k
	bpfJumpEqual    = 0x15             // jeq #k, jt, jf
	bpfAncillary    = 1<<32 - 0x1000   // SKF_AD_OFF
	bpfPktType      = bpfAncillary + 4 // SKF_AD_PKTTYPE
	bpfIfindex      = bpfAncillary + 8 // SKF_AD_IFINDEX
	loopbackIfindex = 1                // in every network namespace (LOOPBACK_IFINDEX)
)

// program returns the filter for the kernel: a prefix that drops frames of the wrong direction,
// then the user's filter, if any, which truncates accepted frames to snaplen. A loopback interface
// delivers each frame twice, outgoing and incoming; the prefix keeps one of them. program returns
// nil if all frames are wanted whole.
//
// The kernel keeps enough of a frame to insert its VLAN tag, whatever the snaplen. The packet is
// truncated later.
func program(d device.Direction, ifindex, snaplen int, user []device.Instruction) []device.Instruction {
	p := prefix(d, ifindex)
	switch {
	case len(p) == 0 && len(user) == 0 && snaplen >= device.DefaultSnaplen:
		return nil
	case len(p) > 0 && len(user) > 0:
		// A program may rely on A being 0 at its start.
		p = append(p, device.Instruction{Code: bpfLoadValue})
	}
	return append(p, device.Cut(max(snaplen, macsLen), user)...)
}

// stopProgram ends reception. It accepts nothing, and is told from a gate by its form.
func stopProgram() []device.Instruction {
	return append([]device.Instruction{{Code: bpfLoadValue}}, device.Nothing()...)
}

// prefix returns instructions that drop unwanted frames and continue with the following
// instructions for the others. An ifindex of 0 means all interfaces.
func prefix(d device.Direction, ifindex int) []device.Instruction {
	pktType := device.Instruction{Code: bpfLoad, K: bpfPktType}
	drop := device.Instruction{Code: device.OpReturn}
	if d == device.Both && ifindex == loopbackIfindex {
		d = device.In
	}
	switch {
	case d == device.In:
		return []device.Instruction{pktType, {Code: bpfJumpEqual, K: typeOutgoing, Jf: 1}, drop}
	case d == device.Out:
		return []device.Instruction{pktType, {Code: bpfJumpEqual, K: typeOutgoing, Jt: 1}, drop}
	case ifindex == 0:
		return []device.Instruction{
			{Code: bpfLoad, K: bpfIfindex},
			{Code: bpfJumpEqual, K: loopbackIfindex, Jf: 3},
			pktType,
			{Code: bpfJumpEqual, K: typeOutgoing, Jf: 1},
			drop,
		}
	}
	return nil
}
