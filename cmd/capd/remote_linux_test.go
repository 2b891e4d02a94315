package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script makes a program of a directory for PATH.
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// asSSH makes the text be what ssh does, in which $line is the command for the other machine, and capd the test's binary.
func asSSH(t *testing.T, text string) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "capd")); err != nil {
		t.Fatal(err)
	}
	script(t, dir, "ssh", `for line; do :; done; printf '%s\n' "$@" >`+dir+"/args; "+text)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv(asCapd, "1")
}

// locally is an ssh to this machine.
const locally = `exec sh -c "$line"`

func look(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("needs %v", err)
	}
	return path
}

// TestExtractHost: the answer of another machine is that of this one.
func TestExtractHost(t *testing.T) {
	const address = "ssh://sensor"
	asSSH(t, locally)
	r, s, stop := extracting(t, "")
	for i := range 50 {
		s.Send(udpFrame(1, uint16(50+i%5), "x"))
	}
	stop()
	for _, expression := range []string{"udp port 53", `udp port 53 and ip[0] != 0 and len <= 100`} {
		here, there := filepath.Join(t.TempDir(), "here"), filepath.Join(t.TempDir(), "there")
		code, stdout, stderr := capd("extract", r.dir, "-w", here, "--until", "2038-01-01T00:00:00.000000001Z", "-i", "v1", expression)
		code2, stdout2, stderr2 := capd("extract", "--host", address+r.dir, "-w", there, "--until", "2038-01-01T00:00:00.000000001Z", "-i", "v1", expression)
		if code2 != code || !strings.Contains(stdout2, "10 packets, 430 bytes in "+there) || !strings.Contains(stderr2, ": 10 packets of what was recorded") || strings.Count(stderr2, "\n") != strings.Count(stderr, "\n") {
			t.Fatalf("exit %d\n%s%sover ssh exit %d\n%s%s", code, stdout, stderr, code2, stdout2, stderr2)
		}
		if a, b := frames(t, here), frames(t, there); a != b || strings.Count(a, "\n") != 10 {
			t.Errorf("%s\nover ssh\n%s", a, b)
		}
	}
	code, stdout, stderr := capd("extract", "--host", address+r.dir, "-w", "-", "--format", "pcap", "udp port 53")
	if code != exitFine || len(stdout) != 24+10*(16+43) || !strings.HasPrefix(stderr, "capd: complete: 10 packets") {
		t.Errorf("exit %d, %d bytes, %s", code, len(stdout), stderr)
	}
	code, stdout, stderr = capd("extract", "--host", address+r.dir, "--last", "1h", "--json")
	var a extractJSON
	if err := json.Unmarshal([]byte(stdout), &a); err != nil || code != exitIncomplete || a.Complete || a.Packets < 50 || a.Host != address+r.dir || stderr != "" {
		t.Errorf("exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if code, _, stderr := capd("extract", "--host", address+"/no/such", "tcp"); code != exitFailed || !strings.Contains(stderr, "sensor: stat /no/such: no such file") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if code, stdout, stderr := capd("extract", "--host", address+r.dir, "--explain"); code != exitFine || !strings.Contains(stdout, "to be read, in 1 file;") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
}

// frames prints the packets of a file.
func frames(t *testing.T, path string) string {
	t.Helper()
	return tooled(t, "tshark", "-r", path, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.interface_name", "-e", "frame.len", "-e", "udp.port", "-e", "data")
}

// hoard makes a directory with one file of many packets, which no capd records into.
func hoard(t *testing.T) string {
	t.Helper()
	r, s, stop := extracting(t, "")
	for i := range 20000 { // much more than pipes hold
		s.Send(udpFrame(1, uint16(i), strings.Repeat("x", 1400)))
	}
	stop()
	return r.dir
}

// TestExtractHostBreaks: a connection that breaks leaves a file that ends with a whole packet, and no verdict.
func TestExtractHostBreaks(t *testing.T) {
	dir := hoard(t)
	asSSH(t, `sh -c "$line" | head -c 100001; exit 255`)
	out := filepath.Join(t.TempDir(), "out.pcapng")
	code, stdout, stderr := capd("extract", "--host", "ssh://sensor"+dir, "-w", out)
	if code != exitFailed || !strings.Contains(stderr, "ssh did not reach sensor, or the connection broke") || !strings.Contains(stderr, "hint: this must work: ssh -- sensor capd version") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	if info, err := os.Stat(out); err != nil || info.Size() < 90_000 || info.Size() > 100_000 {
		t.Errorf("%v, %v", info, err)
	}
	if n := strings.Count(frames(t, out), "\n"); n < 60 || n > 70 {
		t.Errorf("%d packets", n)
	}
}

// TestExtractHostFails: what may be wrong between two machines is said clearly, and leaves no file.
func TestExtractHostFails(t *testing.T) {
	for _, c := range []struct {
		name, ssh string
		code      int
		want      []string
	}{
		{"refused", `echo "user@sensor: Permission denied (publickey)." >&2; exit 255`, exitFailed, []string{"capd: sensor: user@sensor: Permission denied", "ssh did not reach sensor"}},
		{"no capd", `echo "sh: 1: capd: not found" >&2; exit 127`, exitFailed, []string{"sensor has no capd that a command over ssh finds", "hint: install capd there"}},
		{"older", `echo '{"error":"unknown flag --end-with-stdin","hints":["see capd extract --help"]}' >&2; exit 2`, exitUsage, []string{"sensor: unknown flag --end-with-stdin", "hint: capd there may be older than this one"}},
		{"much older", `echo 'capd: unknown command "extract"' >&2; exit 2`, exitFailed, []string{`sensor: capd: unknown command "extract"`, "exit code 2, and gave no verdict", "may be older"}},
		{"chatty", `echo "Welcome to sensor!"; exec sh -c "$line"`, exitFailed, []string{`what came is no capture file, and begins with "Welcome to sensor!`, ".bashrc"}},
		{"silent", "exit 0", exitFailed, []string{"exit code 0, and gave no verdict"}},
		{"hostile", `printf '\033]0;owned\007\n{"error":"\\u001b[2J","hints":["\\u0007"]}\n' >&2; exit 1`, exitFailed, []string{`\x1b]0;owned\a`, `\x1b[2J`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			asSSH(t, c.ssh)
			out := filepath.Join(t.TempDir(), "out.pcapng")
			code, stdout, stderr := capd("extract", "--host", "ssh://sensor"+t.TempDir(), "-w", out)
			if code != c.code || strings.ContainsAny(stderr, "\x1b\a") {
				t.Errorf("exit %d, %q", code, stderr)
			}
			for _, part := range c.want {
				if !strings.Contains(stderr, part) {
					t.Errorf("no %q in\n%s%s", part, stdout, stderr)
				}
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("it left a file")
			}
			if code, stdout, stderr := capd("extract", "--host", "ssh://sensor"+t.TempDir(), "-w", out, "--json"); code != c.code || stdout != "" || !json.Valid([]byte(stderr)) {
				t.Errorf("exit %d, %s%s", code, stdout, stderr)
			}
		})
	}
}

// TestExtractHostWords: nothing in a question, an address or a name of a directory becomes an option, or a command of the shell there.
func TestExtractHostWords(t *testing.T) {
	asSSH(t, locally)
	dir := filepath.Join(t.TempDir(), "a b'$(touch owned)")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := capd("extract", "--host", "ssh://sensor"+strings.ReplaceAll(dir, " ", "%20"), "-i", "-v; touch owned", "--", "udp")
	if code != exitIncomplete || !strings.Contains(stderr, "nothing is known") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if _, err := os.Stat("owned"); err == nil {
		t.Error("a name was run as a command")
	}
	ssh := filepath.Dir(look(t, "ssh"))
	args := string(contents(t, filepath.Join(ssh, "args")))
	if !strings.HasPrefix(args, "-T\n-a\n-x\n-oClearAllForwardings=yes\n-oRemoteCommand=none\n--\nsensor\ncapd extract ") {
		t.Error(args)
	}
	for address, want := range map[string]string{
		"ssh://-oProxyCommand=x/": "is no name of a user or a machine",
		"ssh://-l@sensor":         "is no name of a user or a machine",
		"ssh://a$(id)@sensor":     "is no name of a user or a machine",
		"ssh://me:secret@sensor":  "has no password",
		"ssh://sensor:0":          "port 0",
		"http://sensor":           "write ssh://",
		"sensor:/var":             "write ssh://",
		"ssh:///var":              "write ssh://",
	} {
		if code, _, stderr := capd("extract", "--host", address); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", address, code, stderr)
		}
	}
	for args, want := range map[string]string{
		"-c x":              "-c names directories of this machine",
		"/var/lib/capd tcp": "hint: write --host ssh://sensor/var/lib/capd",
		"tcp prot 80":       "filter: offset",
	} {
		if code, _, stderr := capd(append([]string{"extract", "--host", "ssh://sensor"}, strings.Fields(args)...)...); code == exitFine || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", args, code, stderr)
		}
	}
	long := "udp or" + strings.Repeat(" ", 130_000) + "tcp"
	if code, _, stderr := capd("extract", "--host", "ssh://sensor", long); code != exitFailed || !strings.Contains(stderr, "a command over ssh at most") {
		t.Errorf("exit %d, %.200s", code, stderr)
	}
}

// TestExtractEndsWithStdin: a question that nobody waits for any more ends, and says so.
func TestExtractEndsWithStdin(t *testing.T) {
	dir := hoard(t)
	cmd, errs := process(t, "extract", dir, "--end-with-stdin", "-w", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	rd, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, rd, 100_000); err != nil { // the rest does not fit into the pipe
		t.Fatal(err)
	}
	in.Close()
	if _, err := io.Copy(io.Discard, rd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != exitIncomplete || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit %d, %s", cmd.ProcessState.ExitCode(), errs)
	}
}
