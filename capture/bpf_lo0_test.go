//go:build (darwin || freebsd || netbsd || openbsd) && (amd64 || arm64)

package capture_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"capd/capture"
	"capd/pcap"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// openLoopback opens lo0, or skips the test where that needs more privilege,
// unless CAPD_TEST_BPF says that it must not.
func openLoopback(t *testing.T) (*capture.Device, *capture.Handle) {
	t.Helper()
	d, err := capture.Open(capture.Config{Interface: "lo0", Promiscuous: true})
	if errors.Is(err, capture.ErrPermission) && os.Getenv("CAPD_TEST_BPF") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	t.Logf("ring of %d bytes, warnings %q", d.RingSize(), d.Warnings())
	h, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	return d, h
}

// A talker sends datagrams to itself over lo0.
type talker struct {
	net.PacketConn
	mark string // that each of them has
}

func newTalker(t *testing.T) talker {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return talker{c, fmt.Sprintf("capd-%d-", time.Now().UnixNano())}
}

func (s talker) port() int { return s.LocalAddr().(*net.UDPAddr).Port }

// send sends n datagrams of all lengths, and receives each before the next.
func (s talker) send(t *testing.T, n int) {
	t.Helper()
	buf := make([]byte, 2000)
	for i := range n {
		if _, err := s.WriteTo(fmt.Appendf(nil, "%s%05d%s", s.mark, i, strings.Repeat("x", i%1000)), s.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.ReadFrom(buf); err != nil {
			t.Fatal(err)
		}
	}
}

// A kept is a packet beyond its batch.
type kept struct {
	data   []byte
	length uint32
	at     time.Time
}

// drainMarked stops the handle and returns the talker's packets of all that
// it had, and how many those were.
func drainMarked(t *testing.T, h *capture.Handle, mark string) (marked []kept, all int) {
	t.Helper()
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	for {
		b, err := h.Next(patience)
		if err == capture.ErrClosed {
			return marked, all
		}
		if err != nil || b == nil {
			t.Fatal(b, err)
		}
		var pkts [32]pcap.Packet
		for n := b.Read(pkts[:]); n > 0; n = b.Read(pkts[:]) {
			all += n
			for _, p := range pkts[:n] {
				if bytes.Contains(p.Data, []byte(mark)) {
					marked = append(marked, kept{bytes.Clone(p.Data), p.Length, p.Time()})
				}
			}
		}
		if err := b.Err(); err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
}

func TestLoopback(t *testing.T) {
	_, h := openLoopback(t)
	if l := h.LinkType(); l != pcap.LinkTypeNull && l != pcap.LinkTypeLoop {
		t.Errorf("link type %v", l)
	}
	s := newTalker(t)
	before := time.Now().Add(-time.Second)
	s.send(t, 500)
	got, all := drainMarked(t, h, s.mark)
	if len(got) != 500 {
		t.Fatalf("%d datagrams of 500", len(got))
	}
	for i, p := range got {
		if !bytes.Contains(p.data, fmt.Appendf(nil, "%s%05d", s.mark, i)) || int(p.length) != len(p.data) {
			t.Fatalf("packet %d of %d bytes: %q", i, p.length, p.data)
		}
		if p.at.Before(before) || p.at.After(time.Now().Add(time.Second)) {
			t.Fatalf("packet %d at %v", i, p.at)
		}
	}
	if st, err := h.Stats(); err != nil || st.Received != uint64(all)+st.Dropped || st.Corrupt != 0 {
		t.Errorf("%+v, %v; %d read", st, err, all)
	}
}

// Close ends a Next that waits, and the device can be opened again.
func TestLoopbackClose(t *testing.T) {
	for range 5 {
		d, h := openLoopback(t)
		ended := make(chan error)
		go func() {
			for {
				if _, err := h.Next(-1); err != nil {
					ended <- err
					return
				}
			}
		}()
		d.Close()
		select {
		case err := <-ended:
			if err != capture.ErrClosed {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("Next hangs after Close")
		}
	}
}

func TestMissingInterface(t *testing.T) {
	if _, err := capture.Open(capture.Config{Interface: "none9"}); !errors.Is(err, capture.ErrNoInterface) {
		t.Error(err)
	}
}

func TestListInterfaces(t *testing.T) {
	all, err := capture.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Name == "lo0" && i.Loopback && i.Up && i.HardwareType == 24 && i.MTU > 0 && len(i.IPs) > 0 {
			return
		}
	}
	t.Errorf("no lo0 in %+v", all)
}

// The system's tcpdump sees the same bytes.
func TestAgainstTcpdump(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip(err)
	}
	const count = 300
	_, h := openLoopback(t)
	s := newTalker(t)
	var file bytes.Buffer
	wait := startTcpdump(t, &file, "-i", "lo0", "-n", "-s", "65535", "-c", fmt.Sprint(count), "-w", "-", fmt.Sprintf("udp and dst port %d", s.port()))
	s.send(t, count)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	ours, _ := drainMarked(t, h, s.mark)
	theirs := readFile(t, &file)
	if len(ours) != count || len(theirs) != count {
		t.Fatalf("%d packets, tcpdump has %d; want %d", len(ours), len(theirs), count)
	}
	for i := range ours {
		if !bytes.Equal(ours[i].data, theirs[i].data) || ours[i].length != theirs[i].length {
			t.Fatalf("packet %d is\n%x, tcpdump has\n%x", i, ours[i].data, theirs[i].data)
		}
		if d := ours[i].at.Sub(theirs[i].at).Abs(); d > time.Second {
			t.Errorf("packet %d: times are %v apart", i, d)
		}
	}
}

// startTcpdump returns when tcpdump listens. The function waits for its end.
// Tcpdump writes to a pipe: many systems' may create no file here.
func startTcpdump(t *testing.T, to io.Writer, args ...string) func() error {
	t.Helper()
	c := exec.Command("tcpdump", args...)
	c.Stdout = to
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	lines, said := make(chan string, 100), ""
	done := make(chan error, 1)
	go func() {
		for sc := bufio.NewScanner(stderr); sc.Scan(); {
			lines <- sc.Text()
		}
		close(lines)
		done <- c.Wait()
	}()
	for deadline := time.After(patience); !strings.Contains(said, "listening on"); {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("tcpdump ended: %s", said)
			}
			said += line + "\n"
		case <-deadline:
			t.Fatalf("tcpdump does not listen: %s", said)
		}
	}
	return func() error {
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("tcpdump does not end")
		}
	}
}

func readFile(t *testing.T, f io.Reader) []kept {
	t.Helper()
	r, err := pcap.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []kept
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, kept{bytes.Clone(p.Data), p.Length, p.Time()})
	}
}
