package filter

import (
	"errors"
	"fmt"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/bpf"
)

var links = []LinkType{LinkNull, LinkEthernet, LinkPPP, LinkRaw, LinkLoop, LinkSLL, LinkIPv4, LinkIPv6, LinkSLL2}

// FuzzCompile compiles any text. The result must be an error with a position, or a program that the
// kernel would accept and that terminates; never a panic.
func FuzzCompile(f *testing.F) {
	for i, s := range samples(f) {
		f.Add(s.expr, uint8(i), i%3 == 0)
	}
	f.Fuzz(func(t *testing.T, expr string, link uint8, live bool) {
		target := Target{LinkType: links[int(link)%len(links)], Live: live, Netmask: 0xffffff00}
		p, err := Compile(expr, target)
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) {
				t.Fatalf("%q: error %v", expr, err)
			}
			if se.Offset < 0 || se.Offset > len(expr) || se.Msg == "" || !utf8.ValidString(err.Error()) {
				t.Fatalf("%q: error %#v", expr, se)
			}
			return
		}
		if err := check(p.Instructions); err != nil {
			t.Fatalf("%q: %v\n%s", expr, err, p)
		}
		for i, fr := range corpus(target.LinkType) {
			if i%100 == 0 {
				p.Match(fr.data, fr.wirelen, &Meta{VLAN: i%200 == 0})
			}
		}
	})
}

// FuzzMatch compares the optimized and the unoptimized program on any packet, and those for other
// systems' kernels, and Match with a machine that executes each instruction.
func FuzzMatch(f *testing.F) {
	m := corpus(LinkEthernet)
	for i, s := range samples(f) {
		f.Add(s.expr, m[i%len(m)].data, uint16(i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, expr string, packet []byte, more uint16, link uint8) {
		target := Target{LinkType: links[int(link)%len(links)], Live: more&1 != 0}
		p, err := Compile(expr, target)
		if err != nil {
			return
		}
		target.Unoptimized = true
		plain, err := Compile(expr, target)
		if err != nil {
			return
		}
		meta := &Meta{VLAN: more&2 != 0, VLANTag: more, PacketType: uint8(more) & 7, Ifindex: uint32(more), Protocol: 0x0800}
		got, want := p.Match(packet, len(packet)+int(more), meta), plain.Match(packet, len(packet)+int(more), meta)
		if got != want {
			t.Fatalf("%q, packet %x: got %d, want %d\n%s\n%s", expr, packet, got, want, p, plain)
		}
		if alone := p.alone(frame{packet, len(packet) + int(more), meta}); got != alone {
			t.Fatalf("%q, packet %x: got %d, a machine alone %d\n%s", expr, packet, got, alone, p)
		}
		if !target.Live {
			sameOn(t, bsds[int(more)%len(bsds)], expr, target.LinkType, []frame{{data: packet, wirelen: len(packet) + int(more)}})
		}
	})
}

// check makes the kernel's checks (bpf_check_classic in net/core/filter.c).
func check(code []bpf.RawInstruction) error {
	if len(code) == 0 || len(code) > MaxInstructions {
		return fmt.Errorf("%d instructions", len(code))
	}
	if code[len(code)-1].Op&7 != classRET {
		return errors.New("it does not end in a return")
	}
	set := make([]uint32, len(code)+1) // cells that are set on every way to an instruction
	for i := range set {
		set[i] = 1<<maxCells - 1
	}
	set[0] = 0
	for pc, i := range code {
		have, next := set[pc], []int{pc + 1}
		switch op := i.Op & 7; {
		case op == classRET:
			next = nil
		case op == classJMP && i.Op&0xf0 == opJA:
			next = []int{pc + 1 + int(i.K)}
		case op == classJMP:
			next = []int{pc + 1 + int(i.Jt), pc + 1 + int(i.Jf)}
		case (op == classST || op == classSTX) && i.K < maxCells:
			have |= 1 << i.K
		case op == classST || op == classSTX:
			return fmt.Errorf("instruction %d sets cell %d", pc, i.K)
		case op <= classLDX && i.Op&0xe0 == modeMEM && (i.K >= maxCells || have&(1<<i.K) == 0):
			return fmt.Errorf("instruction %d reads cell %d", pc, i.K)
		case op == classALU && i.Op&srcX == 0 && divides(uint32(i.Op&0xf0)) && i.K == 0:
			return fmt.Errorf("instruction %d divides by zero", pc)
		case op == classALU && i.Op&srcX == 0 && (i.Op&0xf0 == aluLsh || i.Op&0xf0 == aluRsh) && i.K > 31:
			return fmt.Errorf("instruction %d shifts by %d bits", pc, i.K)
		}
		for _, n := range next {
			if n >= len(code) {
				return fmt.Errorf("instruction %d jumps to %d", pc, n)
			}
			set[n] &= have
		}
	}
	return nil
}

// TestCheck makes the kernel's checks on every program of the list.
func TestCheck(t *testing.T) {
	for _, s := range samples(t) {
		p, err := Compile(s.expr, Target{LinkType: s.link})
		if err != nil {
			continue
		}
		if err := check(p.Instructions); err != nil {
			t.Errorf("%q: %v\n%s", s.expr, err, p)
		}
	}
}
