package filter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/bpf"
)

// A reference is a compiler with which this package is compared.
type reference struct {
	compile func(expr string, l LinkType, optimize bool) ([]bpf.RawInstruction, error)
	live    []frame // received on an interface, if the reference compiles for one
}

// packets returns the packets on which programs are compared.
func (r reference) packets(l LinkType) []frame {
	if r.live != nil {
		return r.live
	}
	return corpus(l)
}

// newReference returns a reference that runs tcpdump.
func newReference(tb testing.TB) reference {
	tb.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		tb.Skip("needs tcpdump: ", err)
	}
	dir := publicDir(tb)
	return reference{compile: func(expr string, l LinkType, optimize bool) ([]bpf.RawInstruction, error) {
		file, err := emptyFile(dir, l)
		if err != nil {
			return nil, err
		}
		args := []string{"-ddd", "-r", file}
		if !optimize {
			args = append(args, "-O")
		}
		return runTcpdump(append(args, "--", expr)...)
	}}
}

// publicDir creates a directory that every user may read: tcpdump drops root's privileges before it
// opens a file.
func publicDir(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// emptyFile creates a capture file of the link type without packets.
func emptyFile(dir string, l LinkType) (string, error) {
	file := filepath.Join(dir, fmt.Sprintf("%d.pcap", l))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	h := binary.NativeEndian.AppendUint32(nil, 0xa1b2c3d4)
	h = binary.NativeEndian.AppendUint16(h, 2)
	h = binary.NativeEndian.AppendUint16(h, 4)
	h = append(h, make([]byte, 8)...)
	h = binary.NativeEndian.AppendUint32(h, DefaultSnaplen)
	h = binary.NativeEndian.AppendUint32(h, uint32(l))
	// Several goroutines may create the same file: tcpdump must not read it before it is complete.
	f, err := os.CreateTemp(dir, "empty")
	if err != nil {
		return "", err
	}
	_, err = f.Write(h)
	return file, errors.Join(err, f.Chmod(0o644), f.Close(), os.Rename(f.Name(), file))
}

func runTcpdump(args ...string) ([]bpf.RawInstruction, error) {
	var out, msg bytes.Buffer
	c := exec.Command("tcpdump", args...)
	c.Stdout, c.Stderr = &out, &msg
	if err := c.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(msg.String()), "\n")
		return nil, errors.New(lines[len(lines)-1])
	}
	return parseDecimal(out.String())
}

// parseDecimal reads a program in the format of tcpdump -ddd.
func parseDecimal(s string) ([]bpf.RawInstruction, error) {
	fields := strings.Fields(s)
	numbers := make([]uint32, len(fields))
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return nil, err
		}
		numbers[i] = uint32(n)
	}
	if len(numbers) == 0 || uint64(len(numbers)) != 1+4*uint64(numbers[0]) {
		return nil, fmt.Errorf("no program: %.100q", s)
	}
	var code []bpf.RawInstruction
	for i := range slices.Chunk(numbers[1:], 4) {
		code = append(code, bpf.RawInstruction{Op: uint16(i[0]), Jt: uint8(i[1]), Jf: uint8(i[2]), K: i[3]})
	}
	return code, nil
}

// A refusal is a kind of expression that this package refuses.
type refusal struct {
	name string
	msg  *regexp.Regexp
}

// refusals are the kinds of expressions that libpcap accepts and this package refuses, by the
// error's text. docs/filters.md has the reasons.
var refusals = []refusal{
	{"host-names", regexp.MustCompile(`are not looked up`)},
	{"protochain", regexp.MustCompile(`protochain needs a loop`)},
	{"modulo-order", regexp.MustCompile(`has no agreed order`)},
	{"far-offset", regexp.MustCompile(`no packet has a byte at offset`)},
	{"byte", regexp.MustCompile(`"byte" is not in the language`)},
	{"ip-broadcast", regexp.MustCompile(`ip broadcast needs the interface's network mask`)},
	{"decnet-hosts", regexp.MustCompile(`decnet has no IPv4 addresses`)},
	{"after-geneve", regexp.MustCompile(`what follows geneve`)},
	{"too-long", regexp.MustCompile(`scratch memory`)},
	{"folded-zero", regexp.MustCompile(`division by zero|a shift by \d+ bits`)},
}

