package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/testnet"
	"capd/ledger"
	"capd/store"
)

// extracting starts a capd that records v1, and returns where.
func extracting(t *testing.T, more string) (r *running, s *testnet.Sender, stop func()) {
	t.Helper()
	testnet.Veth(t, "v0", "v1", 1500)
	r = &running{t: t, dir: t.TempDir()}
	r.config, r.socket = filepath.Join(t.TempDir(), "capd.toml"), filepath.Join(t.TempDir(), "capd.sock")
	r.configure(more)
	cmd, errs := process(t, "run", "-c", r.config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, errs)
		}
	}
	t.Cleanup(stop)
	r.await("a state", func(s *control.Status) bool { return s.Interfaces[0].State == control.Recording })
	return r, testnet.NewSender(t, "v0"), stop
}

// TestExtract: packets are found as soon as they have come, before they would be written, and after the recorder has ended;
// the answer is complete, and other tools read it.
func TestExtract(t *testing.T) {
	r, s, stop := extracting(t, `flush_interval = "1h"`)
	s.Send(udpFrame(1, 53, "x"))
	for range 3 {
		s.Send(udpFrame(1, 443, "secret"))
	}
	out := filepath.Join(t.TempDir(), "out.pcapng")
	code, stdout, stderr := capd("extract", "-c", r.config, "-w", out, "udp port 443")
	if code != exitFine || !strings.Contains(stdout, "3 packets, 144 bytes in "+out) || !strings.HasPrefix(stderr, "capd: complete: 3 packets of what was recorded from ") {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = capd("extract", "-c", r.config, "--last", "1h", "-i", "v1", "--json")
	var a extractJSON
	if err := json.Unmarshal([]byte(stdout), &a); err != nil || code != exitIncomplete || a.Complete || a.Packets < 4 || len(a.Missing) == 0 || stderr != "" {
		t.Errorf("an hour ago nothing was recorded: exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	stop()
	code, stdout, stderr = capd("extract", r.dir, "-w", "-", "udp")
	if code != exitFine || !strings.HasPrefix(stderr, "capd: complete: 4 packets") {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	whole := filepath.Join(t.TempDir(), "all.pcapng")
	if err := os.WriteFile(whole, []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{out, whole} {
		for _, tool := range []string{"tshark -r", "capinfos"} {
			said := tooled(t, append(strings.Fields(tool), path)...)
			if want := map[string]string{out: "443", whole: "53"}[path]; strings.HasPrefix(tool, "tshark") && strings.Count(said, "UDP") < 3 || !strings.HasPrefix(tool, "tshark") && !strings.Contains(said, "Interface #0 info") {
				t.Errorf("%s %s: no %s in\n%s", tool, path, want, said)
			}
		}
	}
	if said := tooled(t, "tshark", "-r", whole, "-X", "read_format:MIME Files Format", "-V"); !strings.Contains(said, "verdict: complete: 4 packets") {
		t.Errorf("%s", said)
	}
	if said := tooled(t, "capinfos", whole); !strings.Contains(said, "question: capd extract ") || !strings.Contains(said, "Name = v1") {
		t.Errorf("%s", said)
	}
	var asked []ledger.Entry
	for e, err := range ledger.ReadWith(r.dir, ledger.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == ledger.KindExtract {
			asked = append(asked, e)
		}
	}
	if len(asked) != 3 || asked[0].Packets != 3 || asked[0].User == "" || asked[0].UID != os.Getuid() || asked[1].Packets != 0 || asked[2].Packets != 4 ||
		!strings.HasSuffix(asked[0].Question, " 'udp port 443'") || !strings.Contains(asked[1].Question, "--since ") {
		t.Errorf("%+v", asked)
	}
}

// tooled runs a program that has nothing to complain about.
func tooled(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if said := strings.TrimSpace(errs.String()); err != nil || said != "" && !strings.HasPrefix(said, "Running as user") {
		t.Errorf("%q: %v, %s", args, err, said)
	}
	return string(out)
}

// TestExtractNotAsked: a capd that can't be asked has packets that nobody sees, and the verdict says so.
func TestExtractNotAsked(t *testing.T) {
	r, s, _ := extracting(t, `flush_interval = "50ms"`)
	recording(t, s, r.dir)
	before := contents(t, filepath.Join(r.dir, ledger.FileName))
	code, _, stderr := capd("extract", r.dir, "--last", "1m")
	for _, want := range []string{"capd: INCOMPLETE: ", "newest packets not on the disk yet", "its control socket can't be asked", "the question is not in the ledger of "} {
		if code != exitIncomplete || !strings.Contains(stderr, want) {
			t.Errorf("exit %d, no %q in\n%s", code, want, stderr)
		}
	}
	if !bytes.Equal(before, contents(t, filepath.Join(r.dir, ledger.FileName))) {
		t.Error("the ledger of a running capd was written to")
	}
}

// TestExtractAtOnce: who writes a question into the ledger is no recorder for others who ask meanwhile.
func TestExtractAtOnce(t *testing.T) {
	r, s, stop := extracting(t, "")
	s.Send(udpFrame(1, 53, "x"))
	stop()
	lock, err := store.LockDirectory(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = lock.Release() }) // a line takes less
	if code, _, stderr := capd("extract", r.dir); code != exitFine || !strings.HasPrefix(stderr, "capd: complete: 1 packet ") || strings.Contains(stderr, "not in the ledger") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// TestExtractUsage: what makes no sense, and what there is not.
func TestExtractUsage(t *testing.T) {
	dir := t.TempDir()
	for args, want := range map[string]struct {
		code int
		part string
	}{
		"--last 1m --since 1h":             {exitUsage, "three ways to say when"},
		"--around 14:03":                   {exitUsage, "14:03:27±30s"},
		"--around 14:03±0s":                {exitUsage, "above 0"},
		"--limit 0":                        {exitUsage, "above 0"},
		"--limit x":                        {exitUsage, "a number of packets"},
		"--format x":                       {exitUsage, "none of pcapng"},
		"--last -1m":                       {exitUsage, "above 0"},
		"--alert - --host ssh://sensor":    {exitUsage, "--host does not go with --alert"},
		"--alert - --listen 127.0.0.1:0":   {exitUsage, "--listen does not go with --alert"},
		"--event alert":                    {exitUsage, "--event goes with --alert"},
		dir + " tcp prot 80":               {exitFailed, "filter: offset"},
		dir + "/nope tcp":                  {exitFailed, "no such file"},
		dir + " -c x tcp":                  {exitUsage, "a directory is named"},
		dir:                                {exitIncomplete, "nothing is known"},
		dir + " --since 1h -i eth0 --json": {exitIncomplete, `"complete": false`},
		dir + " --explain":                 {exitFine, "0 B of 0 B to be read, in 0 files"},
	} {
		code, stdout, stderr := capd(append([]string{"extract"}, strings.Fields(args)...)...)
		if code != want.code || !strings.Contains(stdout+stderr, want.part) {
			t.Errorf("capd extract %s: exit %d, no %q in\n%s%s", args, code, want.part, stdout, stderr)
		}
	}
	out := filepath.Join(dir, "out.pcapng")
	if err := os.WriteFile(out, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := capd("extract", dir, "-w", out); code != exitFailed || !strings.Contains(stderr, "no file is replaced") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// TestExtractInterrupted: what is written when a signal comes is a whole file, whose verdict says what it is.
func TestExtractInterrupted(t *testing.T) {
	r, s, stop := extracting(t, "")
	for i := range 20000 { // much more than a pipe holds
		s.Send(udpFrame(1, uint16(i), strings.Repeat("x", 1400)))
	}
	if code, _, stderr := capd("rotate", "-c", r.config); code != 0 {
		t.Fatal(stderr)
	}
	stop()
	cmd, errs := process(t, "extract", r.dir, "-w", "-")
	rd, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := io.CopyN(&got, rd, 100_000); err != nil { // packets come before all are found
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(&got, rd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	copied := filepath.Join(t.TempDir(), "copied.pcapng")
	if err := os.WriteFile(copied, got.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := capd("filter", "-r", copied)
	if code != 0 || cmd.ProcessState.ExitCode() != exitIncomplete || !strings.Contains(errs.String(), "INCOMPLETE: ") || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit %d and %d, %s%s%s", cmd.ProcessState.ExitCode(), code, stdout, stderr, errs)
	}
	if said := tooled(t, "tshark", "-r", copied, "-X", "read_format:MIME Files Format", "-V"); !strings.Contains(said, "verdict: INCOMPLETE: ") {
		t.Errorf("%s", said)
	}
}

// TestExtractLimits: the answer ends early, says so, and is no larger than asked.
func TestExtractLimits(t *testing.T) {
	r, s, stop := extracting(t, "")
	for i := range 100 {
		s.Send(udpFrame(1, uint16(i), strings.Repeat("x", 100)))
	}
	stop()
	for limit, most := range map[string]int64{"10": 1 << 20, "5kB": 5000} {
		out := filepath.Join(t.TempDir(), "out.pcap")
		code, stdout, stderr := capd("extract", r.dir, "-w", out, "--format", "pcap", "--limit", limit, "udp")
		info, err := os.Stat(out)
		if code != exitIncomplete || !strings.Contains(stderr, "limit reached") || err != nil || info.Size() > most {
			t.Errorf("exit %d, %v, %s%s", code, err, stdout, stderr)
		}
		if said := tooled(t, "capinfos", out); limit == "10" && !strings.Contains(said, "Number of packets:   10") {
			t.Errorf("%s", said)
		}
	}
	code, stdout, stderr := capd("extract", r.dir, "--limit", "100", "udp")
	if code != exitFine || !strings.Contains(stdout, "100 packets") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	at := time.Now().Format("15:04:05")
	code, stdout, stderr = capd("extract", r.dir, "--explain", "--around", fmt.Sprintf("%s±1h", at))
	if code != exitFine || !strings.Contains(stdout, "its time overlaps") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}
