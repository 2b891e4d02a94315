package filter

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// A libpcap is a process that compiles expressions with libpcap.
type libpcap struct {
	path  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

// newLibpcap returns a reference that compiles like tcpdump, but several hundred times as fast,
// because it needs no process for each expression. It compiles for the interface live, or for a
// file if live is empty.
func newLibpcap(tb testing.TB, live string) reference {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "libpcap")
	buildLibpcap(tb, path)
	idle := make(chan *libpcap, runtime.GOMAXPROCS(0))
	for range cap(idle) {
		idle <- &libpcap{path: path}
	}
	tb.Cleanup(func() {
		for range cap(idle) {
			p := <-idle
			p.stop()
		}
	})
	return reference{compile: func(expr string, l LinkType, optimize bool) ([]bpf.RawInstruction, error) {
		p := <-idle
		defer func() { idle <- p }()
		source := live
		if source == "" {
			source = fmt.Sprint(uint16(l))
		}
		return p.compile(expr, source, optimize)
	}}
}

// buildLibpcap compiles testdata/libpcap.c. It links with -lpcap if libpcap's headers are
// installed, else with the library by its SONAME.
func buildLibpcap(tb testing.TB, path string) {
	tb.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		tb.Skip("needs gcc: ", err)
	}
	var out []byte
	var err error
	for _, lib := range []string{"-lpcap", "-l:libpcap.so.0.8", "-l:libpcap.so.1"} {
		if out, err = exec.Command("gcc", "-O2", "-o", path, "testdata/libpcap.c", lib).CombinedOutput(); err == nil {
			return
		}
	}
	tb.Skipf("needs libpcap: %v\n%s", err, out)
}

// compile starts the process if necessary: it may have crashed on the previous expression.
func (p *libpcap) compile(expr, source string, optimize bool) ([]bpf.RawInstruction, error) {
	if p.cmd == nil {
		if err := p.start(); err != nil {
			return nil, err
		}
	}
	flag := 0
	if optimize {
		flag = 1
	}
	fmt.Fprintf(p.in, "%s %d %d %s\n", source, DefaultSnaplen, flag, expr)
	line, err := p.lines.ReadString('\n')
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("libpcap crashed: %w", err)
	}
	if msg, ok := strings.CutPrefix(line, "error "); ok {
		return nil, fmt.Errorf("libpcap: %s", strings.TrimSpace(msg))
	}
	return parseDecimal(line)
}

func (p *libpcap) start() error {
	c := exec.Command(p.path)
	in, err := c.StdinPipe()
	if err != nil {
		return err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	p.cmd, p.in, p.lines = c, in, bufio.NewReader(out)
	return nil
}

func (p *libpcap) stop() {
	if p.cmd == nil {
		return
	}
	p.in.Close()
	p.cmd.Wait()
	p.cmd = nil
}

// newBoth returns a reference that runs tcpdump and checks that libpcap compiles the expression to
// the same program.
func newBoth(t *testing.T) reference {
	t.Helper()
	tcpdump, library := newReference(t), newLibpcap(t, "")
	return reference{compile: func(expr string, l LinkType, optimize bool) ([]bpf.RawInstruction, error) {
		code, err := tcpdump.compile(expr, l, optimize)
		again, againErr := library.compile(expr, l, optimize)
		if !slices.Equal(code, again) || (err == nil) != (againErr == nil) {
			t.Errorf("%s: %q: the library gives %v, %v; tcpdump %v, %v", l, expr, again, againErr, code, err)
		}
		return code, err
	}}
}
