package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capd/pcap"
)

// captureFile writes n packets, every third of them IPv4, to a file.
func captureFile(t *testing.T, f pcap.Format, n int) string {
	t.Helper()
	enc := pcap.NewEncoder(pcap.Header{Format: f, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
	buf := enc.Header()
	for i := range n {
		frame := make([]byte, 60)
		frame[12] = 8
		frame[13] = byte(i % 3)
		record := make([]byte, enc.MaxRecord())
		size, _ := enc.Encode(record, []pcap.Packet{{Data: frame, Length: 60, Sec: uint32(i + 1)}})
		buf = append(buf, record[:size]...)
	}
	path := filepath.Join(t.TempDir(), "in"+f.Ext())
	if err := os.WriteFile(path, buf, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFilterFile(t *testing.T) {
	for _, f := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		in := captureFile(t, f, 3000)
		out := in + ".out"
		code, stdout, stderr := capd("filter", "-r", in, "-w", out, "ip")
		if code != 0 || stdout != "1000 of 3000 packets passed\n" {
			t.Fatalf("%v: exit %d, %s%s", f, code, stdout, stderr)
		}
		if _, stdout, _ := capd("filter", "-r", out, "ip"); stdout != "1000 of 1000 packets passed\n" {
			t.Errorf("%v: %s", f, stdout)
		}
		if code, _, stderr := capd("filter", "-r", in, "-w", out, "ip"); code != exitFailed || !strings.Contains(stderr, "exists") {
			t.Errorf("%v: written over: exit %d, %s", f, code, stderr)
		}
		empty := captureFile(t, f, 0)
		if code, stdout, stderr := capd("filter", "-r", empty, "-w", empty+".out", "ip"); code != 0 || stdout != "0 of 0 packets passed\n" {
			t.Errorf("%v: empty file: exit %d, %s%s", f, code, stdout, stderr)
		}
		whole, err := os.ReadFile(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(in, whole[:len(whole)-5], 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr = capd("filter", "-r", in, "-w", in+".torn", "ip")
		if code != exitFailed || !strings.Contains(stderr, "after 2999 packets") {
			t.Errorf("%v: torn file: exit %d, %s", f, code, stderr)
		}
		if _, stdout, _ := capd("filter", "-r", in+".torn", ""); stdout != "1000 of 1000 packets passed\n" {
			t.Errorf("%v: what was whole: %s", f, stdout)
		}
	}
}

func TestFilterDumps(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-d ip", "(000) ldh      [12]\n(001) jeq      #0x800           jt 2\tjf 3\n(002) ret      #262144\n(003) ret      #0\n"},
		{"-dd -s 96 ip", "{ 0x28, 0, 0, 0x0000000c },\n{ 0x15, 0, 1, 0x00000800 },\n{ 0x6, 0, 0, 0x00000060 },\n{ 0x6, 0, 0, 0x00000000 },\n"},
		{"-ddd -y RAW ip", "5\n48 0 0 0\n84 0 0 240\n21 0 1 64\n6 0 0 262144\n6 0 0 0\n"},
		{"-ddd -y 101 ip", "5\n48 0 0 0\n84 0 0 240\n21 0 1 64\n6 0 0 262144\n6 0 0 0\n"},
	} {
		code, stdout, stderr := capd(append([]string{"filter"}, strings.Fields(c.args)...)...)
		if code != 0 || stdout != c.want {
			t.Errorf("capd filter %s: exit %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
	in := captureFile(t, pcap.PCAPNG, 3)
	for _, c := range []struct{ args, like string }{
		{"-d -y RAW -r " + in, "-d"}, // the file is of Ethernet
		{"-O -d ip", "-d ip"},
	} {
		_, got, stderr := capd(append([]string{"filter"}, strings.Fields(c.args)...)...)
		if _, want, _ := capd(append([]string{"filter"}, strings.Fields(c.like)...)...); got != want {
			t.Errorf("capd filter %s: %s%s\nwant %s", c.args, got, stderr, want)
		}
	}
	if _, plain, _ := capd("filter", "-O", "tcp port 80"); strings.Count(plain, "\n") <= 20 {
		t.Errorf("optimized: %s", plain)
	}
	for _, args := range []string{"-y NOPE ip", "-w x ip"} {
		if code, _, stderr := capd(append([]string{"filter"}, strings.Fields(args)...)...); code != exitUsage || !bytes.HasPrefix([]byte(stderr), []byte("capd: ")) {
			t.Errorf("capd filter %s: exit %d, %s", args, code, stderr)
		}
	}
}

func TestSalvage(t *testing.T) {
	in := captureFile(t, pcap.PCAPNG, 100)
	whole, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(filepath.Dir(in), "torn.pcapng")
	if err := os.WriteFile(torn, whole[:len(whole)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := capd("salvage", torn, filepath.Join(filepath.Dir(in), "missing"))
	if code != exitFailed || !strings.Contains(stdout, "torn.salvaged.pcapng: 99 packets, ") || !strings.Contains(stderr, "missing") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := capd("salvage", "--in-place", torn); code != 0 || !strings.Contains(stdout, "99 packets") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	for _, path := range []string{torn, strings.TrimSuffix(torn, ".pcapng") + ".salvaged.pcapng"} {
		if _, stdout, stderr := capd("filter", "-r", path, "ip"); stdout != "33 of 99 packets passed\n" {
			t.Errorf("%s: %s%s", path, stdout, stderr)
		}
	}
	if code, _, _ := capd("salvage"); code != exitUsage {
		t.Errorf("without a file: exit %d", code)
	}
}
