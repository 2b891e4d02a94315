package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/pcap"
)

// TestWatchZones: the zone is in what --date shows, is said where it changes, and
// is none of --json and of -u.
func TestWatchZones(t *testing.T) {
	zone, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Skip("needs time zones: ", err)
	}
	path := filepath.Join(t.TempDir(), "in.pcap")
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAP, LinkType: pcap.LinkTypeEthernet})
	b, record := enc.Header(), make([]byte, enc.MaxRecord())
	for _, hour := range []int{0, 1} { // summer time begins, and ends a year before
		at := time.Date(2026, 3, 29, hour, 30, 0, 0, time.UTC)
		n, _ := enc.Encode(record, []pcap.Packet{{Data: arpFrame(), Length: 42, Sec: uint32(at.Unix())}})
		b = append(b, record[:n]...)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]struct{ first, second, said string }{
		"":           {"00:30:00.000000 ", "02:30:00.000000 ", "capd: times are in local time, BST (UTC+01:00); -u shows UTC\n"},
		"-u":         {"00:30:00.000000 ", "01:30:00.000000 ", ""},
		"--date":     {"2026-03-29T00:30:00.000000Z ", "2026-03-29T02:30:00.000000+01:00 ", ""},
		"--date -u":  {"2026-03-29T00:30:00.000000Z ", "2026-03-29T01:30:00.000000Z ", ""},
		"--json":     {`{"time":"2026-03-29T00:30:00.000000000Z",`, `{"time":"2026-03-29T01:30:00.000000000Z",`, ""},
		"-tttt -u":   {"2026-03-29 00:30:00.000000 ", "2026-03-29 01:30:00.000000 ", ""},
		"--json -u":  {`{"time":"2026-03-29T00:30:00.000000000Z",`, `{"time":"2026-03-29T01:30:00.000000000Z",`, ""},
		"-ttt -u":    {" 00:00:00.000000 ", " 01:00:00.000000 ", ""},
		"-tt":        {"1774744200.000000 ", "1774747800.000000 ", ""},
		"-t -e -c 2": {"02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: 02:", "02:", ""},
	} {
		_, stdout, stderr := watchIn(zone, append(strings.Fields(args), "-r", path)...)
		lines := strings.SplitAfter(stdout, "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[0], want.first) || !strings.HasPrefix(lines[1], want.second) || stderr != want.said {
			t.Errorf("%q: %q, %q", args, lines, stderr)
		}
	}
}

// TestWatchSequenceNumbers: they are relative, absolute with -S, and those of the
// wire in objects.
func TestWatchSequenceNumbers(t *testing.T) {
	segment := func(seq, ack byte, flags byte) []byte {
		return ipFrame(6, []byte{0x30, 0x39, 0, 80, 1, 0, 0, seq, 2, 0, 0, ack, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0})
	}
	in := writeFrames(t, pcap.PCAPNG, "eth0", segment(5, 9, 16), segment(5, 12, 17))
	for args, want := range map[string]string{"": "seq 0, ack 4,", "-S": "seq 16777221, ack 33554444,", "--json": "seq 16777221, ack 33554444,", "-v": "relative sequence 0, relative acknowledgment 4"} {
		if _, stdout, _ := runWatch(append(strings.Fields(args), "-r", in)...); !strings.Contains(stdout, "ack 33554441,") || !strings.Contains(stdout, want) {
			t.Errorf("%q: %s", args, stdout)
		}
	}
}

// TestWatchText: the bytes as text can't look like the line of another packet.
func TestWatchText(t *testing.T) {
	in := writeFrames(t, pcap.PCAPNG, "eth0", udpFrame(5000, 53000, "a\r\n03:04:05.678901 eth0 forged\x1b[31m"))
	_, stdout, _ := runWatch("-A", "-r", in)
	lines := strings.Split(stdout, "\n")
	if n := len(lines); n != 6 || !strings.HasPrefix(lines[1], "\tE..") || lines[4] != "\t03:04:05.678901 eth0 forged.[31m" {
		t.Errorf("%q", lines)
	}
}

