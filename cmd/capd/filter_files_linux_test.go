package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"capd/internal/testnet"
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

// TestFilterInterrupted: a signal, or two as timeout(1) sends them, leaves no file
// that lacks packets, and no part of a record on standard output.
func TestFilterInterrupted(t *testing.T) {
	b := encodeFrames(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet}, slices.Repeat([][]byte{arpFrame(), udpFrame(1, 2, "x")}, 5000)...)
	for _, hangs := range []bool{true, false} {
		for _, out := range []string{filepath.Join(t.TempDir(), "out.pcapng"), "-"} {
			rd, wr, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd, errs := process(t, "filter", "-r", "-", "-w", out, "udp")
			var got bytes.Buffer
			cmd.Stdin, cmd.Stdout = rd, &got
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			rd.Close()
			if _, err := wr.Write(b); err != nil { // more than the pipe holds: it has begun to read
				t.Fatal(err)
			}
			for range 2 {
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			if !hangs {
				last := b[len(b)-int(binary.LittleEndian.Uint32(b[len(b)-4:])):]
				for err == nil { // until it has ended
					_, err = wr.Write(last)
				}
			}
			_ = cmd.Wait()
			wr.Close()
			want := "interrupted: " + out + " is removed"
			if out == "-" {
				want = "interrupted"
				copied := filepath.Join(t.TempDir(), "copied")
				if err := os.WriteFile(copied, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
				if code, _, stderr := capd("filter", "-r", copied); got.Len() > 0 && code != 0 {
					t.Errorf("exit %d, %s", code, stderr)
				}
			}
			if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(errs.String(), want) {
				t.Errorf("%v, %s: exit %d, %s", hangs, out, code, errs)
			}
			if _, err := os.Stat(out); !os.IsNotExist(err) {
				t.Errorf("there is a file: %v", err)
			}
		}
	}
}

// TestFullDisk: what filter and watch write ends with a whole packet when the disk
// is full.
func TestFullDisk(t *testing.T) {
	testnet.Need(t)
	in := writeFrames(t, pcap.PCAPNG, "eth0", slices.Repeat([][]byte{udpFrame(1, 2, strings.Repeat("x", 1001))}, 2000)...)
	for _, kib := range []int{4, 1200} {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)); err != nil {
			t.Skip("needs a file system of its own: ", err)
		}
		defer syscall.Unmount(dir, 0)
		for _, args := range []string{"filter udp", "watch -s 60 udp"} {
			out := filepath.Join(dir, "out.pcapng")
			code, _, stderr := capd(append(strings.Fields(args), "-r", in, "-w", out)...)
			if code != exitFailed || !strings.Contains(stderr, "no space left on device") {
				t.Errorf("%s: exit %d, %s", args, code, stderr)
			}
			code, stdout, stderr := capd("filter", "-r", out)
			if there := code == exitFine && strings.HasSuffix(stdout, " packets passed\n"); there != (kib > 1000) {
				t.Errorf("%s, %d KiB: exit %d, %s%s", args, kib, code, stdout, stderr)
			}
			_ = os.Remove(out)
		}
	}
}

// TestFilterPrompt: what passes comes out before more is read, which may take any time.
func TestFilterPrompt(t *testing.T) {
	b := encodeFrames(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet}, arpFrame(), udpFrame(1, 2, "x"))
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd, errs := process(t, "filter", "-r", "-", "-w", "-", "udp or arp")
	cmd.Stdin = rd
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	rd.Close()
	if _, err := wr.Write(b); err != nil {
		t.Fatal(err)
	}
	r, err := pcap.NewReader(out)
	for n := 0; n < 2 && err == nil; n++ { // waits for ever if they are kept back
		_, err = r.Next()
	}
	wr.Close()
	if err != nil || cmd.Wait() != nil {
		t.Errorf("%v: %s", err, errs)
	}
}
