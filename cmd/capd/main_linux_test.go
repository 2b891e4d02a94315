package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/check"
	"capd/internal/setup"
	"capd/internal/terminal"
	"capd/internal/testdisk"
	"capd/internal/testnet"
	"capd/store"
)

// asCapd makes the test's own binary be capd.
const asCapd = "CAPD_TEST_MAIN"

func TestMain(m *testing.M) {
	// What compresses has an environment of its own.
	if os.Getenv(asCapd) != "" || len(os.Args) > 1 && os.Args[1] == compressVerb {
		main()
	}
	os.Exit(testdisk.Main(m))
}

// capd runs the program in-process.
func capd(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), args, &out, &errs, nil)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.toml")
	if err := os.WriteFile(bad, []byte("snaplan = 5\nring_size = \"3MiB\"\n[[interface]]\nname = \"a/b\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(dir, "torn.toml")
	if err := os.WriteFile(torn, []byte("snaplen = = 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		want []string // parts of what is printed
	}{
		{"", 0, []string{"Available Commands", "run", "check", "interfaces", "version"}},
		{"version", 0, []string{"capd ", "linux/"}},
		{"rum", 2, []string{`capd: unknown command "rum"; did you mean "run"?`, "capd: hint: "}},
		{"run --snaplen x", 2, []string{"capd: ", "snaplen", "must be a whole number", "capd: hint: see capd run --help"}},
		{"run --count -1", 2, []string{`"-1"`, "must be a whole number, and not negative"}},
		{"filter --snaplen 9999999999", 2, []string{"is out of range"}},
		{"help run", 0, []string{"capd run [-c FILE]"}},
		{"help statsu", 2, []string{`unknown command "statsu"; did you mean "status"?`}},
		{"help run extra", 2, []string{`run: unexpected argument "extra"`}},
		{"completion bash", 0, []string{"bash completion"}},
		{"completion ksh", 2, []string{`completion: unknown shell "ksh"`}},
		{"completion bash extra", 2, []string{`completion bash: unexpected argument "extra"`}},
		{"status --json --check", 2, []string{"two ways to print", "see capd status --help"}},
		{"check --self-test tcp", 2, []string{"--self-test"}},
		{"filter -dddd ip", 2, []string{"three times"}},
		{"filter --json ip", 2, []string{"--json is for what -r counts"}},
		{"filter -d -r x -w y ip", 2, []string{"one of them"}},
		{"filter -r " + dir + " ip", 1, []string{"capd: read " + dir + ": is a directory", "capd: hint: name a capture file"}},
		{"filter -w x ip", 2, []string{"-w needs -r"}},
		{"filter " + bad, 1, []string{"capd: compile filter", "is a file: -r " + bad}},
		{"salvage --json " + dir + "/none", 1, []string{`"file": "` + dir + `/none"`, `"error": "salvage: open `, `{"error":"salvage: open `}},
		{"ledger --interface nope " + dir, exitUnknown, []string{"nothing is known of what was recorded of nope"}},
		{"ledger " + dir, exitUnknown, []string{"nothing is known of what was recorded:"}},
		{"run -c " + dir, 1, []string{"is a directory", "capd: hint: -c names a file"}},
		{"version extra", 2, []string{`unexpected argument "extra"`}},
		{"run -i lo tcp prot 80", 1, []string{"capd: interface lo: ", "filter: offset 4", "capd: hint: "}},
		{"check -i lo -d " + dir + " ip and arp", 1, []string{"fail", `filter "ip and arp" can never match`}},
		{"check -i lo -d " + dir + " tcp port 80", 0, []string{"ok", `filter "tcp port 80" is `}},
		{"run --rotate-size 5parsecs -i lo", 2, []string{"capd: ", "rotate-size", "5parsecs"}},
		{"run --duration -5s -i lo", 2, []string{"must not be negative"}},
		{"run --snaplen 0 -i lo", 1, []string{"snaplen = 0", "capd: hint: "}},
		{"run -y RAW -i lo -d " + dir, 1, []string{"capd: open lo: link type RAW: not one of those that the interface has: ETHERNET", "capd: hint: capd interfaces"}},
		{"run -y ETHER -i lo -d " + dir, 1, []string{`link type "ETHER": no link type of this name is known`, "capd: hint: "}},
		{"run -y a/b -i lo -d " + dir, 1, []string{`link_type = "a/b": must be the name of a link type`}},
		{"check -y DLT_EN10MB -i lo -d " + dir + " tcp port 80", 0, []string{"ok", "link type ETHERNET"}},
		{"check -y RAW -i lo -d " + dir + " tcp port 80", 1, []string{"fail", "lo: open lo: link type RAW: not one of those that the interface has", "hint: capd interfaces"}},
		{"run -i nope", 1, []string{"capd: interface nope: no such interface", "there are: lo", "--wait"}},
		{"run -i no*", 1, []string{"capd: interface no*: no such interface"}},
		{"run -c " + dir + "/missing.toml", 1, []string{"missing.toml", "no such file", "capd: hint: -c names the file"}},
		{"run -c " + bad, 1, []string{"bad.toml:1: snaplan", "snaplen", "bad.toml:2: ring_size", "bad.toml:4: ", "a/b"}},
		{"run -c " + torn, 1, []string{"torn.toml:1:"}},
		{"run -i lo -d " + bad, 1, []string{"not a directory", "capd: hint: "}},
		{"run -i lo -d " + dir + "/no/such", 1, []string{"no such file", "capd: hint: create the directory above"}},
		{"run -i lo -d /proc", 1, []string{"capd: directory /proc: "}},
		{"check -i nope -d " + dir, 1, []string{"fail", "nope", "hint"}},
		{"check -c " + bad, 1, []string{"fail", "snaplan", "ring_size"}},
		{"check -i late* --wait -d " + dir, 0, []string{"warn", "late*: no such interface"}},
	} {
		args := strings.Fields(c.args)
		if c.code == exitFailed && args[0] == "run" { // which says it to people only on a terminal
			args = slices.Insert(args, 1, "--log-format", "text", "--log-level", "error")
		}
		code, stdout, stderr := capd(args...)
		if code != c.code {
			t.Errorf("capd %s: exit %d, want %d", c.args, code, c.code)
		}
		for _, part := range c.want {
			if !strings.Contains(stdout+stderr, part) {
				t.Errorf("capd %s: no %q in\n%s%s", c.args, part, stdout, stderr)
			}
		}
		for line := range strings.Lines(stderr) {
			if !strings.HasPrefix(line, "capd: ") && !strings.HasPrefix(line, "{") {
				t.Errorf("capd %s: error without capd: %q", c.args, line)
			}
		}
	}
}

func TestInterfaces(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	testnet.SetUp(t, "v1", false)
	code, out, _ := capd("interfaces")
	for _, want := range []string{`(?m)^lo `, `(?m)^v0 +(up|no carrier) +ETHERNET,LINUX_SLL2,LINUX_SLL +1500 +\S\S:`, `(?m)^v1 +down `, `(?m)^any +up +MIXED,LINUX_SLL2,LINUX_SLL +-`} {
		if code != 0 || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	code, out, _ = capd("interfaces", "--json")
	var all []setup.Interface
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 || len(all) < 4 {
		t.Errorf("%v: %s", err, out)
	}
	for _, i := range all {
		if !slices.Equal(i.LinkTypes, []string{i.LinkType, "LINUX_SLL2", "LINUX_SLL"}) || i.Error != "" {
			t.Errorf("%+v", i)
		}
	}
}

func TestCheck(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	dir := t.TempDir()
	left := "v1-20260102T030405Z-000041.pcapng.partial"
	if err := os.WriteFile(filepath.Join(dir, left), nil, 0o640); err != nil {
		t.Fatal(err)
	}
	code, out, _ := capd("check", "-i", "v*", "-d", dir)
	for _, want := range []string{
		`ok +configuration: `, `ok +directory .*: create, write, rename and delete work; .* free`, left,
		`ok +directory .*: holds at 100 Mbit/s .* until the disk is full; at 1 Gbit/s .*; at 10 Gbit/s .*: no rate is known yet`,
		`ok +memory: rings and pools take at most \S+ [MG]iB of \S+ [MGT]iB`,
		`ok +v0: opens; link type ETHERNET, ring, MTU 1500, buffer of 128 MiB`, `ok +v1: opens`, `warn +v0: offloads`, `v1: time is the system clock's`,
	} {
		if code != 0 || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("exit %d, no %s in\n%s", code, want, out)
		}
	}
	code, out, _ = capd("check", "-i", "v0", "-d", dir, "--json")
	var found []check.Finding
	if err := json.Unmarshal([]byte(out), &found); err != nil || code != 0 || len(found) < 4 {
		t.Errorf("%v: %s", err, out)
	}
	if c, err := store.ReadContents(dir); err != nil || c.Files != 0 || len(c.Partials) != 1 {
		t.Errorf("check left %+v, %v", c, err)
	}
}

// process starts capd as a program.
func process(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCapd+"=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	return cmd, &errs
}

// recording waits until the interface's packets reach a file in the directory.
func recording(t *testing.T, s *testnet.Sender, dir string) {
	t.Helper()
	frame := make([]byte, 60)
	frame[12], frame[13] = 0x88, 0xb5
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		s.Send(frame)
		if c, err := store.ReadContents(dir); err == nil && len(c.Partials)+c.Files > 0 {
			return
		}
	}
	t.Fatal("nothing was recorded")
}

func TestRunUntilSignal(t *testing.T) {
	for name, sig := range map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP} {
		t.Run(name, func(t *testing.T) {
			if signal.Ignored(sig) {
				t.Skip("the tests run under nohup: capd ignores the signal too")
			}
			testnet.Veth(t, "v0", "v1", 1500)
			dir := t.TempDir()
			cmd, errs := process(t, "run", "-i", "v1", "-d", dir, "--format", "pcap", "--log-format", "text")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			s := testnet.NewSender(t, "v0")
			recording(t, s, dir)
			if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			for c, _ := store.ReadContents(dir); c.Files == 0; c, _ = store.ReadContents(dir) {
				s.Send(make([]byte, 60))
				time.Sleep(10 * time.Millisecond)
			}
			_ = cmd.Process.Signal(sig)
			_ = cmd.Process.Signal(sig) // one order sent twice, as timeout(1) does
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, errs)
			}
			for _, want := range []string{`(?m)^(\d+) packets received\n(\d+) packets written to \d files?, `, `(?m)^0 packets dropped by the kernel\n0 packets dropped by capd$`} {
				m := regexp.MustCompile(want).FindStringSubmatch(errs.String())
				if m == nil || len(m) == 3 && m[1] != m[2] {
					t.Errorf("no %s in\n%s", want, errs)
				}
			}
			if c, err := store.ReadContents(dir); err != nil || c.Files == 0 || len(c.Partials) != 0 {
				t.Errorf("left %+v, %v", c, err)
			}
		})
	}
}

