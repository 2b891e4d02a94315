package filter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// bsds are the systems whose kernels run programs on BPF devices.
var bsds = []string{"darwin", "freebsd", "netbsd", "openbsd"}

// validate makes the checks of bpf_validate in the system's bpf_filter.c.
func validate(system string, code []bpf.RawInstruction) error {
	if len(code) > 512 {
		return fmt.Errorf("%d instructions", len(code))
	}
	offsets := map[string]uint32{"darwin": 512 << 10, "openbsd": 2 << 20}[system]
	for pc, i := range code {
		mode, op := i.Op&0xe0, uint32(i.Op&0xf0)
		switch class := i.Op & 7; {
		case class > classLDX:
		case mode == modeABS || mode == modeIND || mode == modeMSH:
			if offsets > 0 && i.K >= offsets {
				return fmt.Errorf("instruction %d loads from offset %d", pc, i.K)
			}
		}
		if offsets > 0 && i.Op&7 == classALU && (op == aluMod || op == aluXor) {
			return fmt.Errorf("instruction %d has the operator %#x", pc, op)
		}
	}
	if system == "netbsd" {
		if err := initialized(code); err != nil {
			return err
		}
	}
	return check(code)
}

// initialized makes NetBSD's check that cells are set before they are read. Unlike check, it goes on
// after a return as if that were no end.
func initialized(code []bpf.RawInstruction) error {
	unset := make([]uint16, len(code))
	now := uint16(0xffff)
	for pc, i := range code {
		now |= unset[pc]
		switch class := i.Op & 7; {
		case class <= classLDX && i.Op&0xe0 == modeMEM:
			if now&(1<<i.K) != 0 {
				return fmt.Errorf("instruction %d reads cell %d before it is set", pc, i.K)
			}
		case class == classST || class == classSTX:
			now &^= 1 << i.K
		case class == classJMP && i.Op&0xf0 == opJA:
			unset[pc+1+int(i.K)] |= now
			now = 0
		case class == classJMP:
			unset[pc+1+int(i.Jt)] |= now
			unset[pc+1+int(i.Jf)] |= now
			now = 0
		}
	}
	return nil
}

// sameOn compiles the expression for a system's kernel and for a file. The first program must be valid
// there, and both must have the same result for every packet. It reports whether there are programs.
func sameOn(t *testing.T, system, expr string, link LinkType, packets []frame) bool {
	t.Helper()
	file, err := Compile(expr, Target{LinkType: link})
	if err != nil {
		return false
	}
	for _, plain := range []bool{false, true} {
		p, err := Compile(expr, Target{LinkType: link, Machine: MachineOf(system), Unoptimized: plain})
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || !strings.Contains(se.Msg, "the kernel takes 512") && !strings.Contains(se.Msg, "nested too deeply") {
				t.Errorf("%s, %s: %q: %v", system, link, expr, err)
			}
			return false
		}
		if err := validate(system, p.Instructions); err != nil {
			t.Errorf("%s, %s: %q: %v\n%s", system, link, expr, err, p)
		}
		for _, f := range packets {
			if got, want := p.Match(f.data, f.wirelen, nil), file.Match(f.data, f.wirelen, nil); got != want {
				t.Errorf("%s, %s: %q, packet %x: got %d, want %d\n%s\n%s", system, link, expr, f.data, got, want, p, file)
				break
			}
		}
	}
	return true
}

// TestMachines: every system's kernel takes the programs of the list and decides as Match does in a
// file.
func TestMachines(t *testing.T) {
	for _, system := range bsds {
		n := 0
		for _, s := range samples(t) {
			if sameOn(t, system, s.expr, s.link, corpus(s.link)) {
				n++
			}
		}
		t.Logf("%s: %d expressions", system, n)
	}
}

