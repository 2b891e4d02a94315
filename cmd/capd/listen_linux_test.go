package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"capd/internal/testnet"
)

// serving starts capd extract --listen, and returns the address and what else it prints on standard error.
func serving(t *testing.T, args ...string) (cmd *exec.Cmd, address string, rest *bufio.Reader) {
	t.Helper()
	return startListening(t, append([]string{"extract"}, args...)...)
}

// startListening starts a command that serves readers.
func startListening(t *testing.T, args ...string) (cmd *exec.Cmd, address string, rest *bufio.Reader) {
	t.Helper()
	testnet.Need(t) // whose loopback is up
	cmd, _ = process(t, append(args, "--listen", "127.0.0.1:0")...)
	cmd.Stderr, cmd.Stdout = nil, new(bytes.Buffer)
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	rest = bufio.NewReader(errs)
	line, err := rest.ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "capd: waiting for readers on ")
	if err != nil || !ok {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd, address, rest
}

// received reads all that the server gives.
func received(t *testing.T, address string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// TestExtractListen: each reader gets the whole answer, as pcap, and Wireshark's tools read it from there.
func TestExtractListen(t *testing.T) {
	r, s, stop := extracting(t, "")
	up(t)
	for i := range 100 {
		s.Send(udpFrame(1, uint16(50+i%5), "x"))
	}
	stop()
	cmd, address, rest := serving(t, r.dir, "udp port 53")
	_, want, _ := capd("extract", r.dir, "-w", "-", "--format", "pcap", "udp port 53")
	var readers sync.WaitGroup
	for range 20 { // more than have a place
		readers.Go(func() {
			if got := received(t, address); got != want || len(got) < 1000 {
				t.Errorf("%d bytes, want %d", len(got), len(want))
			}
		})
	}
	readers.Wait()
	there := filepath.Join(t.TempDir(), "there")
	if code, stdout, stderr := tsharked("-i", "TCP@"+address, "-w", there, "-a", "packets:20"); code != 0 {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	} else if n := strings.Count(frames(t, there), "\n"); n != 20 {
		t.Errorf("%d packets", n)
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	said, _ := io.ReadAll(rest)
	if err := cmd.Wait(); err != nil || strings.Count(string(said), ": complete: 20 packets") != 21 {
		t.Errorf("%v, %s", err, said)
	}
}

// up sets the loopback of the tests' namespace up.
func up(t *testing.T) {
	t.Helper()
	testnet.Need(t)
	tooled(t, "ip", "link", "set", "lo", "up")
}

// TestExtractListenOnce: the exit code is that of the only answer, and what the reader got is an object.
func TestExtractListenOnce(t *testing.T) {
	dir := hoard(t)
	up(t)
	cmd, address, _ := serving(t, dir, "--once", "--format", "pcapng", "--last", "1h", "--json")
	got := received(t, address)
	_ = cmd.Wait()
	var j servedJSON
	if err := json.Unmarshal(cmd.Stdout.(*bytes.Buffer).Bytes(), &j); err != nil || j.Packets != 20000 || j.Complete || !strings.HasPrefix(j.Client, "127.0.0.1:") {
		t.Errorf("%+v, %v", j, err)
	}
	if cmd.ProcessState.ExitCode() != exitIncomplete || !strings.Contains(got, "verdict: INCOMPLETE: 20000 packets") {
		t.Errorf("exit %d, %d bytes", cmd.ProcessState.ExitCode(), len(got))
	}
}

// TestExtractListenEnds: Ctrl-C ends the answer of a reader behind a whole packet.
func TestExtractListenEnds(t *testing.T) {
	dir := hoard(t)
	up(t)
	cmd, address, rest := serving(t, dir)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var got bytes.Buffer
	if _, err := io.CopyN(&got, c, 100_000); err != nil { // the rest of 28 MB does not fit into the sockets
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	if _, err := io.Copy(&got, c); err != nil {
		t.Error(err)
	}
	said, _ := io.ReadAll(rest)
	if err := cmd.Wait(); err != nil || !strings.Contains(string(said), "; interrupted") {
		t.Errorf("%v, %s", err, said)
	}
	path := filepath.Join(t.TempDir(), "got")
	if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(frames(t, path), "\n"); n < 60 || n >= 20000 {
		t.Errorf("%d packets", n)
	}
}

// TestExtractListenUsage: packets are not given to other machines by mistake.
func TestExtractListenUsage(t *testing.T) {
	dir := t.TempDir()
	for args, want := range map[string]string{
		"--listen 0.0.0.0:0":                       "other machines reach this address",
		"--listen :57012":                          "other machines reach this address",
		"--listen 192.0.2.1:1":                     "other machines reach this address",
		"--listen 127.0.0.1":                       "missing port",
		"--listen 127.0.0.1:0 -w x":                "-w and --explain are other ways",
		"--listen 127.0.0.1:0 --host ssh://sensor": "ssh -L 57012:127.0.0.1:57012",
		"--once": "are for --listen",
		"--listen 127.0.0.1:0 --format parquet tcp": "none of pcapng",
	} {
		if code, _, stderr := capd(append([]string{"extract", dir}, strings.Fields(args)...)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", args, code, stderr)
		}
	}
	up(t) // a system that never had an address takes any for its own
	if code, _, stderr := capd("extract", dir, "--listen", "192.0.2.1:1", "--listen-anywhere"); code != exitFailed || !strings.Contains(stderr, "assign requested address") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}
