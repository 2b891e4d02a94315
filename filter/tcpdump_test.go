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
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/bpf"
)

// A reference compiles expressions by running tcpdump on an empty file.
type reference struct {
	dir string
}

func newReference(tb testing.TB) *reference {
	tb.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		tb.Skip("needs tcpdump: ", err)
	}
	r := &reference{tb.TempDir()}
	// tcpdump gives up root's rights before it opens the file.
	for d := r.dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

// compile returns tcpdump's program, or its complaint.
func (r *reference) compile(expr string, l LinkType, optimize bool) ([]bpf.RawInstruction, error) {
	file := filepath.Join(r.dir, fmt.Sprintf("%d.pcap", l))
	if _, err := os.Stat(file); err != nil {
		h := binary.NativeEndian.AppendUint32(nil, 0xa1b2c3d4)
		h = binary.NativeEndian.AppendUint16(h, 2)
		h = binary.NativeEndian.AppendUint16(h, 4)
		h = append(h, make([]byte, 8)...)
		h = binary.NativeEndian.AppendUint32(h, DefaultSnaplen)
		h = binary.NativeEndian.AppendUint32(h, uint32(l))
		if err := os.WriteFile(file, h, 0o644); err != nil {
			return nil, err
		}
	}
	args := []string{"-ddd", "-r", file}
	if !optimize {
		args = append(args, "-O")
	}
	return runTcpdump(append(args, "--", expr)...)
}

func runTcpdump(args ...string) ([]bpf.RawInstruction, error) {
	var out, msg bytes.Buffer
	c := exec.Command("tcpdump", args...)
	c.Stdout, c.Stderr = &out, &msg
	if err := c.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(msg.String()), "\n")
		return nil, errors.New(lines[len(lines)-1])
	}
	var n int
	fmt.Fscan(&out, &n)
	code := make([]bpf.RawInstruction, n)
	for i := range code {
		c := &code[i]
		if _, err := fmt.Fscan(&out, &c.Op, &c.Jt, &c.Jf, &c.K); err != nil {
			return nil, err
		}
	}
	return code, nil
}

// A refusal is a kind of expression that is refused.
type refusal struct {
	name string
	msg  *regexp.Regexp
}

// refusals are the kinds of expressions that libpcap takes and this package
// does not, by what its error says. docs/filters.md has the reasons.
var refusals = []refusal{
	{"host-names", regexp.MustCompile(`are not looked up`)},
	{"protochain", regexp.MustCompile(`protochain needs a loop`)},
	{"modulo-order", regexp.MustCompile(`has no agreed order`)},
	{"far-offset", regexp.MustCompile(`no packet has a byte at offset`)},
	{"byte", regexp.MustCompile(`"byte" is not in the language`)},
	{"ip-broadcast", regexp.MustCompile(`ip broadcast needs the interface's network mask`)},
	{"decnet-hosts", regexp.MustCompile(`decnet has no IPv4 addresses`)},
	{"after-geneve", regexp.MustCompile(`what follows geneve`)},
	{"folded-zero", regexp.MustCompile(`division by zero|a shift by \d+ bits`)},
}

// A verdict says how the two programs for an expression compare.
type verdict struct {
	name      string // "", or of a known difference
	ours, ref int    // instructions; 0: refused
	always    bool   // it accepts every packet that is long enough
	err       error  // a difference that is not known
}

// compare compares this package's program for the expression with tcpdump's.
func (r *reference) compare(expr string, l LinkType) verdict {
	target := Target{LinkType: l}
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

// diff runs both programs on the corpus. It returns the name of the known
// difference that it finds.
func (r *reference) diff(expr string, t Target, prog *Program, ref []bpf.RawInstruction) (string, error) {
	var plain []bpf.RawInstruction
	var quirky *Program
	name := ""
	for _, f := range corpus(t.LinkType) {
		got := prog.Match(f.data, f.wirelen, nil) != 0
		if got == f.passes(ref) {
			continue
		}
		if plain == nil {
			var err error
			if plain, err = r.compile(expr, t.LinkType, false); err != nil {
				return "", err
			}
			if quirky, err = compile(expr, t, true); err != nil {
				return "", err
			}
		}
		switch want := f.passes(plain); {
		case got == want && (f.fails(ref) || f.fails(plain)):
			name = "optimizer"
		case got == want:
			return "", fmt.Errorf("packet %x of %d bytes: tcpdump's optimizer changes the verdict, not for want of bytes", f.data, f.wirelen)
		case f.passes(quirky.Instructions) == want:
			name = "quirk"
		default:
			return "", fmt.Errorf("packet %x of %d bytes: got %v, want %v\n%s\n%s", f.data, f.wirelen, got, want, prog, &Program{Instructions: ref})
		}
	}
	return name, nil
}

// passes reports whether the program lets the packet through.
func (f frame) passes(code []bpf.RawInstruction) bool {
	m := machine{packet: f.data, wirelen: uint32(f.wirelen)}
	return m.run(code) != 0
}

// fails reports whether the program ends before its return: for want of bytes,
// or in a division by zero.
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
