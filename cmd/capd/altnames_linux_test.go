package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/internal/testnet"
)

// altName is longer than the name of an interface may be.
const altName = "enp3s0f0np0-port-to-core-a"

// recordOne records frames of v1 by that configuration until one is written.
func recordOne(t *testing.T, file string) {
	t.Helper()
	s := testnet.NewSender(t, "v0")
	ended := make(chan int, 1)
	var errs strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { ended <- run(ctx, []string{"run", "-c", file, "--count", "1"}, &errs, &errs, nil) }()
	for {
		s.Send(make([]byte, 60))
		select {
		case code := <-ended:
			if code != exitFine {
				t.Fatalf("exit %d: %s", code, &errs)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestAltNames: wherever an interface is named, an alternative name of any length does.
func TestAltNames(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	testnet.AddAltName(t, "v1", "port-a")
	testnet.AddAltName(t, "v1", altName)
	for _, configured := range []string{altName, "port-a", "enp*"} {
		dir, file := t.TempDir(), filepath.Join(t.TempDir(), "capd.toml")
		text := fmt.Sprintf("directory = %q\nring_size = \"4MiB\"\n[control]\nsocket = \"\"\n[[interface]]\nname = %q\n", dir, configured)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		name := strings.ReplaceAll(configured, "enp*", altName)
		recordOne(t, file)
		files, err := filepath.Glob(filepath.Join(dir, name+"-2*.pcapng"))
		if err != nil || len(files) != 1 {
			t.Errorf("%s: files %q, %v", configured, files, err)
			continue
		}
		for args, want := range map[string]string{
			"check -c " + file:                          name + ": opens; link type ETHERNET",
			"check -c " + file + " ":                    name + ": is an alternative name of v1",
			"list " + dir:                               filepath.Base(files[0]),
			"list --interface v1 " + dir:                filepath.Base(files[0]),
			"ledger --interface " + altName + " " + dir: name + ": complete",
			"ledger --interface v1 " + dir:              name + ": complete",
			"interfaces":                                "port-a " + altName,
			"interfaces --json":                         `"alt_names": [`,
			"__complete watch -i enp":                   altName,
			"__complete run -i enp":                     altName,
			"__complete rotate port":                    "port-a",
		} {
			if code, out, errs := capd(strings.Split(strings.TrimSuffix(args, " "), " ")...); code != exitFine || !strings.Contains(out, want) {
				t.Errorf("capd %s: exit %d, no %q in\n%s%s", args, code, want, out, errs)
			}
		}
	}
	if !isInterface(altName) || isInterface("enp3s0f0np0-port-to-core-b") {
		t.Error("isInterface")
	}
	if code, out, _ := capd("ledger", "--interface", "v0", t.TempDir()); code != exitUnknown || !strings.Contains(out, "nothing is known") {
		t.Errorf("another interface: exit %d, %s", code, out)
	}
}

// TestAltNameOfTwo: check says that one interface has two entries, and finds no fault in a glob all of whose interfaces
// follow another entry.
func TestAltNameOfTwo(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	testnet.AddAltName(t, "v1", "port-a")
	dir := t.TempDir()
	code, out, errs := capd("check", "-d", dir, "--ring-size", "4MiB", "-i", "port-a", "-i", "v1", "-i", "port-*")
	if code != exitFine || strings.Count(out, "opens;") != 1 || !strings.Contains(out, "warn  port-a: is another name of v1, which is recorded once, by that name") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	code, out, errs = capd("check", "-d", dir, "--ring-size", "4MiB", "-i", "v*", "-x", "port-a")
	if code != exitFine || strings.Count(out, "opens;") != 1 || !strings.Contains(out, "v0: opens;") {
		t.Errorf("excluded: exit %d\n%s%s", code, out, errs)
	}
}

// TestWatchAltName shows an interface by an alternative name.
func TestWatchAltName(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	testnet.AddAltName(t, "v1", altName)
	s := testnet.NewSender(t, "v0")
	ended := make(chan string, 1)
	go func() {
		_, out, errs := capd("watch", "-i", altName, "-c", "1", "arp")
		ended <- out + errs
	}()
	for {
		s.Send(arpFrame())
		select {
		case out := <-ended:
			if !strings.Contains(out, " "+altName+" ") {
				t.Error(out)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}
