package extract

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"capd/internal/hint"
	"capd/internal/read"
	"capd/pcap"

	"github.com/klauspost/compress/zstd"
)

// numbers appends 32-bit numbers and, as strings, what is filled up to a multiple of 4.
func numbers(order binary.AppendByteOrder, values ...any) (b []byte) {
	for _, v := range values {
		switch v := v.(type) {
		case int:
			b = order.AppendUint32(b, uint32(v))
		case [2]int:
			b = order.AppendUint16(order.AppendUint16(b, uint16(v[0])), uint16(v[1]))
		case string:
			b = append(append(b, v...), make([]byte, (4-len(v)%4)%4)...)
		}
	}
	return b
}

// block returns a block of pcapng.
func block(order binary.AppendByteOrder, kind int, values ...any) []byte {
	body := numbers(order, values...)
	n := len(body) + 12
	return slices.Concat(numbers(order, kind, n), body, numbers(order, n))
}

// packet is the frame of an ARP request, or of another protocol.
func packet(arp bool, n byte) string {
	frame := "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00" + string(n)
	if !arp {
		return frame + "\x88\xb5" + strings.Repeat("\x00", 46)
	}
	return frame + "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01\x02\x00\x00\x00\x00\x02\xc0\x00\x02\x01\x00\x00\x00\x00\x00\x00\xc0\x00\x02\x02"
}

// recording returns a pcapng file with what such a file may have, and the blocks of it that "arp" lets pass.
func recording(order binary.AppendByteOrder) (whole []byte, kept [][]byte) {
	add := func(keep bool, b []byte) {
		whole = append(whole, b...)
		if keep {
			kept = append(kept, b)
		}
	}
	epb := func(iface int, arp bool, n byte) []byte {
		data := packet(arp, n)
		return block(order, 6, iface, 0x60a24, int(n)<<20, len(data), len(data), data,
			[2]int{1, 5}, "hello", [2]int{2, 4}, 2, [2]int{5, 8}, 0, int(n), [2]int{0, 0})
	}
	add(false, block(order, 0x0a0d0d0a, 0x1a2b3c4d, [2]int{1, 0}, -1, -1, [2]int{1, 4}, "mine", [2]int{4, 4}, "tool", [2]int{0, 0}))
	add(true, block(order, 1, [2]int{1, 0}, 96, [2]int{2, 4}, "eth0", [2]int{3, 6}, "uplink", [2]int{11, 4}, "\x00tcp", [2]int{13, 1}, "\x04", [2]int{0, 0}))
	add(true, block(order, 1, [2]int{113, 0}, 0, [2]int{2, 3}, "any", [2]int{9, 1}, "\x09", [2]int{0, 0}))
	add(true, block(order, 10, 0x544c534b, 12, "CLIENT_RANDO"))
	add(true, block(order, 4, [2]int{1, 8}, "\xc0\x00\x02\x01a.b\x00", [2]int{0, 0}))
	add(true, epb(0, true, 1))
	add(false, epb(0, false, 2))
	add(true, block(order, 0xbad, 32473, "abcd"))
	cooked := "\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x02\x00\x00\x08\x06" + packet(true, 0)[14:]
	add(true, block(order, 6, 1, 0, 77, len(cooked), len(cooked), cooked))
	add(true, epb(0, true, 3))
	add(true, block(order, 5, 0, 0, 9, [2]int{4, 8}, 9, 0, [2]int{5, 8}, 3, 0, [2]int{0, 0}))
	add(false, block(order, 0x40000bad, 32473, "abcd"))
	return whole, kept
}

// classic returns a pcap file with an ARP request and another packet.
func classic(order binary.AppendByteOrder, magic, snaplen, link int) []byte {
	b := numbers(order, magic, [2]int{2, 4}, 0, 0, snaplen, link)
	for n, arp := range []bool{true, false} {
		data := packet(arp, byte(n))
		b = append(append(b, numbers(order, n+1, 999, len(data), len(data))...), data...)
	}
	return b
}

const (
	micro = 0xa1b2c3d4
	nano  = 0xa1b23c4d
	fcs   = 1<<26 | 4<<28 // there is one, of 4 bytes
)

// copied returns the file that a filter makes of others.
func copied(t *testing.T, expr string, files ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	c := Copy{Filter: read.NewFilter(expr), Application: "capd 1"}
	c.To(&out)
	if err := run(&c, files...); err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	return out.Bytes()
}

var orders = []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian}

// TestEqual: a filter that every packet passes makes an equal file.
func TestEqual(t *testing.T) {
	var files [][]byte
	for _, order := range orders {
		ng, _ := recording(order)
		files = append(files, ng, classic(order, micro, 65535, 1|fcs), classic(order, nano, 0, 1), frames(pcap.PCAP, pcap.LinkTypeEthernet, 1000))
	}
	for i, in := range files {
		for _, expr := range []string{"", "len >= 0"} {
			if got := copied(t, expr, in); !bytes.Equal(got, in) {
				t.Errorf("file %d, %q: got\n%x\nwant\n%x", i, expr, got, in)
			}
		}
		z, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := copied(t, "", z.EncodeAll(in, nil)); !bytes.Equal(got, in) {
			t.Errorf("file %d, compressed", i)
		}
	}
}

