//go:build (darwin || freebsd || netbsd || openbsd) && (amd64 || arm64)

package bpf_test

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
	"capd/config"
	"capd/pcap"
)

// patience is how long a test waits for an expected event.
const patience = 20 * time.Second

// openLoopback opens lo0. Without sufficient privilege it skips the test, or fails it if
// CAPD_TEST_BPF is set.
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
	mark string // contained in each datagram
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

// send sends n datagrams of different lengths, and receives each one before it sends the next.
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

// A kept is a copy of a packet.
type kept struct {
	data   []byte
	length uint32
	at     time.Time
}

// drainMarked stops the handle. It returns the talker's packets among all those that the handle
// still has, and the number of all.
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

// TestLoopbackClose: Close ends a waiting Next, and the device can be opened again.
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

// TestLoopbackTwo: two devices on one interface receive the same frames, with times that differ by
// at most the documented skew. A gated device has no frames before it is admitted.
func TestLoopbackTwo(t *testing.T) {
	_, first := openLoopback(t)
	d, err := capture.Open(capture.Config{Interface: "lo0", Gated: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := newTalker(t)
	s.send(t, 100)
	if err := d.Admit(); err != nil {
		t.Fatal(err)
	}
	s.send(t, 500)
	second, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	a, _ := drainMarked(t, first, s.mark)
	b, _ := drainMarked(t, second, s.mark)
	if len(a) != 600 || len(b) != 500 {
		t.Fatalf("%d and %d datagrams, want 600 and 500", len(a), len(b))
	}
	for i, p := range b {
		twin := a[100+i]
		// Reloads rely on it that the newer device never has the later time.
		if apart := twin.at.Sub(p.at); !bytes.Equal(p.data, twin.data) || apart < 0 || apart > d.Skew() {
			t.Errorf("datagram %d: times are %v apart, want 0 to %v; %q and %q", i, apart, d.Skew(), p.data, twin.data)
		}
	}
}

func TestLoopbackLinkTypes(t *testing.T) {
	_, h := openLoopback(t)
	all, err := capture.LinkTypes("lo0")
	if err != nil || len(all) == 0 || all[0] != h.LinkType() {
		t.Fatalf("%v, %v: a device has %v", all, err, h.LinkType())
	}
	d, err := capture.Open(capture.Config{Interface: "lo0", LinkType: all[0].String()})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := capture.Open(capture.Config{Interface: "lo0", LinkType: "EN10MB"}); !errors.Is(err, capture.ErrLinkType) || !strings.Contains(err.Error(), all[0].String()) {
		t.Errorf("%v", err)
	}
}

// TestLoopbackReload: with reloads under load, the daemon records every datagram once and in order.
func TestLoopbackReload(t *testing.T) {
	openLoopback(t)
	s := newStation(t, nil, "lo0")
	talk := newTalker(t)
	s.cfg.Interfaces[0].Filter = fmt.Sprintf("udp port %d", talk.port())
	s.start()
	stop, sent := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for buf := make([]byte, 100); ; n++ {
			select {
			case <-stop:
				sent <- n
				return
			default:
			}
			_, err := talk.WriteTo(fmt.Appendf(nil, "%s%05d", talk.mark, n), talk.LocalAddr())
			if err == nil {
				_, _, err = talk.ReadFrom(buf)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}()
	s.await("the first frames", func() bool { return s.status("lo0").Writer.Accepted > 300 })
	for _, change := range []func(*config.Interface){
		func(i *config.Interface) { i.Snaplen = 2000 },
		func(i *config.Interface) { i.Filter = fmt.Sprintf("udp dst port %d", talk.port()) },
		func(i *config.Interface) { i.RingSize *= 2 },
	} {
		s.reloadBusy("lo0", change)
	}
	close(stop)
	want := <-sent
	s.await("the last frame", func() bool { return s.status("lo0").Writer.Accepted >= uint64(want) })
	st := s.end()[0]
	files, got := s.frames("lo0")
	if files != 4 || len(got) != want {
		t.Fatalf("%d files of %d datagrams, want %d: %+v", files, len(got), want, st)
	}
	for n, f := range got {
		if !bytes.HasSuffix(f.data, fmt.Appendf(nil, "%s%05d", talk.mark, n)) {
			t.Fatalf("datagram %d is %q", n, f.data)
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

// TestAgainstTcpdump: the system's tcpdump captures the same bytes.
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

// startTcpdump returns when tcpdump captures. The returned function waits for its end. tcpdump
// writes to a pipe, because on many systems it may not create files here.
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
	lines, output := make(chan string, 100), ""
	done := make(chan error, 1)
	go func() {
		for sc := bufio.NewScanner(stderr); sc.Scan(); {
			lines <- sc.Text()
		}
		close(lines)
		done <- c.Wait()
	}()
	for deadline := time.After(patience); !strings.Contains(output, "listening on"); {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("tcpdump ended: %s", output)
			}
			output += line + "\n"
		case <-deadline:
			t.Fatalf("tcpdump does not listen: %s", output)
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
