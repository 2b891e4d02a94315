package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"capd/pcap"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// ipFrame is an Ethernet frame from 10.0.0.1 to 10.0.0.2 of the protocol.
func ipFrame(proto byte, payload []byte) []byte {
	frame := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}
	ip := []byte{0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(payload)))
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	return append(append(frame, ip...), payload...)
}

// udpFrame is one whose UDP checksum was left out.
func udpFrame(from, to uint16, payload string) []byte {
	udp := binary.BigEndian.AppendUint16(nil, from)
	udp = binary.BigEndian.AppendUint16(udp, to)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	return ipFrame(17, append(append(udp, 0, 0), payload...))
}

func arpFrame() []byte {
	frame := []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1}
	return append(frame, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2)
}

// aMoment is when the packets of tests were captured.
func aMoment() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC) }

// encodeFrames makes a file of frames that came a millisecond after another.
func encodeFrames(h pcap.Header, frames ...[]byte) []byte {
	enc := pcap.NewEncoder(h)
	b := enc.Header()
	record := make([]byte, enc.MaxRecord())
	for i, frame := range frames {
		at := aMoment().Add(time.Duration(i) * time.Millisecond)
		n, _ := enc.Encode(record, []pcap.Packet{{
			Data: frame, Length: uint32(len(frame)), Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond()), Flags: pcap.FlagInbound,
		}})
		b = append(b, record[:n]...)
	}
	return b
}

// writeFrames writes a file of Ethernet frames.
func writeFrames(t *testing.T, f pcap.Format, iface string, frames ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in"+f.Ext())
	b := encodeFrames(pcap.Header{Format: f, LinkType: pcap.LinkTypeEthernet, Interface: iface}, frames...)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// runWatch runs watch in this process, where the local time is UTC.
func runWatch(args ...string) (code int, stdout, stderr string) {
	return watchIn(time.UTC, args...)
}

// watchIn runs watch where the local time is that of the zone.
func watchIn(zone *time.Location, args ...string) (code int, stdout, stderr string) {
	defer func(old *time.Location) { time.Local = old }(time.Local)
	time.Local = zone
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"watch"}, args...), &out, &errs, nil)
	return code, out.String(), errs.String()
}

// TestWatchFile compares what is shown of a file in each style with what was.
func TestWatchFile(t *testing.T) {
	syn := []byte{0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0x6b, 0x56, 0, 0}
	in := writeFrames(t, pcap.PCAPNG, "eth0", arpFrame(), udpFrame(5000, 53000, "hello"), ipFrame(6, syn))
	for name, args := range map[string]string{
		"lines": "", "date": "--date", "names": "-N", "layers": "-v", "bytes": "-x -s 60", "json": "--json", "json-all": "--json -v -x",
		"filter": "udp or arp", "count": "-c 1",
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := runWatch(append(strings.Fields(args), "-r", in)...)
			if code != 0 || stderr != "" {
				t.Fatalf("exit %d: %s", code, stderr)
			}
			golden := filepath.Join("testdata", "watch", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(stdout), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(golden); err != nil || string(want) != stdout {
				t.Errorf("%v; got\n%s\nwant\n%s\nIf that is meant: go test ./cmd/capd -run WatchFile -update", err, stdout, want)
			}
		})
	}
}

// TestWatchPCAP: that format has no names of interfaces.
func TestWatchPCAP(t *testing.T) {
	in := writeFrames(t, pcap.PCAP, "eth0", udpFrame(5000, 53000, "hello"))
	code, stdout, stderr := runWatch("-r", in)
	if code != 0 || !strings.HasPrefix(stdout, "03:04:05.678901 10.0.0.1:5000 > 10.0.0.2:53000, ") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	if _, stdout, _ := runWatch("--json", "-r", in); strings.Contains(stdout, `"interface"`) {
		t.Errorf("%s", stdout)
	}
}

// TestWatchCompressed: what capd has compressed is shown too, up to where it is
// torn.
func TestWatchCompressed(t *testing.T) {
	b := encodeFrames(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet}, slices.Repeat([][]byte{arpFrame(), udpFrame(1, 2, "x")}, 5000)...)
	zstd, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(b)
	g.Close()
	for ext, b := range map[string][]byte{".zst": zstd.EncodeAll(b, nil), ".gz": gz.Bytes()} {
		path := filepath.Join(t.TempDir(), "x.pcapng"+ext)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := runWatch("-r", path, "udp"); code != 0 || strings.Count(stdout, "10.0.0.2:2,") != 5000 {
			t.Errorf("%s: exit %d, %d bytes, %s", ext, code, len(stdout), stderr)
		}
		if err := os.Truncate(path, int64(len(b)-10)); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := runWatch("-r", path); code != exitFailed || !strings.HasPrefix(stderr, "capd: read "+path+": after ") {
			t.Errorf("%s: exit %d, %s", ext, code, stderr)
		}
	}
}

// TestWatchCooked: the interface is that of the packet's own header.
func TestWatchCooked(t *testing.T) {
	frame := append([]byte{8, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, udpFrame(1, 2, "x")[14:]...)
	path := filepath.Join(t.TempDir(), "any.pcapng")
	b := encodeFrames(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeLinuxSLL2, Interface: "any"}, frame, frame[:5])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runWatch("-r", path)
	lines := strings.Split(stdout, "\n")
	if code != 0 || len(lines) != 3 || !strings.Contains(lines[0], " if7 In 10.0.0.1:1 > 10.0.0.2:2, ") || !strings.Contains(lines[1], " any ") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}

