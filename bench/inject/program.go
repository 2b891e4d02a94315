//go:build linux

package inject

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Offsets in a frame: Ethernet (14 bytes), IPv4 without options (20), UDP (8).
const (
	offIPLength   = 16
	offIPChecksum = 24
	offFlow       = 35 // low byte of the UDP source port
	offUDPLength  = 38
	headers       = 42
)

// Destination and source address of every frame: locally administered and unused.
var (
	dstMAC = [6]byte{0x02, 0xca, 0x9d, 0, 0, 1}
	srcMAC = [6]byte{0x02, 0xca, 0x9d, 0, 0, 2}
)

// template returns a frame of size bytes from 192.0.2.1 to 192.0.2.2 (RFC 5737), to the discard
// port, without a UDP checksum. The program spreads frames over 256 flows, by the source port: else
// a fanout by flow would put all of them into one ring.
func template(size int) []byte {
	f := make([]byte, size)
	copy(f, dstMAC[:])
	copy(f[6:], srcMAC[:])
	be := binary.BigEndian
	be.PutUint16(f[12:], 0x0800)
	ip := f[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	be.PutUint16(f[offIPLength:], uint16(size-14))
	copy(ip[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	be.PutUint16(f[offIPChecksum:], checksum(ip[:20]))
	be.PutUint16(f[34:], 0xca00)
	be.PutUint16(f[36:], 9)
	be.PutUint16(f[offUDPLength:], uint16(size-34))
	for i := headers; i < size; i++ {
		f[i] = byte(i)
	}
	return f
}

// checksum is the internet checksum of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// A shape is the data that the program writes into a frame of one size. The table of shapes has one
// entry for each position in the mix.
const shapeSize = 12 // bytes: int32 tail, and IP length, IP checksum, UDP length as in the frame

// shapes returns the table for frames whose template has the size full.
func shapes(sizes []int, full int) []byte {
	table := make([]byte, 0, len(sizes)*shapeSize)
	for _, size := range sizes {
		f := template(size)
		table = binary.NativeEndian.AppendUint32(table, uint32(int32(size-full)))
		table = append(table, f[offIPLength:offIPLength+2]...)
		table = append(table, f[offIPChecksum:offIPChecksum+2]...)
		table = append(table, f[offUDPLength:offUDPLength+2]...)
		table = append(table, 0, 0)
	}
	return table
}

// newMaps creates the maps with the next sequence number and with the shapes. Both are arrays with
// one value, which the program can access without a lookup.
func newMaps(table []byte) (seq, shape *ebpf.Map, err error) {
	seq, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, nil, fmt.Errorf("create sequence map: %w", err)
	}
	shape, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(table)), MaxEntries: 1})
	if err == nil {
		err = shape.Put(uint32(0), table)
	}
	if err != nil {
		seq.Close()
		return nil, nil, fmt.Errorf("create shape map: %w", err)
	}
	return seq, shape, nil
}

// newProgram loads the XDP program: it increments the sequence number, changes the frame to the
// shape at the number's position in the mix, writes the number into the payload and its last byte
// into the source port, and passes the frame.
func newProgram(seq, shape *ebpf.Map, places int) (*ebpf.Program, error) {
	var code asm.Instructions
	code = append(code, asm.Mov.Reg(asm.R6, asm.R1))
	code = append(code, nextNumber(seq.FD())...)
	if places > 1 {
		code = append(code, cutTail(shape.FD(), places)...)
	}
	code = append(code, bounds()...)
	if places > 1 {
		code = append(code, writeLengths()...)
	}
	code = append(code,
		asm.StoreMem(asm.R2, SequenceOffset, asm.R7, asm.DWord),
		asm.StoreMem(asm.R2, offFlow, asm.R7, asm.Byte),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpAborted).WithSymbol("abort"),
		asm.Return(),
	)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "inject", Type: ebpf.XDP, Instructions: code, License: "MIT"})
	if err != nil {
		return nil, fmt.Errorf("load XDP program: %w", err)
	}
	return prog, nil
}

// Actions of an XDP program (enum xdp_action, linux/bpf.h).
const (
	xdpAborted = 0
	xdpPass    = 2
)

// nextNumber loads the sequence number into R7. The program runs on one CPU, so the increment need
// not be atomic.
func nextNumber(fd int) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapValue(asm.R1, fd, 0),
		asm.LoadMem(asm.R7, asm.R1, 0, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Add.Imm(asm.R2, 1),
		asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
	}
}

// cutTail shortens the frame and loads its shape into R8.
func cutTail(fd, places int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Mod.Imm(asm.R2, int32(places)),
		// The verifier does not know that a remainder is less than its divisor.
		asm.JGE.Imm(asm.R2, int32(places), "abort"),
		asm.Mul.Imm(asm.R2, shapeSize),
		asm.LoadMapValue(asm.R8, fd, 0),
		asm.Add.Reg(asm.R8, asm.R2),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMem(asm.R2, asm.R8, 0, asm.Word),
		asm.FnXdpAdjustTail.Call(),
		asm.JNE.Imm(asm.R0, 0, "abort"),
	}
}

// bounds loads the frame's start into R2, and proves to the verifier that the headers and the
// number are inside the frame (struct xdp_md: data at 0, data_end at 4).
func bounds() asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R2),
		asm.Add.Imm(asm.R1, MinSize),
		asm.JGT.Reg(asm.R1, asm.R3, "abort"),
	}
}

func writeLengths() asm.Instructions {
	var code asm.Instructions
	for i, off := range []int16{offIPLength, offIPChecksum, offUDPLength} {
		code = append(code,
			asm.LoadMem(asm.R1, asm.R8, int16(4+2*i), asm.Half),
			asm.StoreMem(asm.R2, off, asm.R1, asm.Half),
		)
	}
	return code
}
