package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// twoDirectories makes a configuration of three interfaces in two directories, a file in each.
func twoDirectories(t *testing.T) (config, a, b string) {
	t.Helper()
	top := t.TempDir()
	a, b = filepath.Join(top, "a"), filepath.Join(top, "b")
	for iface, dir := range map[string]string{"eth0": a, "eth1": b} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, iface+"-20260102T120000Z-000001.pcapng"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config = filepath.Join(top, "capd.toml")
	text := fmt.Sprintf("directory = %q\n[control]\nsocket = %q\n[[interface]]\nname = \"eth0\"\n[[interface]]\nname = \"eth1\"\ndirectory = %q\n[[interface]]\nname = \"eth2\"\n",
		a, filepath.Join(top, "no.sock"), b)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config, a, b
}

// TestPlace: list and ledger find the directories that the configuration names, or the one that they are called in.
func TestPlace(t *testing.T) {
	config, a, b := twoDirectories(t)
	code, out, errs := capd("list", "-c", config)
	if i, j := strings.Index(out, a+":\n"), strings.Index(out, "\n"+b+":\n"); code != 0 || i != 0 || j < 0 ||
		!strings.Contains(out[i:max(j, 0)], "eth0-") || !strings.Contains(out[max(j, 0):], "eth1-") {
		t.Errorf("list -c: exit %d, %s%s", code, out, errs)
	}
	_, out, _ = capd("list", "--print0", "-c", config)
	if want := a + "/eth0-20260102T120000Z-000001.pcapng\x00" + b + "/eth1-20260102T120000Z-000001.pcapng\x00"; out != want {
		t.Errorf("list --print0: %q, want %q", out, want)
	}
	_, out, _ = capd("ledger", "-c", config)
	if !strings.Contains(out, a+":\n") || !strings.Contains(out, b+":\n") {
		t.Errorf("ledger -c: %s", out)
	}
	for _, command := range []string{"list", "ledger"} {
		_, out, _ = capd(command, "--json", "-c", config)
		if strings.Count(out, `"directory": `) != 2 || strings.Contains(out, a+":\n") {
			t.Errorf("%s --json: %s", command, out)
		}
		code, _, errs = capd(command, "-c", config, a)
		if code != exitUsage || !strings.Contains(errs, "a directory is named, and -c says others") {
			t.Errorf("%s -c FILE DIR: exit %d, %s", command, code, errs)
		}
	}
	// One that can't be read does not hide the other.
	if err := os.RemoveAll(a); err != nil {
		t.Fatal(err)
	}
	if code, out, errs = capd("list", "-c", config); code != exitFailed || !strings.Contains(out, "eth1-") || !strings.Contains(errs, a) {
		t.Errorf("list -c, one is gone: exit %d, %s%s", code, out, errs)
	}
	t.Chdir(b)
	if _, out, _ = capd("list"); !strings.HasPrefix(out, ".:\n") || !strings.Contains(out, "eth1-") {
		t.Errorf("list in a directory of recordings: %s", out)
	}
}

// TestPlaceStandard: the standard configuration is read where nothing is named, and need not be there.
func TestPlaceStandard(t *testing.T) {
	config, a, b := twoDirectories(t)
	t.Chdir(t.TempDir())
	for standard, want := range map[string][]string{config: {a, b}, config + ".none": {"/var/lib/capd"}} {
		if got, err := new(place).directories(nil, standard); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", standard, got, err, want)
		}
	}
	if _, err := (&place{config: config + ".none"}).directories(nil, config); err == nil {
		t.Error("a configuration that is named and not there is no error")
	}
}

// TestTargetOfConfiguration: orders go to the capd of the configuration that is named.
func TestTargetOfConfiguration(t *testing.T) {
	config, a, _ := twoDirectories(t)
	for _, args := range []string{"hold --last 1h", "release --all", "rotate", "reload", "status"} {
		_, _, errs := capd(append(strings.Fields(args), "-c", config)...)
		if want := "ask capd on " + filepath.Join(filepath.Dir(a), "no.sock"); !strings.Contains(errs, want) {
			t.Errorf("capd %s: no %q in %s", args, want, errs)
		}
	}
	if code, _, errs := capd("hold", "--last", "1h", "-c", config, "--socket", "x"); code != exitUsage || !strings.Contains(errs, "two ways") {
		t.Errorf("exit %d, %s", code, errs)
	}
}
