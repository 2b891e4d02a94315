package bpf

import (
	"slices"
	"syscall"

	"capd/capture/device"
)

// valid corresponds to bpf_validate in the system's bpf_filter.c.
func valid(os string, program []device.Instruction) bool {
	const classes = 7
	if len(program) == 0 || len(program) > 512 || program[len(program)-1].Code&classes != device.OpReturn {
		return false
	}
	for at, i := range program {
		left := len(program) - at - 1 // instructions that follow
		ok := true
		switch i.Code & classes {
		case 0, 1: // loads
			ok = validLoad(os, i)
		case 2, 3: // stores
			ok = i.K < 16
		case 4: // arithmetic
			ok = validOperator(os, i)
		case 5: // jumps
			ok = int(i.Jt) < left && int(i.Jf) < left
			if i.Code == 5 {
				ok = uint64(i.K) < uint64(left)
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// validLoad checks the offset of a load: macOS and OpenBSD refuse those that reach their limit of a buffer.
func validLoad(os string, i device.Instruction) bool {
	limits := map[string]uint32{"darwin": 512 << 10, "openbsd": 2 << 20}
	switch i.Code & 0xe0 {
	case 0x20, 0x40, 0xa0: // of the packet
		limit, ok := limits[os]
		return !ok || i.K < limit
	case 0x60: // of a cell
		return i.K < 16
	}
	return true
}

// validOperator checks an arithmetic instruction: macOS and OpenBSD have neither BPF_MOD nor BPF_XOR.
func validOperator(os string, i device.Instruction) bool {
	switch op := i.Code & 0xf0; op {
	case 0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x80:
		return true
	case 0x30, 0x90: // divisions
		return (op == 0x30 || slices.Contains([]string{"freebsd", "netbsd"}, os)) && (i.Code&8 != 0 || i.K != 0)
	case 0xa0:
		return slices.Contains([]string{"freebsd", "netbsd"}, os)
	}
	return false
}

// shortage returns the error if there is no memory for buffers; nil: the kernel waits for it.
func (k *fakeKernel) shortage() error {
	return map[string]error{"darwin": syscall.ENOMEM, "openbsd": syscall.ENOMEM, "netbsd": syscall.ENOBUFS}[k.os]
}

// linkTypes returns the DLTs of an interface, the default first.
func (k *fakeKernel) linkTypes(name string) []uint32 {
	if name == "utun0" {
		return k.utun
	}
	return k.dlts
}

// loopbackDirection returns the direction that all frames of lo0 have.
func (k *fakeKernel) loopbackDirection() device.Direction {
	return map[string]device.Direction{"darwin": device.Out, "freebsd": device.In, "netbsd": device.Out}[k.os]
}

// tagged delivers a frame to en0 whose VLAN tag the network card has taken out. FreeBSD and OpenBSD put it
// back, always with the type 0x8100.
func (k *fakeKernel) tagged(d device.Direction, tag uint16, frame []byte) {
	if k.os == "freebsd" || k.os == "openbsd" {
		frame = slices.Concat(frame[:12], []byte{0x81, 0x00, byte(tag >> 8), byte(tag)}, frame[12:])
	}
	k.receive(d, frame)
}
