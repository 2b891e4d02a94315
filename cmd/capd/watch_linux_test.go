package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"capd/internal/testnet"
	"capd/internal/text"
	"capd/pcap"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// A watcher is a capd watch that runs as a program.
type watcher struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *os.File        // what it prints; nil once read by lines
	lines chan string     // closed at its end
	all   strings.Builder // the same; to be read after that
	errs  said
}

// said collects what a program says, to be read meanwhile.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// startWatch starts a watch that prints into a pipe which nobody reads yet.
func startWatch(t *testing.T, args ...string) *watcher {
	t.Helper()
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{t: t, out: rd}
	w.start(wr, args...)
	return w
}

func (w *watcher) start(stdout *os.File, args ...string) {
	w.t.Helper()
	w.cmd, _ = process(w.t, append([]string{"watch"}, args...)...)
	w.cmd.Stdout, w.cmd.Stderr = stdout, &w.errs
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	stdout.Close()
	w.t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		_ = w.cmd.Wait()
		w.out.Close()
	})
}

// read begins to read the lines.
func (w *watcher) read() {
	w.lines = make(chan string, 1<<20)
	go func() {
		defer close(w.lines)
		for s := bufio.NewScanner(w.out); s.Scan(); {
			w.all.WriteString(s.Text() + "\n")
			w.lines <- s.Text()
		}
	}()
}

// watching starts a watch and returns when it shows what send sends.
func watching(t *testing.T, send func(), args ...string) *watcher {
	t.Helper()
	w := startWatch(t, args...)
	w.read()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for deadline := time.After(patience); ; {
		send()
		select {
		case _, ok := <-w.lines:
			if !ok {
				t.Fatalf("it ended: %s", w.errs.String())
			}
			return w
		case <-again.C:
		case <-deadline:
			t.Fatalf("nothing is shown: %s", w.errs.String())
		}
	}
}

// until returns the first line that has the text.
func (w *watcher) until(text string) string {
	w.t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case line, ok := <-w.lines:
			if !ok {
				w.t.Fatalf("it ended before %q: %s", text, w.errs.String())
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			w.t.Fatalf("no %q is shown: %s", text, w.errs.String())
		}
	}
}

// interrupt ends it as Ctrl-C does, and returns the lines left.
func (w *watcher) interrupt() []string {
	w.t.Helper()
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		w.t.Fatal(err)
	}
	return w.end(exitFine)
}

// end awaits the end, and returns the lines left.
func (w *watcher) end(code int) []string {
	w.t.Helper()
	slow := time.AfterFunc(patience, func() { _ = w.cmd.Process.Kill() })
	defer slow.Stop()
	_ = w.cmd.Wait()
	if got := w.cmd.ProcessState.ExitCode(); got != code {
		w.t.Errorf("exit %d, want %d: %s", got, code, w.errs.String())
	}
	var rest []string
	for line := range w.lines {
		rest = append(rest, line)
	}
	return rest
}

