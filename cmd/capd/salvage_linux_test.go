package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capd/internal/text"
	"capd/pcap"
	"capd/writer"
)

// TestSalvagePromises: each sentence of salvage's help.
func TestSalvagePromises(t *testing.T) {
	for _, f := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		b, err := os.ReadFile(captureFile(t, f, 200))
		if err != nil {
			t.Fatal(err)
		}
		record := (len(b) - len(pcap.NewEncoder(pcap.Header{Format: f, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"}).Header())) / 200
		flipped := slices.Clone(b)
		flipped[len(b)-181*record+11] ^= 0x80 // a length
		last := slices.Clone(b)
		last[len(b)-record+8] ^= 0x40 // the last one's captured length, or its interface
		for _, c := range []struct {
			what             string
			b                []byte
			packets, inPlace int // inPlace: bytes then
			copied, cut      int // exit codes
			damaged          bool
		}{
			{"whole", b, 200, len(b), exitFine, exitFine, false},
			{"torn", b[:len(b)-7], 199, len(b) - record, exitFine, exitFine, false},
			{"zeros", append(slices.Clone(b), make([]byte, 5000)...), 200, len(b), exitFine, exitFine, false},
			{"damaged", flipped, 199, len(b), exitFailed, exitFailed, true},
			{"damaged last", last, 199, len(b), exitFine, exitFailed, false},
		} {
			path := filepath.Join(t.TempDir(), "x"+f.Ext())
			if err := os.WriteFile(path, c.b, 0o600); err != nil {
				t.Fatal(err)
			}
			code, stdout, stderr := capd("salvage", path)
			if c.what == "damaged last" && f == pcap.PCAPNG {
				c.copied = exitFailed // its two lengths agree, and its end is there: no torn one
			}
			if code != c.copied || !strings.Contains(stdout, "x.salvaged"+f.Ext()+": "+text.Count(c.packets, "packet")+", ") {
				t.Errorf("%v %s: exit %d\n%s%s", f, c.what, code, stdout, stderr)
			}
			if c.damaged && (!strings.Contains(stderr, "is damaged: ") || !strings.Contains(stdout, "left out at byte") ||
				strings.Contains(stderr, "as a comment in it says") != (f == pcap.PCAPNG)) {
				t.Errorf("%v %s:\n%s%s", f, c.what, stdout, stderr)
			}
			got, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(got, c.b) {
				t.Errorf("%v %s: the file was changed, %v", f, c.what, err)
			}
			if saved, err := os.ReadFile(writer.SalvagedPath(path)); err != nil || bytes.Contains(saved, []byte("was damaged")) != (c.copied == exitFailed && f == pcap.PCAPNG) {
				t.Errorf("%v %s: %q, %v", f, c.what, saved[:100], err)
			}
			if code, _, _ := capd("salvage", path); code != exitFailed {
				t.Errorf("%v %s: the copy was replaced", f, c.what)
			}
			code, stdout, stderr = capd("salvage", "--in-place", path)
			got, err = os.ReadFile(path)
			if code != c.cut || err != nil || len(got) != c.inPlace || !bytes.Equal(got, c.b[:c.inPlace]) {
				t.Errorf("%v %s: in place: exit %d, %d bytes\n%s%s", f, c.what, code, len(got), stdout, stderr)
			}
			if (code != exitFine) != strings.Contains(stderr, "left as it is") {
				t.Errorf("%v %s: in place: %s", f, c.what, stderr)
			}
		}
	}
}

// TestSalvageDamagedJSON: the array says what was left out, and where.
func TestSalvageDamagedJSON(t *testing.T) {
	in := captureFile(t, pcap.PCAPNG, 10)
	b, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	const record = 28 + 60 + 4
	at := len(b) - 5*record
	b[at+7] = 0x80
	if err := os.WriteFile(in, b, 0o600); err != nil {
		t.Fatal(err)
	}
	all := printed[[]salvageJSON](t, exitFailed, "salvage", "--json", in)
	if len(all) != 1 || !all[0].Damaged || all[0].Packets != 9 || all[0].Cut != record || all[0].Into != writer.SalvagedPath(in) || all[0].Error != "" ||
		!slices.Equal(all[0].Gaps, []gapJSON{{int64(at), record, 1, "absurd block length"}}) {
		t.Errorf("%+v", all)
	}
	if err := os.Remove(writer.SalvagedPath(in)); err != nil {
		t.Fatal(err)
	}
	all = printed[[]salvageJSON](t, exitFailed, "salvage", "--json", "--in-place", in)
	if len(all) != 1 || !all[0].Damaged || all[0].Into != "" || !strings.Contains(all[0].Error, "left as it is") {
		t.Errorf("%+v", all)
	}
}

// TestReadPzstd: pzstd writes a frame to be skipped before each of its own.
func TestReadPzstd(t *testing.T) {
	in := captureFile(t, pcap.PCAPNG, 3000)
	if _, err := exec.LookPath("pzstd"); err != nil {
		t.Skip("no pzstd")
	}
	if out, err := exec.Command("pzstd", "-q", "-p", "2", in, "-o", in+".zst").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(in + ".zst")
	if err != nil || len(b) < 4 || b[0]&0xf0 != 0x50 {
		t.Fatalf("no frame to be skipped: %x, %v", b[:4], err)
	}
	if code, out, why := capd("filter", "-r", in+".zst", ""); code != exitFine || out != "3000 of 3000 packets passed\n" {
		t.Errorf("exit %d\n%s%s", code, out, why)
	}
}

// TestWatchUnknownTime: a packet of no known time is shown, and no time is made
// up for it.
func TestWatchUnknownTime(t *testing.T) {
	in := captureFile(t, pcap.PCAP, 3)
	b, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[24+76+4:], []byte{0xff, 0xff, 0xff, 0xff}) // the second one's sub-seconds
	if err := os.WriteFile(in, b, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := capd("watch", "-r", in)
	lines := strings.Split(stdout, "\n")
	if code != exitFine || len(lines) != 4 || !strings.HasPrefix(lines[0], "00:00:01.000000 ") || !strings.HasPrefix(lines[1], "time unknown ") ||
		!strings.HasPrefix(lines[2], "00:00:03.000000 ") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	_, stdout, _ = capd("watch", "--json", "-r", in)
	if strings.Count(stdout, `"time":`) != 2 || strings.Count(stdout, "\n") != 3 {
		t.Errorf("%s", stdout)
	}
}
