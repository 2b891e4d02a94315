package filter

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"capd/internal/testnet"
)

// A sniffer is a tcpdump process that records what arrives at an interface.
type sniffer struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

// newSniffer starts tcpdump, and returns when it records.
func newSniffer(t *testing.T, name, expr string) *sniffer {
	t.Helper()
	c := exec.Command("tcpdump", "-i", name, "-Q", "in", "-s", "2000", "-U", "--immediate-mode", "-w", "-", "--", expr)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	msg, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Signal(os.Interrupt)
		io.Copy(io.Discard, out)
		c.Wait()
	})
	for lines := bufio.NewScanner(msg); ; {
		if !lines.Scan() {
			t.Fatal("tcpdump does not listen")
		}
		if strings.Contains(lines.Text(), "listening on") {
			break
		}
	}
	s := &sniffer{c, bufio.NewReader(out)}
	if _, err := s.out.Discard(24); err != nil { // the file's header
		t.Fatal(err)
	}
	return s
}

// until returns the recorded frames up to the one with the number last at its end.
func (s *sniffer) until(t *testing.T, last uint32) [][]byte {
	t.Helper()
	var frames [][]byte
	for {
		h := make([]byte, 16)
		if _, err := io.ReadFull(s.out, h); err != nil {
			t.Fatalf("%d frames, then: %v", len(frames), err)
		}
		b := make([]byte, binary.NativeEndian.Uint32(h[8:]))
		if _, err := io.ReadFull(s.out, b); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, b)
		if numberOf(b) >= last {
			return frames
		}
	}
}

func numberOf(b []byte) uint32 { return binary.BigEndian.Uint32(b[len(b)-4:]) }

// TestSideBySide sends tagged and untagged frames, and compares what passes a socket's filter, what
// passes tcpdump's filter, and what tcpdump's filter passes when it reads a file with all frames,
// where the tags are in the bytes.
func TestSideBySide(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump: ", err)
	}
	testnet.Veth(t, "side0", "side1", 1500)
	if b, err := os.ReadFile("/proc/self/setgroups"); err == nil && strings.TrimSpace(string(b)) == "deny" {
		t.Skip("tcpdump drops root's privileges before it records, which it can't do in a user namespace")
	}
	frames := taggedFrames()
	last := uint32(len(frames)) - 2 // each filter passes one of the last two
	sides := []*side{newSide(t, "vlan"), newSide(t, "vlan 100 and tcp port 80"), newSide(t, "not vlan")}
	all := newSniffer(t, "side1", "")
	s := testnet.NewSender(t, "side0")
	for _, f := range frames {
		s.Send(f)
	}
	recorded := all.until(t, last+1)
	if len(recorded) != len(frames) {
		t.Fatalf("%d frames of %d are in the file", len(recorded), len(frames))
	}
	for _, s := range sides {
		s.compare(t, recorded, last)
	}
}

// taggedFrames returns frames with zero to two tags and with their number at the end. The last two
// have the same segment, one with a tag and one without.
func taggedFrames() [][]byte {
	frames := numbered()
	tags := [][]byte{be32(0x88a800c8), be32(0x810000c8), slices.Concat(be32(0x88a80064), be32(0x810000c8)), be32(0x88a80064), be32(0x81000064), nil}
	for _, proto := range []byte{17, 6} {
		for _, port := range []int{443, 80} {
			for _, tag := range tags {
				b := datagram(proto, []byte{10, 0, 0, 1}, port).data
				frames = append(frames, slices.Concat(b[:12], tag, b[12:], be32(len(frames))))
			}
		}
	}
	return frames
}

// A side is one filter, applied in three places.
type side struct {
	expr    string
	fd      int
	tcpdump *sniffer
	file    *Program
}

// newSide starts recording with the filter.
func newSide(t *testing.T, expr string) *side {
	t.Helper()
	s := &side{expr: expr, tcpdump: newSniffer(t, "side1", expr)}
	live, err := Compile(expr, Target{LinkType: LinkEthernet, Live: true})
	if err != nil {
		t.Fatal(err)
	}
	if s.file, err = Compile(expr, Target{LinkType: LinkEthernet}); err != nil {
		t.Fatal(err)
	}
	s.fd = openLive(t, "side1", live)
	return s
}

// compare compares the numbers of the frames that passed. All frames of the file have arrived.
func (s *side) compare(t *testing.T, file [][]byte, last uint32) {
	t.Helper()
	var inFile, tcpdump []uint32
	for _, b := range file {
		if s.file.Match(b, len(b), nil) != 0 {
			inFile = append(inFile, numberOf(b))
		}
	}
	for _, b := range s.tcpdump.until(t, last) {
		tcpdump = append(tcpdump, numberOf(b))
	}
	if socket := receive(t, s.fd); !slices.Equal(socket, inFile) || !slices.Equal(socket, tcpdump) {
		t.Errorf("%q: the socket has %v, the file %v, tcpdump %v", s.expr, socket, inFile, tcpdump)
	}
	t.Logf("%4d of %d: %s", len(inFile), len(file), s.expr)
}
