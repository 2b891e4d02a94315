package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"capd/internal/check"
	"capd/ledger"
	"capd/pcap"
	"capd/writer"
)

// printed runs a command and reads the JSON that it prints.
func printed[T any](t *testing.T, wantCode int, args ...string) (v T) {
	t.Helper()
	code, out, why := capd(args...)
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != wantCode {
		t.Errorf("capd %q: exit %d, want %d, %v:\n%s%s", args, code, wantCode, err, out, why)
	}
	return v
}

func TestVersionJSON(t *testing.T) {
	if v := printed[versionJSON](t, exitFine, "version", "--json"); v != (versionJSON{version(), runtime.Version(), runtime.GOOS, runtime.GOARCH}) {
		t.Errorf("%+v", v)
	}
}

func TestFilterJSON(t *testing.T) {
	in := captureFile(t, pcap.PCAPNG, 30)
	if v := printed[passedJSON](t, exitFine, "filter", "--json", "-r", in, "ip"); v != (passedJSON{30, 10}) {
		t.Errorf("%+v", v)
	}
}

func TestFilterLeavesNothingBehind(t *testing.T) {
	in := captureFile(t, pcap.PCAPNG, 3)
	if code, _, _ := capd("filter", "-r", in, "-w", in+".out", "ip prt"); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	if _, err := os.Stat(in + ".out"); !os.IsNotExist(err) {
		t.Errorf("a file is left by a filter that can't be compiled: %v", err)
	}
}

func TestFilterDumpOfCompressed(t *testing.T) {
	in := captureFile(t, pcap.PCAP, 3)
	if out, err := exec.Command("gzip", in).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if code, out, why := capd("filter", "-d", "-r", in+".gz", "ip"); code != exitFine || !strings.HasPrefix(out, "(000) ldh") {
		t.Errorf("exit %d\n%s%s", code, out, why)
	}
	if code, _, why := capd("salvage", in+".gz"); code != exitFailed || !strings.Contains(why, "decompress it first") {
		t.Errorf("salvage: exit %d\n%s", code, why)
	}
}

func TestSalvageJSON(t *testing.T) {
	in := captureFile(t, pcap.PCAP, 10)
	whole, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in, whole[:len(whole)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing.pcap")
	all := printed[[]salvageJSON](t, exitFailed, "salvage", "--json", in, missing)
	if len(all) != 2 || all[0].Packets != 9 || all[0].Cut != 16+60-7 || all[0].Why == "" || all[0].Into != writer.SalvagedPath(in) || all[0].Error != "" {
		t.Errorf("%+v", all)
	}
	if len(all) == 2 && (all[1].File != missing || !strings.Contains(all[1].Error, "no such file") || all[1].Into != "") {
		t.Errorf("%+v", all[1])
	}
	code, _, why := capd("salvage", in)
	if code != exitFailed || !strings.Contains(why, "capd: hint: no file is replaced: move "+writer.SalvagedPath(in)) {
		t.Errorf("over a file: exit %d\n%s", code, why)
	}
}

func TestLedgerOfNothing(t *testing.T) {
	dir := t.TempDir()
	line := `{"v":1,"kind":"quiet","time":"2026-01-02T03:00:00Z","interface":"eth0","begin":"2026-01-02T02:00:00Z","end":"2026-01-02T03:00:00Z"}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "ledger.jsonl"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if v := printed[ledger.Answer](t, exitFine, "ledger", "--json", "--interface", "eth0", dir); v.Complete == nil || !*v.Complete || len(v.Verdicts) != 1 {
		t.Errorf("%+v", v)
	}
	for _, args := range [][]string{{"--interface", "eht0"}, {"--interface", "eth0", "--until", "2020-01-01T00:00:00Z"}} {
		v := printed[ledger.Answer](t, exitUnknown, append([]string{"ledger", "--json", dir}, args...)...)
		if v.Complete != nil || v.Verdicts == nil || len(v.Verdicts) != 0 {
			t.Errorf("%q: %+v", args, v)
		}
	}
}

func TestCheckNames(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "capd.toml")
	text := "directory = \"" + dir + "\"\nuser = \"no-such-user\"\n[control]\ngroup = \"no-such-group\"\nsocket = \"" + dir + "/none/sock\"\n" +
		"[finished]\nhook = [\"/no/such/hook\"]\n[[interface]]\nname = \"lo\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]check.Level{"user = ": check.Fail, "control.group = ": check.Fail, "control.socket = ": check.Fail, `exec: "/no/such/hook"`: check.Warn}
	for _, f := range printed[[]check.Finding](t, exitFailed, "check", "--json", "-c", file) {
		for text, level := range want {
			if strings.HasPrefix(f.Text, text) && f.Level == level {
				delete(want, text)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
}