// TestWatchWrites: of pcapng all that belongs to the packets, of pcap the packets,
// one file after the other, to a file or standard output.
func TestWatchWrites(t *testing.T) {
	ng := writeFrames(t, pcap.PCAPNG, "eth0", arpFrame(), udpFrame(1, 2, "x"))
	old := writeFrames(t, pcap.PCAP, "", arpFrame(), udpFrame(1, 3, "x"), udpFrame(1, 4, "x"))
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for args, want := range map[string]string{
		"-r " + ng:                           "arp,2",
		"-r " + ng + " udp":                  "2",
		"-r " + ng + " -c 1":                 "arp",
		"-r " + ng + " tcp":                  "",
		"-r " + old + " udp":                 "3,4",
		"-r " + old + " tcp":                 "",
		"-r " + old + " -r " + ng:            "arp,3,4,arp,2",
		"-r " + ng + " -r " + old + " -s 20": "arp,2,arp,3,4",
	} {
		out := filepath.Join(t.TempDir(), "out.pcapng")
		code, shown, stderr := runWatch(append(strings.Fields(args), "-w", out)...)
		_, back, _ := runWatch("-r", out)
		var got []string
		for line := range strings.Lines(back) {
			_, port, isUDP := strings.Cut(line, "10.0.0.2:")
			if port, _, _ = strings.Cut(port, ","); !isUDP {
				port = "arp"
			}
			got = append(got, port)
		}
		if code != 0 || stderr != "" || strings.Join(got, ",") != want || strings.Count(shown, "\n") != len(got) {
			t.Errorf("%s: exit %d, %q, %s%s", args, code, got, shown, stderr)
		}
		if b := read(out); args == "-r "+ng && !bytes.Equal(b, read(ng)) {
			t.Errorf("%s: the file differs from the old", args)
		}
		if tshark, err := exec.LookPath("tshark"); err == nil {
			said, err := exec.Command(tshark, "-r", out, "-T", "fields", "-e", "frame.cap_len").Output()
			if n := strings.Count(string(said), "\n"); err != nil || n != len(got) {
				t.Errorf("%s: %v, tshark reads %d", args, err, n)
			}
		}
		code, stdout, stderr := runWatch(append(strings.Fields(args), "-w", "-")...)
		if code != 0 || stderr != "" || stdout != string(read(out)) {
			t.Errorf("%s -w -: exit %d, %d bytes, %s", args, code, len(stdout), stderr)
		}
	}
}

// TestWatchWritesUnknownTimes: that no time is known stays visible, in Wireshark as
// no time or a comment, and not as the year 1970.
func TestWatchWritesUnknownTimes(t *testing.T) {
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAP, LinkType: pcap.LinkTypeEthernet})
	record := make([]byte, enc.MaxRecord())
	b := enc.Header()
	for _, p := range []pcap.Packet{
		{Data: arpFrame(), Length: 42, Sec: 1767323045}, {Data: arpFrame(), Length: 42}, {Data: arpFrame(), Length: 1500}, {Data: arpFrame()[:41], Length: 41, Nsec: 2e9},
		{Data: arpFrame(), Length: 42, Sec: 1767323046},
	} {
		n, _ := enc.Encode(record, []pcap.Packet{p})
		b = append(b, record[:n]...)
	}
	in, out := filepath.Join(t.TempDir(), "in.pcap"), filepath.Join(t.TempDir(), "out.pcapng")
	if err := os.WriteFile(in, b, 0o600); err != nil {
		t.Fatal(err)
	}
	code, shown, stderr := runWatch("-r", in, "-w", out, "--json", "-x")
	_, back, _ := runWatch("-r", out, "--json", "-x")
	if code != 0 || shown != back || strings.Count(shown, `{"time":`) != 2 || strings.Count(shown, "\n") != 5 {
		t.Errorf("exit %d, %s\n%s\n%s", code, stderr, shown, back)
	}
	// What filter copies keeps it too.
	for _, from := range []string{in, out} {
		var again, errs bytes.Buffer
		code := run(t.Context(), []string{"filter", "-r", from, "-w", "-", "arp or len > 1"}, &again, &errs, nil)
		copied := filepath.Join(t.TempDir(), "copied")
		if err := os.WriteFile(copied, again.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, shown, _ := runWatch("-r", copied, "--json", "-x"); code != 0 || shown != back {
			t.Errorf("filter: exit %d, %s", code, shown)
		}
	}
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("needs tshark: ", err)
	}
	said, err := exec.Command(tshark, "-r", out, "-T", "fields", "-E", "separator=/s", "-e", "frame.time_epoch", "-e", "frame.comment").Output()
	want := []string{"1767323045.000000000", "", "0.000000000 the capture time is unknown", "", "1767323046.000000000"}
	var got []string
	for line := range strings.Lines(string(said)) {
		got = append(got, strings.TrimSpace(line))
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, tshark says %q", err, got)
	}
}

// TestWatchUser: root becomes who called sudo, or nobody, or who is named.
func TestWatchUser(t *testing.T) {
	for _, c := range []struct {
		user, file string
		euid       int
		sudo       string
		want       string // name, empty if the user stays
		fails      bool
	}{
		{"", "", 0, "", "nobody", false},
		{"", "", 0, "0", "nobody", false},
		{"", "", 0, "1", "daemon", false},
		{"", "", 0, "4000000001", "65534", false},
		{"root", "", 0, "1", "root", false},
		{"daemon", "", 0, "", "daemon", false},
		{"nobody of this name", "", 0, "", "", true},
		{"", "", 1000, "1", "", false},
		{"", "x.pcap", 0, "1", "", false},
	} {
		w := watchCommand{user: c.user}
		if c.file != "" {
			w.Files = []string{c.file}
		}
		err := w.become(c.euid, c.sudo)
		got := ""
		if w.User != nil {
			got = w.User.Name
		}
		if got != c.want || (err != nil) != c.fails || w.MustBecome != (c.user != "") {
			t.Errorf("%+v: %q, %v, %v", c, got, w.MustBecome, err)
		}
	}
}
