package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/testnet"
)

// running is a capd that runs with a file and a control socket.
type running struct {
	t      *testing.T
	dir    string
	config string
	socket string
	signal func(os.Signal)
}

func (r *running) configure(more string) {
	r.t.Helper()
	text := fmt.Sprintf("directory = %q\nblock_timeout = \"20ms\"\n%s\n[control]\nsocket = %q\n[[interface]]\nname = \"v1\"\n", r.dir, more, r.socket)
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// status asks the socket; nil is no answer yet.
func (r *running) status() *control.Status {
	r.t.Helper()
	_, out, _ := capd("status", "--socket", r.socket, "--json")
	var s control.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil
	}
	return &s
}

func (r *running) await(what string, ok func(s *control.Status) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if s := r.status(); s != nil && ok(s) {
			return
		}
	}
	r.t.Fatalf("waited too long for %s: %+v", what, r.status())
}

// TestOrders asks and commands a capd as its users do: in the sandbox, by its
// socket and by signals.
func TestOrders(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	r := &running{t: t, dir: t.TempDir()}
	r.config, r.socket = filepath.Join(r.dir, "capd.toml"), filepath.Join(t.TempDir(), "capd.sock")
	r.configure("")
	cmd, errs := process(t, "run", "-c", r.config, "--log-format", "text")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Logf("%s", errs)
		}
	})
	r.signal = func(s os.Signal) { _ = cmd.Process.Signal(s) }
	s := testnet.NewSender(t, "v0")
	recording(t, s, r.dir)
	r.await("a state", func(s *control.Status) bool { return s.Interfaces[0].State == control.Recording })

	// expect runs a command that must end so, and say that.
	expect := func(code int, want string, args ...string) string {
		t.Helper()
		got, out, why := capd(append(args, "--socket", r.socket)...)
		if got != code || !strings.Contains(out+why, want) {
			t.Errorf("capd %q: exit %d, want %d and %q:\n%s%s", args, got, code, want, out, why)
		}
		return out
	}
	expect(0, "v1", "status")
	expect(0, "CAPD OK", "status", "--check")
	file := strings.TrimSpace(expect(0, ".pcapng\n", "rotate", "v1"))
	if _, err := os.Stat(file); err != nil || filepath.Dir(file) != r.dir {
		t.Errorf("rotated %q: %v", file, err)
	}
	expect(1, "interface v9 is not recorded", "rotate", "v9")
	expect(0, file, "hold", file)
	if _, err := os.Stat(file + ".hold"); err != nil {
		t.Error(err)
	}
	r.await("a held file", func(s *control.Status) bool { return s.Directories[0].Held == 1 })
	expect(1, "not a capture file", "hold", "/etc/passwd")
	expect(0, file, "release", "--all")
	expect(0, "capd: no such file was held", "release", "--all")
	expect(0, "capd: no file has such frames: nothing is held", "hold", "--last", "1h", "--interface", "v9")
	if _, err := os.Stat(file + ".hold"); err == nil {
		t.Error("still held")
	}
	recording(t, s, r.dir)
	expect(0, "v1-", "hold", "--last", "1h")

	first := r.status().Config
	expect(0, "", "reload")
	r.configure(`rotate_interval = "7m"`)
	expect(0, "", "reload")
	second := r.status().Config
	if first == second {
		t.Error("the digest is that of the configuration before")
	}
	r.configure(`rotate_intervall = "7m"`)
	expect(1, "did you mean rotate_interval?", "reload")
	r.configure(`rotate_interval = "8m"`)
	r.signal(syscall.SIGHUP)
	r.await("a reload by signal", func(s *control.Status) bool { return s.Config != second })
	r.signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, errs)
	}
	expect(2, "no capd listens there", "status")
	expect(2, "CAPD CRITICAL", "status", "--check")
}
