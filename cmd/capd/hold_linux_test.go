package main

import (
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

// TestHoldNames: what hold prints is there, whether it is compressed or being written, and times bound it.
func TestHoldNames(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	r := &running{t: t, dir: t.TempDir()}
	r.config, r.socket = filepath.Join(r.dir, "capd.toml"), filepath.Join(t.TempDir(), "capd.sock")
	r.configure("[finished]\ncompress = \"zstd\"")
	cmd, errs := process(t, "run", "-c", r.config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Logf("%s", errs)
		}
	})
	s := testnet.NewSender(t, "v0")
	recording(t, s, r.dir)
	r.await("a state", func(s *control.Status) bool { return s.Interfaces[0].State == control.Recording })
	code, out, why := capd("rotate", "-c", r.config)
	first := strings.TrimSuffix(strings.TrimSpace(out), ".zst")
	if code != 0 || first == "" {
		t.Fatalf("rotate: exit %d, %s%s", code, out, why)
	}
	r.await("a compressed file", func(*control.Status) bool {
		_, err := os.Stat(first)
		return err != nil
	})
	compressed, partial := first+".zst", ""
	r.await("a second file", func(st *control.Status) bool {
		s.Send(append(make([]byte, 12), 0x88, 0xb5, 1))
		if len(st.Interfaces[0].Files) > 0 {
			partial = st.Interfaces[0].Files[0]
		}
		_, err := os.Stat(partial)
		return err == nil && filepath.Ext(partial) == ".partial" && partial != first+".partial"
	})

	hold := func(want []string, args ...string) string {
		t.Helper()
		code, out, why := capd(append([]string{"hold", "-c", r.config}, args...)...)
		if got := strings.Fields(out); code != 0 || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("hold %q: exit %d, %q, want %q; %s", args, code, got, want, why)
		}
		for _, path := range strings.Fields(out) {
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		}
		return why
	}
	hold([]string{compressed, partial}, "--last", "1h")
	hold([]string{compressed}, filepath.Base(first))
	if why := hold([]string{compressed, partial}, "--since", "-1h", "--until", "2099-01-01 00:00 UTC"); !strings.Contains(why, "capd: asked for ") ||
		!strings.Contains(why, " to 2099-01-01T00:00:00Z\n") {
		t.Errorf("hold with times says %q", why)
	}
	hold([]string{partial}, "--since", "2098-01-01") // it goes on
	hold(nil, "--until", time.Now().Add(-time.Hour).Format(time.RFC3339))
	hold(nil, "--since", "-1h", "--until", "30m")
	if code, out, why := capd("release", "-c", r.config, "--all"); code != 0 || !strings.Contains(out, compressed+"\n") {
		t.Errorf("release: exit %d, %s%s", code, out, why)
	}
	for args, want := range map[string]string{
		"hold --last 1h --since -2h":   "two ways to say when",
		"hold --since -2h x.pcap":      "files are named, and a time or --all says others",
		"hold --since 1h --until -2h":  "is not before --until",
		"hold --since half-past-three": "neither a time",
	} {
		if code, _, why := capd(append(strings.Fields(args), "-c", r.config)...); code != exitUsage || !strings.Contains(why, want) {
			t.Errorf("capd %s: exit %d, no %q in %s", args, code, want, why)
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
