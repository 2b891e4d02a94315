package filter

import (
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/net/bpf"
)

// alone is Match without steps.
func (p *Program) alone(f frame) int {
	m := machine{packet: f.data, wirelen: uint32(f.wirelen), meta: f.meta}
	return int(m.run(p.Instructions, 0))
}

// sameSteps compares Match with a machine alone on a packet that is cut at every length.
func sameSteps(t *testing.T, p *Program, f frame) {
	t.Helper()
	for n := range len(f.data) + 1 {
		cut := frame{data: f.data[:n:n], wirelen: f.wirelen, meta: f.meta}
		if got, want := p.Match(cut.data, cut.wirelen, cut.meta), p.alone(cut); got != want {
			t.Fatalf("packet %x, %+v: got %d, want %d\n%s", cut.data, cut.meta, got, want, p)
		}
	}
}

// TestSteps: of every program of the list the steps decide as its instructions.
func TestSteps(t *testing.T) {
	for _, s := range samples(t) {
		p, err := Compile(s.expr, Target{LinkType: s.link})
		if err != nil {
			continue
		}
		for i, f := range corpus(s.link) {
			if i%16 == 0 {
				sameSteps(t, p, f)
			}
		}
	}
}

// TestRandomSteps: so do those of programs that no compiler makes, with offsets at all ends, and jumps everywhere.
func TestRandomSteps(t *testing.T) {
	var ops []uint16
	for _, size := range []uint16{sizeB, sizeH, sizeW} {
		ops = append(ops, classLD|modeABS|size, classLD|modeABS|size, classLD|modeIND|size)
	}
	for _, op := range []uint16{jeq, jgt, jge, jset} {
		ops = append(ops, classJMP|op, classJMP|op, classJMP|op|srcX)
	}
	for _, op := range []uint16{aluAdd, aluSub, aluMul, aluDiv, aluOr, aluAnd, aluAnd, aluLsh, aluRsh, aluMod, aluXor} {
		ops = append(ops, classALU|op, classALU|op|srcX)
	}
	ops = append(ops, classALU|aluAnd, classALU|opNEG, classJMP|opJA, classLD|modeLEN, classLDX|modeLEN, classLD|modeIMM, classLDX|modeIMM,
		classLD|modeMEM, classLDX|modeMEM, classST, classSTX, classLDX|modeMSH|sizeB, classMISC|miscTAX, classMISC|miscTXA, classRET, 0x16)
	m := maker{rand.New(rand.NewPCG(*randomSeed+5, 1))}
	for range *randomCount {
		code := make([]bpf.RawInstruction, 1+m.IntN(24))
		for i := range code {
			code[i] = bpf.RawInstruction{Op: pick(m, ops), Jt: uint8(m.IntN(5)), Jf: uint8(m.IntN(5)), K: pick(m, []uint32{
				0, 0, 1, 2, 3, 4, 5, uint32(m.IntN(40)), uint32(m.IntN(40)), 0xff, 0xf0, 0x7fffffff, 1 << 31, math.MaxUint32 - 3, math.MaxUint32,
				netOffset, netOffset + 2, auxOffset, auxOffset + auxVLANTag, m.Uint32()})}
		}
		p := &Program{Instructions: code, first: decode(code)}
		f := frame{data: m.bytes(40), wirelen: 40 + m.IntN(2)*100}
		for i := range f.data {
			f.data[i] &= pick(m, []byte{0, 1, 3, 0xff})
		}
		if m.IntN(4) == 0 {
			f.meta = &Meta{Network: 14, VLAN: true, VLANTag: 5}
		}
		sameSteps(t, p, f)
	}
}