// TestKeeps: but for packets that do not pass, and what must not be copied, all is as it was, and a comment says which
// filters there were.
func TestKeeps(t *testing.T) {
	for _, order := range orders {
		in, kept := recording(order)
		got := copied(t, "arp", in)
		if at := order.(binary.ByteOrder).Uint32(got[4:]); !bytes.Equal(got[at:], bytes.Join(kept, nil)) {
			t.Errorf("%v: got\n%x\nwant\n%x", order, got[at:], bytes.Join(kept, nil))
		}
		again := copied(t, "len > 0", got)
		for _, want := range []string{"mine", `capd 1 kept the packets that match "arp"`, `capd 1 kept the packets that match "len > 0"`} {
			if !bytes.Contains(again, []byte(want)) {
				t.Errorf("%v: no comment %s", order, want)
			}
		}
		for _, magic := range []int{micro, nano} {
			in := classic(order, magic, 65535, 1|fcs)
			if got := copied(t, "arp", in); !bytes.Equal(got, in[:24+16+42]) {
				t.Errorf("%v, %x: got %x", order, magic, got)
			}
		}
	}
}

var numbered = regexp.MustCompile(`Number of packets = .*|\(\d+\)\n`)

// TestTsharkSeesTheSame: of the packets that pass, tshark prints the same before and after, and capinfos the same of the
// file.
func TestTsharkSeesTheSame(t *testing.T) {
	for _, tool := range []string{"tshark", "capinfos"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs ", tool)
		}
	}
	dir := t.TempDir()
	output := func(tool ...string) string {
		t.Helper()
		c := exec.Command(tool[0], tool[1:]...)
		c.Env = append(os.Environ(), "TZ=UTC")
		b, err := c.Output()
		if err != nil {
			t.Fatalf("%v: %v", tool, err)
		}
		return string(b)
	}
	for i, order := range orders {
		ng, _ := recording(order)
		for j, in := range [][]byte{ng, classic(order, [...]int{micro, nano}[i], 65535, 1|fcs)} {
			before, after := filepath.Join(dir, fmt.Sprintf("%d%d.a", i, j)), filepath.Join(dir, fmt.Sprintf("%d%d.b", i, j))
			if err := errors.Join(os.WriteFile(before, in, 0o600), os.WriteFile(after, copied(t, "arp", in), 0o600)); err != nil {
				t.Fatal(err)
			}
			// What counts packets, and times since the one before, can't be the same.
			counts := func(s string) bool {
				return slices.ContainsFunc([]string{"Frame ", "[Time delta", "[Time since", "Frame Number"}, func(p string) bool { return strings.HasPrefix(strings.TrimSpace(s), p) })
			}
			view := func(path string) string {
				return strings.Join(slices.DeleteFunc(strings.Split(output("tshark", "-r", path, "-Y", "arp", "-V"), "\n"), counts), "\n")
			}
			if a, b := view(before), view(after); a != b || !strings.Contains(a, "Address Resolution Protocol") {
				t.Errorf("%v, file %d: before\n%s\nafter\n%s", order, j, a, b)
			}
			info := func(path string) string {
				return numbered.ReplaceAllString(strings.ReplaceAll(output("capinfos", "-tEI", path), path, ""), "")
			}
			if a, b := info(before), info(after); a != b {
				t.Errorf("%v, file %d: before\n%s\nafter\n%s", order, j, a, b)
			}
		}
	}
}

// TestSeveral: files go into one in turn, if one can hold them.
func TestSeveral(t *testing.T) {
	le := binary.LittleEndian
	ng, _ := recording(le)
	big, _ := recording(binary.BigEndian)
	if got := copied(t, "", ng, big); !bytes.Equal(got, slices.Concat(ng, big)) {
		t.Error("sections do not follow each other")
	}
	a := classic(le, micro, 100, 1)
	if got := copied(t, "", a, a); !bytes.Equal(got, slices.Concat(a, a[24:])) {
		t.Errorf("packets do not follow each other: %x", got)
	}
	var out bytes.Buffer
	c := Copy{Filter: read.NewFilter("")}
	c.To(&out)
	if err := run(&c, a, classic(le, micro, 200, 1)); err == nil || !strings.Contains(err.Error(), "may be longer than") {
		t.Errorf("a larger snaplen, behind the header: %v", err)
	}
}

// TestExpect: what can't go into one file is refused before there is one, and the largest snaplen is known.
func TestExpect(t *testing.T) {
	le := binary.LittleEndian
	ng, _ := recording(le)
	dir := t.TempDir()
	var paths []string
	for i, b := range [][]byte{classic(le, micro, 100, 1), classic(le, micro, 200, 1), ng, classic(le, nano, 100, 1), classic(binary.BigEndian, micro, 100, 1), classic(le, micro, 100, 101), classic(le, micro, 100, 1|fcs)} {
		paths = append(paths, filepath.Join(dir, fmt.Sprint(i)))
		if err := os.WriteFile(paths[i], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range paths[2:] {
		err := new(Copy).Expect([]string{paths[0], other})
		if got := strings.Join(hint.Of(err), "\n"); err == nil || !strings.Contains(err.Error(), paths[0]) || !strings.Contains(err.Error(), other) || !strings.Contains(got, "mergecap") {
			t.Errorf("%s: %v, %q", other, err, got)
		}
	}
	var out bytes.Buffer
	c := Copy{Filter: read.NewFilter("")}
	if err := c.Expect(append(paths[:2:2], "-", filepath.Join(dir, "none"))); err != nil {
		t.Fatal(err)
	}
	c.To(&out)
	if err := run(&c, classic(le, micro, 100, 1), classic(le, micro, 200, 1)); err != nil || le.Uint32(out.Bytes()[16:]) != 200 || c.Passed != 4 {
		t.Errorf("%d passed, %v in %x", c.Passed, err, &out)
	}
}
