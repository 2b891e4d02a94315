package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/testnet"
	"capd/ledger"
)

// build builds a capd with flags for the linker.
func build(t *testing.T, name, ldflags string) string {
	t.Helper()
	needTree(t)
	path := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-ldflags", ldflags, "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// TestRestartIntoAnotherBinary: a restart into another build of capd loses nothing, whichever way, and whether the one
// before ended in order or was killed. CAPD_RESTARTS says how often.
func TestRestartIntoAnotherBinary(t *testing.T) {
	programs := []string{build(t, "one", ""), build(t, "other", "-s -w")}
	testRestarts(t, restarts{times: 6, programs: programs})
}

// TestRestartIntoUnknownVersion: a capd that does not know what the one before has left begins anew, and the ledger has
// the gap and the reason. So it is for an upgrade and for a downgrade.
func TestRestartIntoUnknownVersion(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	dir := t.TempDir()
	files, file := filepath.Join(dir, "files"), filepath.Join(dir, "capd.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, restartConfig, files, filepath.Join(dir, "sock"), "v1", ""), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSupervisor(t)
	s.program = build(t, "one", "")
	other := build(t, "other", "-X capd/internal/restart.edition=another")
	var frames *load
	for i := range 3 {
		cmd, errs, ready := s.start("run", "-c", file, "--log-format", "text")
		select {
		case <-ready:
		case <-time.After(20 * time.Second):
			t.Fatalf("not ready: %s", errs)
		}
		if frames == nil {
			frames = startLoad(t, "v0", 5000, false)
			defer frames.end()
		}
		time.Sleep(300 * time.Millisecond)
		_ = cmd.Process.Signal([]os.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGTERM}[i])
		if err := cmd.Wait(); err != nil && i > 0 {
			t.Errorf("%v: %s", err, errs)
		}
		s.program, other = other, s.program
	}
	restarts, finished := 0, 0
	for e, err := range ledger.Read(files, nil) {
		if err != nil {
			t.Error(err)
		}
		switch e.Kind {
		case ledger.KindRestart:
			restarts++
			if !strings.Contains(e.Why, "another version of capd") {
				t.Errorf("%+v", e)
			}
		case ledger.KindFile:
			finished++
			if _, err := os.Stat(filepath.Join(files, e.Name)); err == nil {
				readNumbers(t, filepath.Join(files, e.Name), nil)
			} else {
				t.Error(err)
			}
		}
	}
	verdicts, err := ledger.Judge(ledger.Read(files, nil), ledger.Question{})
	if err != nil || len(verdicts) != 1 || verdicts[0].Outcome() == ledger.Complete {
		t.Errorf("%+v, %v", verdicts, err)
	}
	for _, v := range verdicts {
		pauses := 0
		for _, m := range v.Missing {
			if m.Cause == ledger.CauseStopped {
				pauses++
			}
		}
		if pauses < 2 {
			t.Errorf("%d times without capd, of two restarts: %+v", pauses, v.Missing)
		}
	}
	if restarts != 2 || finished < 3 {
		t.Errorf("%d lines of restarts, %d files", restarts, finished)
	}
}