// A verdict is the result of comparing two programs for one expression.
type verdict struct {
	name      string // of a known difference, or ""
	ours, ref int    // numbers of instructions; 0: refused
	always    bool   // the program accepts every packet that is long enough
	err       error  // an unknown difference
}

// compare compares this package's program for the expression with tcpdump's.
func (r reference) compare(expr string, l LinkType) verdict {
	target := Target{LinkType: l, Live: r.live != nil}
	ref, refErr := r.compile(expr, l, true)
	prog, err := Compile(expr, target)
	switch {
	case err != nil && refErr != nil:
		return verdict{}
	case err != nil:
		for _, k := range refusals {
			if k.msg.MatchString(err.Error()) {
				return verdict{name: k.name, ref: len(ref)}
			}
		}
		return verdict{err: fmt.Errorf("refused, but tcpdump compiles it: %w", err)}
	}
	v := verdict{ours: len(prog.Instructions), ref: len(ref), always: prog.AlwaysMatches()}
	if refErr != nil {
		switch {
		case strings.Contains(refErr.Error(), "expression rejects all packets"):
			ref = []bpf.RawInstruction{{Op: classRET}}
		case regexp.MustCompile(`division by zero|modulus by zero|shift by more than 31`).MatchString(refErr.Error()):
			v.name = "constant-operand"
			return v
		default:
			v.err = fmt.Errorf("compiled, but tcpdump refuses it: %w", refErr)
			return v
		}
	}
	v.name, v.err = r.diff(expr, target, prog, ref)
	return v
}

// diff runs both programs on the corpus. It returns the name of a known difference if there is one.
func (r reference) diff(expr string, t Target, prog *Program, ref []bpf.RawInstruction) (string, error) {
	var plain []bpf.RawInstruction
	var quirky *Program
	name := ""
	for _, f := range r.packets(t.LinkType) {
		got := prog.Match(f.data, f.wirelen, f.meta) != 0
		if got == f.passes(ref) {
			continue
		}
		if plain == nil {
			var err error
			if plain, err = r.compile(expr, t.LinkType, false); err != nil {
				return "", err
			}
			if quirky, err = compile(expr, t, true); err != nil && !strings.Contains(err.Error(), "what follows geneve") {
				return "", err
			}
		}
		switch want := f.passes(plain); {
		case got == want && (f.fails(ref) || f.fails(plain)):
			name = "optimizer"
		case got == want:
			name = "optimizer-fault"
		case quirky == nil: // libpcap omits the same test, for example of a right operand
			name = "after-geneve"
		case f.passes(quirky.Instructions) == want:
			name = "quirk"
		case clashes(plain):
			name = "cell-clash"
		default:
			return "", fmt.Errorf("packet %x of %d bytes, %+v: got %v, want %v\n%s\n%s", f.data, f.wirelen, f.meta, got, want, prog, &Program{Instructions: ref})
		}
	}
	return name, nil
}

// clashes reports whether libpcap's unoptimized program uses one cell for two purposes: for the
// length of the headers before those that it looks for, which starts at 0 and grows, and for
// something else.
func clashes(code []bpf.RawInstruction) bool {
	lengths := map[uint32]bool{}
	for i := 1; code[0] == (bpf.RawInstruction{Op: classLD | modeIMM}) && code[i].Op == classST; i++ {
		lengths[code[i].K] = true
	}
	for i := 1 + len(lengths); i < len(code); i++ {
		if st := code[i]; st.Op == classST && lengths[st.K] && code[i-2] != (bpf.RawInstruction{Op: classLD | modeMEM, K: st.K}) {
			return true
		}
	}
	return false
}

// passes reports whether the program accepts the packet.
func (f frame) passes(code []bpf.RawInstruction) bool {
	m := machine{packet: f.data, wirelen: uint32(f.wirelen), meta: f.meta}
	return m.run(code, 0) != 0
}

// fails reports whether the program ends before its return, because of missing bytes or a division
// by zero.
func (f frame) fails(code []bpf.RawInstruction) bool {
	code = slices.Clone(code)
	for i := range code {
		if code[i].Op == classRET {
			code[i].K = 1
		}
	}
	return !f.passes(code)
}

// inParallel calls f for 0 to n-1.
func inParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range 2 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