// TestMachineOperators: % and ^ in all their places, with operands that need X, cells or both.
func TestMachineOperators(t *testing.T) {
	for _, expr := range []string{
		"ip[2:2] % 7 = 3", "ip[2:2] ^ 0x55 = 0x11", "ip[2:2] % ip[8] = 1", "ip[8] ^ ip[9] = ip[10]", "len % 4 = 0", "1000 % ip[8] = 3",
		"ip[2:2] % (ip[0] & 0) = 0",       // division by zero refuses the packet
		"ip[2:2] % (ip[0] & 0) = 0 or ip", // even if another test would accept it
		"tcp[0:2] % 2 = 1", "tcp[0:2] ^ tcp[2:2] < 1024", "(tcp[0:2] ^ 3) % (tcp[2:2] ^ 5) = 1", "((ip[0] % 3) % 5) % 7 = ip[8] ^ 1 ^ 2",
		"vlan and ip[8] % 3 = 1", "vlan and vlan and ip[8] ^ 3 > 1", "-(ip[8] % 5) > 3", "ip[ip[8] % 20] = 64", "ip[ip[8] ^ 64] = 0x45",
		"ip[8] % 3 = ip[9] % 3", "len % 7 = len ^ 7", "ip[2:2] % 0xffffffff = ip[2:2]", "ip[0:4] ^ 0xffffffff > 0x80000000", "ip[8] << (ip[9] % 40) = 0",
	} {
		for _, link := range []LinkType{LinkEthernet, LinkRaw, LinkNull} {
			for _, system := range bsds {
				if !sameOn(t, system, expr, link, corpus(link)) && link == LinkEthernet {
					t.Errorf("%s: %q is not compiled", system, expr)
				}
			}
		}
	}
}

// TestMachineOffsets: an offset that lies in no packet is not given to a kernel that rejects it.
func TestMachineOffsets(t *testing.T) {
	packets := corpus(LinkEthernet)
	packets = append(packets, frame{data: make([]byte, 70000), wirelen: 70000})
	for _, expr := range []string{
		"ether[524287] = 0", "ether[524288] = 0", "ether[600000:2] = 0", "ether[3000000:4] >= 0", "not ether[16777216] = 0", "ip[524274] = 0",
		"ip[ip[8] + 600000] = 0", "ip[ip[12:4]] >= 0", "ether[0xffffffff - len] = 0", "len > 0 and not ether[ether[0] - 1] = 7",
	} {
		for _, system := range bsds {
			sameOn(t, system, expr, LinkEthernet, packets)
		}
	}
}

// TestMachineDepth: nested operators end in a program or an error, soon.
func TestMachineDepth(t *testing.T) {
	for _, op := range []string{" % ", " ^ "} {
		left := strings.Repeat("(", 500) + "ip[8]" + strings.Repeat(op+"7)", 500)
		right := strings.Repeat("ip[8]"+op+"(", 500) + "7" + strings.Repeat(")", 500)
		both := "ip[8]"
		for range 14 {
			both = "(" + both + op + both + ")"
		}
		for _, expr := range []string{left, right, both} {
			_, _ = Compile(expr+" = 1", Target{LinkType: LinkEthernet, Machine: MachineOf("darwin")})
		}
	}
}

// TestRandomMachines does what TestMachines does, with random expressions.
func TestRandomMachines(t *testing.T) {
	n := *randomCount / 20
	if testing.Short() {
		n = min(n, 400)
	}
	done := 0
	for i := range n {
		m := maker{rand.New(rand.NewPCG(*randomSeed+4, uint64(i)))}
		link := pick(m, links)
		w := writer{m, link}
		expr := w.expr(m.IntN(6))
		if m.IntN(2) == 0 {
			expr = w.arith(3) + w.of(" % ", " ^ ") + w.arith(3) + w.of(" = ", " > ", " != ") + w.arith(2)
		}
		if sameOn(t, pick(m, bsds), expr, link, corpus(link)) {
			done++
		}
	}
	t.Logf("%d of %d expressions", done, n)
}

// TestMachineLength: a program that is too long for a system's kernel is an error there.
func TestMachineLength(t *testing.T) {
	expr := "port " + repeat(400, "N", " or ")
	for system, ok := range map[string]bool{"linux": true, "darwin": false, "freebsd": false, "netbsd": false, "openbsd": false} {
		_, err := Compile(expr, Target{LinkType: LinkEthernet, Machine: MachineOf(system)})
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "the kernel takes 512") {
			t.Errorf("%s: %v", system, err)
		}
	}
}
