package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/testnet"
	"capd/pcap"
)

// allJSON is an error of a stream that has a line that is no object.
func allJSON(t *testing.T, stream string) (objects []map[string]any) {
	t.Helper()
	for line := range strings.Lines(stream) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Errorf("a plain line among JSON: %q", line)
		}
		objects = append(objects, o)
	}
	return objects
}

// TestErrorsInJSON: who asks for JSON gets errors and hints as JSON.
func TestErrorsInJSON(t *testing.T) {
	dir := t.TempDir()
	for args, code := range map[string]int{
		"list --json " + dir + "/none":                           exitFailed,
		"ledger --json " + dir + "/none":                         exitFailed,
		"filter --json -r " + dir + "/none ip":                   exitFailed,
		"salvage --json " + dir + "/none":                        exitFailed,
		"status --json --socket " + dir + "/none":                2,
		"hold --json --last 1h --socket " + dir + "/none":        exitFailed,
		"watch --json -r " + dir + "/none":                       exitFailed,
		"list --json --snice 1h":                                 exitUsage,
		"list --snice 1h --json":                                 exitUsage,
		"run --log-format json -i nope":                          exitFailed,
		"run --log-format json -i lo --duration -5s":             exitUsage,
		"run --log-format json -i lo -d " + dir + " tcp prot 80": exitFailed,
	} {
		got, _, errs := capd(strings.Fields(args)...)
		all := allJSON(t, errs)
		if got != code || len(all) == 0 {
			t.Errorf("capd %s: exit %d, want %d, and %s", args, got, code, errs)
			continue
		}
		if last := all[len(all)-1]; last["error"] == nil || last["error"] == "" {
			t.Errorf("capd %s: no error in %v", args, last)
		}
	}
	_, _, errs := capd("list", "--json", "--snice", "1h")
	if want := `{"error":"unknown flag --snice; did you mean --since?","hints":["see capd list --help"]}`; errs != want+"\n" {
		t.Errorf("%s, want %s", errs, want)
	}
}

// TestNoticesInJSON: what watch has to say beside packets is of their format.
func TestNoticesInJSON(t *testing.T) {
	in := filepath.Join(t.TempDir(), "torn.pcap.partial")
	b := encodeFrames(pcap.Header{LinkType: pcap.LinkTypeEthernet}, arpFrame(), arpFrame())
	if err := os.WriteFile(in, b[:len(b)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	_, stdout, stderr := runWatch("--json", "-r", in)
	if all := allJSON(t, stdout+stderr); len(all) != 2 || !strings.Contains(fmt.Sprint(all[1]["notice"]), "the file is not finished") {
		t.Errorf("%s%s", stdout, stderr)
	}
}

// TestRunInJSON: with log.format = json all that a run says on standard error is JSON, up to the counts at its end.
func TestRunInJSON(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	dir := t.TempDir()
	file := filepath.Join(dir, "capd.toml")
	text := fmt.Sprintf("directory = %q\n[control]\nsocket = \"\"\n[log]\nformat = \"json\"\nlevel = \"error\"\n[[interface]]\nname = \"v1\"\n", dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"file": {"-c", file}, "flag": {"-i", "v1", "-d", dir, "--log-format", "json"}} {
		ctx, stop := context.WithCancel(t.Context())
		var errs strings.Builder
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, append([]string{"run", "--count", "3"}, args...), &errs, &errs, nil)
		}()
		s := testnet.NewSender(t, "v0")
		for code, done := 0, false; !done; {
			s.Send(make([]byte, 60))
			select {
			case code = <-ended:
				done = true
				if code != exitFine {
					t.Errorf("%s: exit %d", name, code)
				}
			case <-time.After(10 * time.Millisecond):
			}
		}
		stop()
		all := allJSON(t, errs.String())
		if len(all) == 0 {
			t.Errorf("%s: nothing is said", name)
			continue
		}
		last := all[len(all)-1]
		if n, ok := last["written"].(float64); !ok || n < 3 || last["msg"] != "ended" || last["received"] != last["written"] {
			t.Errorf("%s: %s", name, errs.String())
		}
	}
}

// TestRunToPipeInJSON: with log.format = auto and no terminal, every line of a run is JSON: that of its start, of a
// configuration that it refuses and of one that it takes, of signals and of its end.
func TestRunToPipeInJSON(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "capd.toml")
	configure := func(more string) {
		t.Helper()
		text := fmt.Sprintf("directory = %q\n%s\n[control]\nsocket = \"\"\n[[interface]]\nname = \"v1\"\n", dir, more)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("")
	cmd, _ := process(t, "run", "-c", file)
	cmd.Stderr = nil
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	lines := bufio.NewReader(errs)
	await := func(part string) {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("no line with %q before %v", part, err)
			}
			allJSON(t, line)
			if strings.Contains(line, part) {
				return
			}
		}
	}
	await(`"msg":"recording"`)
	for more, part := range map[string]string{"snaplan = 5": "snaplan", "snaplen = 1000": "was read again"} {
		configure(more)
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await(part)
	}
	_ = cmd.Process.Signal(syscall.SIGUSR1)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	await(`"msg":"ended"`)
	rest, _ := io.ReadAll(lines)
	allJSON(t, string(rest))
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestStartFailsInJSON: so it is with an error that comes before the log, or before anything is logged.
func TestStartFailsInJSON(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "capd.toml")
	if err := os.WriteFile(bad, []byte("snaplan = 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"-c " + bad, "-c " + dir + "/none", "-i nope", "-i lo -d " + bad, "-i lo -d " + dir + " tcp prot 80", "-i lo -d " + dir + " -y RAW"} {
		code, _, errs := capd(append([]string{"run"}, strings.Fields(args)...)...)
		all := allJSON(t, errs)
		if code != exitFailed || len(all) == 0 || all[len(all)-1]["error"] == nil || all[len(all)-1]["level"] != "ERROR" {
			t.Errorf("capd run %s: exit %d, %s", args, code, errs)
		}
	}
}