// TestTimerSlack: Go's threads may wake up late in a capd that records.
func TestTimerSlack(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	dir := t.TempDir()
	cmd, errs := process(t, "run", "-i", "v1", "-d", dir, "--duration", "1m")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	recording(t, testnet.NewSender(t, "v0"), dir)
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", cmd.Process.Pid))
	if err != nil || len(threads) < 3 {
		t.Errorf("threads %q, %v", threads, err)
	}
	for _, thread := range threads {
		got, err := os.ReadFile(filepath.Join("/proc", filepath.Base(thread), "timerslack_ns"))
		if err != nil || string(got) != "1000000\n" {
			t.Errorf("thread %s: %q, %v", filepath.Base(thread), got, err)
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, errs)
	}
}

// TestClosedPipe: a reader of the messages that goes away ends nothing.
func TestClosedPipe(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	dir := t.TempDir()
	cmd, _ := process(t, "run", "-i", "v1", "-d", dir, "--count", "50")
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	rd.Close()
	cmd.Stderr, cmd.Stdout = wr, wr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wr.Close()
	s := testnet.NewSender(t, "v0")
	recording(t, s, dir)
	for range 50 {
		s.Send(make([]byte, 60))
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestWithoutPrivilege says what is missing and how to get it.
func TestWithoutPrivilege(t *testing.T) {
	testnet.Need(t)
	cmd, errs := process(t, "run", "-i", "lo", "-d", t.TempDir(), "--log-format", "text")
	// A new user namespace has no power over the network namespace it is in.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
	}
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"capd: open lo: ", "operation not permitted", "CAP_NET_RAW", "sudo capd run", "setcap", "AmbientCapabilities"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
}

// TestStatusLine shows on a terminal only, and never more than a line.
func TestStatusLine(t *testing.T) {
	if line := statusLine(nil); line != "0 packets, 0 B, 0 dropped" {
		t.Errorf("%q", line)
	}
	if terminal.NewScreen(&bytes.Buffer{}).IsTerminal() {
		t.Error("a buffer is a terminal")
	}
}
