package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capd/pcap"
)

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFilterPipes: - is standard input and output, and the count does not come between packets.
func TestFilterPipes(t *testing.T) {
	in := captureFile(t, pcap.PCAPNG, 30)
	h, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	stdin := os.Stdin
	t.Cleanup(func() { os.Stdin = stdin })
	os.Stdin = h
	code, stdout, stderr := capd("filter", "-r", "-", "-w", "-", "")
	if code != 0 || stdout != string(contents(t, in)) || stderr != "30 of 30 packets passed\n" {
		t.Errorf("exit %d, %d bytes, %s", code, len(stdout), stderr)
	}
	if _, err := h.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := capd("filter", "-d", "-r", "-", "ip"); code != 0 || !strings.Contains(stdout, "ldh") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	code, stdout, stderr = capd("filter", "--json", "-r", in, "-w", "-", "ip")
	if code != 0 || !strings.Contains(stderr, `"passed": 10`) || strings.Contains(stdout, "passed\":") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if _, err := os.Stat("-"); err == nil {
		t.Error("there is a file of the name -")
	}
}

// TestFilterSeveral: several files in turn, and an error in one of them.
func TestFilterSeveral(t *testing.T) {
	for _, f := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		a, b := captureFile(t, f, 3), captureFile(t, f, 6)
		out := filepath.Join(t.TempDir(), "out")
		if code, stdout, stderr := capd("filter", "-r", a, "-r", b, "-w", out, ""); code != 0 || stdout != "9 of 9 packets passed\n" {
			t.Errorf("%v: exit %d, %s%s", f, code, stdout, stderr)
		}
		second := contents(t, b)
		if f == pcap.PCAP {
			second = second[24:]
		}
		if !slices.Equal(contents(t, out), slices.Concat(contents(t, a), second)) {
			t.Errorf("%v: the files do not follow each other", f)
		}
		if code, stdout, stderr := capd("filter", "-r", a, "-r", b, "ip"); code != 0 || stdout != "3 of 9 packets passed\n" {
			t.Errorf("%v: exit %d, %s%s", f, code, stdout, stderr)
		}
	}
	a, b := captureFile(t, pcap.PCAP, 3), captureFile(t, pcap.PCAPNG, 3)
	for _, args := range [][]string{{"-r", a, "-r", b, ""}, {"-r", filepath.Join(t.TempDir(), "none"), ""}, {"-r", a, "tcp prot"}} {
		out := filepath.Join(t.TempDir(), "out")
		if code, stdout, stderr := capd(append([]string{"filter", "-w", out}, args...)...); code != exitFailed || stdout != "" {
			t.Errorf("%v: exit %d, %s%s", args, code, stdout, stderr)
		}
		if _, err := os.Stat(out); !os.IsNotExist(err) {
			t.Errorf("%v: there is a file: %v", args, err)
		}
	}
}
