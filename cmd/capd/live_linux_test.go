package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"capd/internal/control"
	"capd/internal/testnet"
	"capd/ledger"
)

// TestLedgerWhileRecording: the verdict on a directory that is being recorded has what the running capd knows.
func TestLedgerWhileRecording(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	r := &running{t: t, dir: t.TempDir()}
	r.config, r.socket = filepath.Join(r.dir, "capd.toml"), filepath.Join(t.TempDir(), "capd.sock")
	r.configure("")
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
	r.await("a state", func(s *control.Status) bool { return s.Interfaces[0].State == control.Recording })
	ask := func(wantCode int, want string) {
		t.Helper()
		code, out, why := capd("ledger", "-c", r.config)
		if code != wantCode || why != "" || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("exit %d, no %q in\n%s%s", code, want, out, why)
		}
	}
	ask(exitFine, `v1: complete from .*: 0 packets in 0 files\n  being recorded.*: \d+ packets? and nothing lost up to now\n`)
	recording(t, testnet.NewSender(t, "v0"), r.dir)
	r.await("a packet", func(s *control.Status) bool { return s.Interfaces[0].Written > 0 })
	ask(exitFine, `v1: complete from .*\n  being recorded into v1-\S+\.pcapng\.partial: \d+ packets? and nothing lost up to now\n`)
	if code, out, why := capd("rotate", "-c", r.config); code != 0 || !strings.Contains(out, "v1-") {
		t.Fatalf("rotate: exit %d, %s%s", code, out, why)
	}
	ask(exitFine, `v1: complete from .*: \d+ packets? in 1 file\n  being recorded.*: \d+ packets? and nothing lost up to now\n`)
	code, out, why := capd("ledger", "-c", r.config, "--json")
	var a ledgerJSON
	if err := json.Unmarshal([]byte(out), &a); err != nil || code != exitFine || a.Complete == nil || len(a.Verdicts) != 1 || a.Verdicts[0].Growing == nil {
		t.Errorf("exit %d, %v: %s%s", code, err, out, why)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, errs)
	}
	ask(exitFine, `v1: complete from .*: \d+ packets? in [12] files?\n$`)
}

// TestPrintGrowing: what was lost up to now is said, and what nobody knows too.
func TestPrintGrowing(t *testing.T) {
	for want, v := range map[string]ledger.Verdict{
		"  being recorded into a, b: 7 packets and 6 frames lost up to now\n": {
			Recording: []string{"a", "b"}, Growing: &ledger.Tally{Packets: 7, KernelDropped: 1, CapdDropped: 2, NICDropped: 3},
		},
		"  being recorded into a: what it lacks is not known yet\n": {Recording: []string{"a"}},
		"": {},
	} {
		var b strings.Builder
		if printGrowing(&b, &v); b.String() != want {
			t.Errorf("%q, want %q", b.String(), want)
		}
	}
}