// TestWatchEscapes: whatever a file says, nothing reaches the terminal but
// printable text.
func TestWatchEscapes(t *testing.T) {
	evil := "\x1b]0;owned\a\u202e\u009b31m \r\nx\x00\xff"
	in := writeFrames(t, pcap.PCAPNG, evil, udpFrame(53, 53, evil), udpFrame(1900, 80, "GET /"+evil+" HTTP/1.1\r\n"), []byte(evil))
	for _, args := range []string{"", "-v", "-x", "-N", "--json", "--json -v -x"} {
		code, stdout, stderr := runWatch(append(strings.Fields(args), "-r", in)...)
		if code != 0 {
			t.Errorf("exit %d: %s", code, stderr)
		}
		for _, r := range stdout {
			bytes := r == '\t' && strings.Contains(args, "-x")
			if r != '\n' && !bytes && !strconv.IsPrint(r) || r > '~' && strings.Contains(args, "--json") {
				t.Errorf("watch %s: %q in %q", args, r, stdout)
			}
		}
		if n := strings.Count(stdout, "owned"); n < 3 {
			t.Errorf("watch %s: %s", args, stdout)
		}
	}
}

func TestWatchJSON(t *testing.T) {
	in := writeFrames(t, pcap.PCAPNG, "été", arpFrame(), udpFrame(5000, 53000, "hello"), []byte{1}, nil)
	_, stdout, _ := runWatch("--json", "-x", "-r", in)
	n := 0
	for line := range strings.Lines(stdout) {
		var got struct {
			Time             time.Time
			Interface, Data  string
			LinkType         string `json:"link_type"`
			Length, Captured int
			Protocol         string
			Src              netip.Addr
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if at := aMoment().Add(time.Duration(n) * time.Millisecond); !got.Time.Equal(at) || got.Interface != "été" || got.LinkType != "ETHERNET" {
			t.Errorf("%v, %+v", at, got)
		}
		if n < 2 && (got.Length < 42 || got.Captured != got.Length || len(got.Data) != 2*got.Length || got.Src != netip.MustParseAddr("10.0.0.1")) {
			t.Errorf("%+v", got)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d objects", n)
	}
}

func TestWatchUsage(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("this is no capture file"), 0o600); err != nil {
		t.Fatal(err)
	}
	finished := writeFrames(t, pcap.PCAP, "", arpFrame())
	torn := writeFrames(t, pcap.PCAP, "", arpFrame(), arpFrame())
	if err := os.Truncate(torn, 24+58+20); err != nil {
		t.Fatal(err)
	}
	partial := torn + ".partial"
	if err := os.Link(torn, partial); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		want []string
	}{
		{"-r x -i eth0", exitUsage, []string{"-r and -i"}},
		{"-f", exitUsage, []string{"-f needs -r"}},
		{"-f -r -", exitUsage, []string{"standard input"}},
		{"-n -N -r x", exitUsage, []string{"-n and -N"}},
		{"-f -r x -r -", exitUsage, []string{"standard input"}},
		{"-tttttt -r x", exitUsage, []string{"-t may be given five times"}},
		{"-tt --date -r x", exitUsage, []string{"--date and -t"}},
		{"--json -A -r x", exitUsage, []string{"-A, -e and -t are for lines"}},
		{"-Z nobody -r x", exitUsage, []string{"-Z is for interfaces"}},
		{"-w " + finished + " -r " + finished, exitFailed, []string{"file exists", "hint: no file is replaced"}},
		{"-w " + dir + "/none/x -r " + finished, exitFailed, []string{"no such file", "hint: create the directory"}},
		{"-w " + dir + "/new -r " + text, exitFailed, []string{"neither pcap nor pcapng"}},
		{"-s -1 -r x", exitUsage, []string{"-s -1"}},
		{"-s 262145 -r x", exitUsage, []string{"-s 262145"}},
		{"--ring-size 100KiB", exitUsage, []string{"--ring-size 100KiB: not a multiple"}},
		{"-r " + dir + "/none", exitFailed, []string{"capd: open ", "no such file"}},
		{"-r " + finished + ".partial", exitFailed, []string{"no such file", "hint: it is finished by now: " + finished}},
		{"-r " + text, exitFailed, []string{"after 0 packets", "neither pcap nor pcapng"}},
		{"-f -r " + text, exitFailed, []string{"after 0 packets", "neither pcap nor pcapng"}},
		{"-r " + torn, exitFailed, []string{"after 1 packet: torn record", "arp"}},
		{"-r " + partial, exitFine, []string{"after 1 packet: torn record", "not finished; -f", "arp"}},
		{"-r " + finished + " tcp prot", exitFailed, []string{"filter: offset 4", "capd: hint: "}},
	} {
		code, stdout, stderr := runWatch(strings.Fields(c.args)...)
		if code != c.code {
			t.Errorf("watch %s: exit %d, want %d", c.args, code, c.code)
		}
		for _, part := range c.want {
			if !strings.Contains(stdout+stderr, part) {
				t.Errorf("watch %s: no %q in\n%s%s", c.args, part, stdout, stderr)
			}
		}
	}
	if _, err := os.Stat(dir + "/new"); !os.IsNotExist(err) {
		t.Errorf("a file without a packet is left after an error: %v", err)
	}
}
