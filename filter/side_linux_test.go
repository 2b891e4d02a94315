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

// A sniffer is a tcpdump that records what arrives at an interface.
type sniffer struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

// newSniffer returns once tcpdump records.
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

// until returns the recorded frames up to the one with the number at its end.
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

// TestSideBySide sends frames, tagged and not, and compares what passes a
// socket's filter, what passes tcpdump's, and what passes in tcpdump's file of
// all of them, where the tags are in the bytes.
func TestSideBySide(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump: ", err)
	}
	testnet.Veth(t, "side0", "side1", 1500)
	if b, err := os.ReadFile("/proc/self/setgroups"); err == nil && strings.TrimSpace(string(b)) == "deny" {
		t.Skip("tcpdump gives up root's rights before it records, and can't in a user namespace")
	}
	frames := taggedFrames()
	last := uint32(len(frames)) - 2 // Each filter lets one of the last two pass.
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

// taggedFrames returns frames with none, one and two tags, and their number at
// the end; the last two are of the same segment, with a tag and without.
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

// A side is one filter in three places.
type side struct {
	expr    string
	fd      int
	tcpdump *sniffer
	file    *Program
}

// newSide starts to record with the filter.
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

// compare compares the numbers of the frames that passed. Those of the file
// have all arrived.
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