// counted is the number that the summary says of something.
func (w *watcher) counted(what string) int {
	w.t.Helper()
	m := regexp.MustCompile(`(?m)^(\d+) packets? ` + what + `$`).FindStringSubmatch(w.errs.String())
	if m == nil {
		w.t.Fatalf("no packets %s in %s", what, w.errs.String())
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// TestWatchLive: a packet of a quiet line shows at once, and at the end all
// counts agree.
func TestWatchLive(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	s := testnet.NewSender(t, "v0")
	w := watching(t, func() { s.Send(udpFrame(1, 2, "begin")) }, "-i", "v1", "ip")
	for i := range 5 {
		port := fmt.Sprintf("10.0.0.2:%d", 1000+i)
		s.Send(udpFrame(1, uint16(1000+i), "x"))
		line := w.until(port)
		if !regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{6} v1 P 10\.0\.0\.1:1 > ` + port + `, udp `).MatchString(line) {
			t.Errorf("%q", line)
		}
	}
	for range 1000 {
		s.Send(udpFrame(1, 7, "x"))
	}
	s.Send(udpFrame(1, 8, "x"))
	w.until("10.0.0.2:8,")
	w.interrupt()
	shown := w.counted("shown")
	if shown < 1007 || w.counted("captured") != shown || w.counted("dropped by the kernel") != 0 || strings.Contains(w.errs.String(), "not shown") {
		t.Errorf("%s", w.errs.String())
	}
}

// TestWatchFilterLive: the kernel keeps away what the filter does not take.
func TestWatchFilterLive(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	s := testnet.NewSender(t, "v0")
	w := watching(t, func() { s.Send(udpFrame(1, 2, "begin")) }, "-i", "v1", "udp", "port", "2")
	for range 100 {
		s.Send(udpFrame(1, 3, "no"))
		s.Send(arpFrame())
	}
	s.Send(udpFrame(2, 9, "the last"))
	w.until("10.0.0.1:2 >")
	for _, line := range w.interrupt() {
		t.Errorf("%q", line)
	}
	if strings.Contains(w.errs.String(), "not shown") || w.counted("captured") != w.counted("shown") {
		t.Errorf("%s", w.errs.String())
	}
}

// TestWatchCount: the N packets, the summary, and no more.
func TestWatchCount(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	s := testnet.NewSender(t, "v0")
	w := watching(t, func() {
		for range 20 {
			s.Send(udpFrame(1, 2, "x"))
		}
	}, "-i", "v1", "-c", "10", "udp")
	if rest := w.end(exitFine); len(rest) != 9 || w.counted("shown") != 10 || w.counted("captured") < 10 {
		t.Errorf("%d more lines; %s", len(rest), w.errs.String())
	}
}

// TestWatchInterfaces: each packet is shown with its own interface, of rings
// that were named and of all together.
func TestWatchInterfaces(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	testnet.Veth(t, "v2", "v3", 1500)
	a, b := testnet.NewSender(t, "v0"), testnet.NewSender(t, "v2")
	for _, args := range []string{"-i v1 -i v3", ""} {
		w := watching(t, func() { a.Send(udpFrame(1, 2, "x")) }, append(strings.Fields(args), "udp")...)
		a.Send(udpFrame(1, 1001, "x"))
		if len(args) == 0 { // as sent, and then as received: for another host
			w.until(" v0 Out 10.0.0.1:1 > 10.0.0.2:1001,")
		}
		w.until(" v1 P 10.0.0.1:1 > 10.0.0.2:1001,")
		b.Send(udpFrame(1, 1003, "x"))
		w.until(" v3 P 10.0.0.1:1 > 10.0.0.2:1003,")
		w.interrupt()
		if each := strings.Count(w.errs.String(), " captured, 0 dropped by the kernel\n"); each != len(strings.Fields(args))/2 {
			t.Errorf("%q: %s", args, w.errs.String())
		}
	}
}

// TestWatchRemoved: an interface that goes ends its ring, and the last one the
// program.
func TestWatchRemoved(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	testnet.Veth(t, "v2", "v3", 1500)
	a, b := testnet.NewSender(t, "v0"), testnet.NewSender(t, "v2")
	w := watching(t, func() { a.Send(udpFrame(1, 2, "x")) }, "-i", "v1", "-i", "v3", "udp")
	testnet.SetUp(t, "v1", false)
	w.says("v1 is down")
	testnet.Remove(t, "v1")
	w.says("watch v1: ")
	b.Send(udpFrame(1, 1003, "x"))
	w.until(" v3 ")
	testnet.Remove(t, "v3")
	w.end(exitFailed)
	if got := w.errs.String(); strings.Count(got, "interface is gone") != 2 || w.counted("shown") < 2 {
		t.Errorf("%s", got)
	}
}

// says waits for a notice.
func (w *watcher) says(text string) {
	w.t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.After(patience); !strings.Contains(w.errs.String(), text); {
		select {
		case <-look.C:
		case <-deadline:
			w.t.Fatalf("no %q in %s", text, w.errs.String())
		}
	}
}

// TestWatchDrops: while nobody reads the lines the kernel's ring fills, what it
// drops is told, and in the end every packet is counted.
func TestWatchDrops(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	s := testnet.NewSender(t, "v0")
	w := startWatch(t, "-i", "v1", "--ring-size", "2MiB", "udp")
	large := udpFrame(1, 2, strings.Repeat("x", 1400))
	const notice = " dropped by the kernel, "
	for deadline := time.Now().Add(patience); !strings.Contains(w.errs.String(), notice); {
		if time.Now().After(deadline) {
			t.Fatalf("no drop is told: %s", w.errs.String())
		}
		for range 100 {
			s.Send(large)
		}
	}
	w.read()
	w.until(" v1 ")
	shown := 1 + len(w.interrupt())
	dropped, captured := w.counted("dropped by the kernel"), w.counted("captured")
	if w.counted("shown") != shown || dropped == 0 || captured < shown {
		t.Errorf("%d lines; %s", shown, w.errs.String())
	}
	if captured > shown && w.counted("captured and not shown before the end") != captured-shown {
		t.Errorf("%d lines; %s", shown, w.errs.String())
	}
	var told, all int
	last := w.errs.String()[strings.LastIndex(w.errs.String(), "capd: "):]
	if _, err := fmt.Sscanf(last, "capd: %d packets"+notice+"%d in all", &told, &all); err != nil || told == 0 || all > dropped {
		t.Errorf("%v: %s", err, w.errs.String())
	}
}

// TestWatchSignals: a second signal within a second is the same, as timeout(1)
// sends two. The summary is whole then, and so is the file.
func TestWatchSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		testnet.Veth(t, "v0", "v1", 1500)
		s := testnet.NewSender(t, "v0")
		out := filepath.Join(t.TempDir(), "out.pcapng")
		w := watching(t, func() { s.Send(udpFrame(1, 2, "x")) }, "-i", "v1", "-w", out, "udp")
		for range 5 {
			if err := w.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
		}
		w.end(exitFine)
		code, stdout, stderr := capd("filter", "-r", out)
		if n := w.counted("shown"); n < 1 || code != 0 || stdout != fmt.Sprintf("%[1]d of %s passed\n", n, text.Count(uint64(n), "packet")) {
			t.Errorf("%v: %s\nexit %d, %s%s", sig, w.errs.String(), code, stdout, stderr)
		}
		s.Close()
		testnet.Remove(t, "v0")
	}
}

// TestWatchSaves: the packets of each interface, with its name, filter and counts.
func TestWatchSaves(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	testnet.Veth(t, "v2", "v3", 1500)
	a, b := testnet.NewSender(t, "v0"), testnet.NewSender(t, "v2")
	for _, args := range []string{"-i v1 -i v3", ""} {
		out := filepath.Join(t.TempDir(), "out.pcapng")
		w := watching(t, func() { a.Send(udpFrame(1, 2, "x")) }, append(strings.Fields(args), "-w", out, "udp")...)
		b.Send(udpFrame(1, 1003, "x"))
		w.until(" v3 P 10.0.0.1:1 > 10.0.0.2:1003,")
		w.interrupt()
		code, stdout, stderr := capd("watch", "-r", out)
		if lines := slices.Sorted(strings.Lines(stdout)); code != 0 || !slices.Equal(lines, slices.Sorted(strings.Lines(w.all.String()))) && args != "" {
			t.Errorf("%q: exit %d, %s\nof the file: %s\nlive: %s", args, code, stderr, stdout, w.all.String())
		}
		if n := strings.Count(stdout, "\n"); n != w.counted("shown") {
			t.Errorf("%q: %d of %s", args, n, w.errs.String())
		}
		if _, err := exec.LookPath("capinfos"); err != nil {
			continue
		}
		info, err := exec.Command("capinfos", out).CombinedOutput()
		for _, want := range []string{"Name = v3", "Filter string = udp", "Number of stat entries = 1"} {
			if err != nil || !strings.Contains(string(info), want) {
				t.Errorf("%q: no %q in %v\n%s", args, want, err, info)
			}
		}
	}
}

// TestWatchBlocked: the signal ends it, though nobody takes its lines.
func TestWatchBlocked(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	s := testnet.NewSender(t, "v0")
	w := startWatch(t, "-i", "v1", "--ring-size", "2MiB", "udp")
	// Blocked is who prints nothing from one notice to the next.
	notices, before := 0, 0
	for deadline := time.Now().Add(patience); ; {
		if time.Now().After(deadline) {
			t.Fatalf("it is not blocked: %s", w.errs.String())
		}
		if n := strings.Count(w.errs.String(), "dropped by the kernel"); n > notices {
			now := w.unread()
			if now > 0 && now == before {
				break
			}
			notices, before = n, now
		}
		for range 100 {
			s.Send(udpFrame(1, 2, strings.Repeat("x", 1400)))
		}
	}
	w.lines = make(chan string)
	close(w.lines)
	w.interrupt()
	if w.counted("dropped by the kernel") == 0 || w.counted("shown") > w.counted("captured") {
		t.Errorf("%s", w.errs.String())
	}
}

// unread is how many bytes the pipe of the lines has.
func (w *watcher) unread() int {
	var n int32
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, w.out.Fd(), syscall.TIOCINQ, uintptr(unsafe.Pointer(&n))); e != 0 {
		w.t.Fatal(e)
	}
	return int(n)
}

// TestWatchBrokenPipe: the end of the reader, such as head, is no error.
func TestWatchBrokenPipe(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	s := testnet.NewSender(t, "v0")
	w := startWatch(t, "-i", "v1")
	w.out.Close()
	w.lines = make(chan string)
	close(w.lines)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.end(exitFine)
	}()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		s.Send(udpFrame(1, 2, "x"))
		select {
		case <-ended:
			if w.errs.String() != "" {
				t.Errorf("%s", w.errs.String())
			}
			return
		case <-again.C:
		}
	}
}

// TestWatchStdin reads a file that comes through a pipe, and shows each packet
// as it comes.
func TestWatchStdin(t *testing.T) {
	b := encodeFrames(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"}, arpFrame(), udpFrame(1, 2, "x"))
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{t: t, out: out}
	w.cmd, _ = process(t, "watch", "-r", "-")
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = rd, to, &w.errs
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	rd.Close()
	to.Close()
	w.read()
	cut := len(b) - 5
	if _, err := wr.Write(b[:cut]); err != nil {
		t.Fatal(err)
	}
	w.until("arp who-has")
	if _, err := wr.Write(b[cut:]); err != nil {
		t.Fatal(err)
	}
	w.until("10.0.0.2:2")
	wr.Close()
	w.end(exitFine)
}

// openTerminal opens a terminal: what is written to the one end is read from
// the other.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs a terminal of its own: %v", err)
	}
	t.Cleanup(func() { m.Close() })
	var unlock, n int32
	for _, c := range []struct {
		request uintptr
		arg     *int32
	}{{syscall.TIOCSPTLCK, &unlock}, {syscall.TIOCGPTN, &n}} {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, m.Fd(), c.request, uintptr(unsafe.Pointer(c.arg))); e != 0 {
			t.Skipf("needs a terminal of its own: %v", e)
		}
	}
	s, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs a terminal of its own: %v", err)
	}
	return m, s
}

// TestWatchColours are for terminals, of those who want them.
func TestWatchColours(t *testing.T) {
	in := writeFrames(t, pcap.PCAPNG, "eth0", arpFrame(), udpFrame(1, 2, "x"))
	const plain = "03:04:05.679901 eth0 In 10.0.0.1:1 > 10.0.0.2:2, udp "
	for _, c := range []struct {
		env    string
		tty    bool
		colour bool
	}{{"TERM=xterm", true, true}, {"NO_COLOR=1", true, false}, {"NO_COLOR=", true, true}, {"TERM=dumb", true, false}, {"TERM=xterm", false, false}} {
		cmd, _ := process(t, "watch", "-r", in)
		cmd.Env = append(cmd.Env, "TZ=UTC", "TERM=xterm", c.env)
		var got bytes.Buffer
		if c.tty {
			m, s := openTerminal(t)
			cmd.Stdout = s
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			s.Close()
			_, _ = io.Copy(&got, m) // until the last who has the terminal is gone
		} else {
			cmd.Stdout = &got
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		escaped := strings.Contains(got.String(), "\x1b[")
		bare := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(got.String(), "")
		if escaped != c.colour || !strings.Contains(bare, plain) {
			t.Errorf("%+v: %q", c, &got)
		}
	}
}
