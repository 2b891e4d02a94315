//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// program makes an executable file.
func program(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFind: NAME=PATH is another build of a recorder, with a name of its own.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	capd, before := program(t, dir, "capd", ""), program(t, dir, "before", "")
	dump := program(t, dir, "tcpdump", "echo tcpdump version 4.99.3; echo libpcap version 1.10")
	old := program(t, dir, "tcpdump-old", "echo tcpdump version 3.9")
	here, absent, err := find([]string{"capd", "capd=" + before, "capd-fanout4=" + before, "tcpdump", "tcpdump=tcpdump-old", "dumpcap"}, capd)
	if err != nil || !slices.Equal(absent, []string{"dumpcap"}) {
		t.Fatalf("absent %q, %v", absent, err)
	}
	type entrant struct{ name, path, version string }
	want := []entrant{
		{"capd", capd, ""}, {"capd:before", before, ""}, {"capd-fanout4:before", before, ""},
		{"tcpdump", dump, "tcpdump version 4.99.3"}, {"tcpdump:tcpdump-old", old, "tcpdump version 3.9"},
	}
	for i, r := range here {
		if got := (entrant{r.Name, r.path, r.Version}); i >= len(want) || got != want[i] {
			t.Errorf("%d: %v", i, got)
		}
	}
	if len(here) != len(want) {
		t.Errorf("%d are here, want %d", len(here), len(want))
	}
	if here[2].rings != fanoutRings {
		t.Errorf("another build of capd-fanout4 has %d rings", here[2].rings)
	}
	for _, names := range [][]string{{"wireshark"}, {"capd=" + filepath.Join(dir, "none")}, {"other=" + before}} {
		if _, _, err := find(names, capd); err == nil {
			t.Errorf("%q is accepted", names)
		}
	}
}

// TestVersionOfBuild: what tells a recorder's kind is its name before the colon.
func TestVersionOfBuild(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"capd", "capd:before", "capd-pcap:before"} {
		if got := version(recorder{Name: name, path: self}); !strings.Contains(got, "go1.") {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, name := range []string{"stenotype", "stenotype:other"} {
		if got := version(recorder{Name: name, path: self}); got != "without a version of its own" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestCapdCommands: capd records as it does by default but for what all recorders have, and a
// fanout has the memory of one ring.
func TestCapdCommands(t *testing.T) {
	dir := t.TempDir()
	args := strings.Join(capdCommand("capd", dir, 2<<20, 1), " ")
	if want := "capd run -i race0 -d " + dir + " --rotate-size 2MiB --rotate-interval 0 --ring-size 128MiB"; args != want {
		t.Errorf("got %s, want %s", args, want)
	}
	args = strings.Join(fanoutCommand("capd", dir, noRotate, 1), " ")
	text, err := os.ReadFile(filepath.Join(dir, "race.toml"))
	if err != nil || !strings.HasSuffix(args, "race.toml") {
		t.Fatal(args, err)
	}
	for _, want := range []string{"\nring_size = \"32MiB\"\n", "\nfanout = 4\n", "\nrotate_size = \"1048576MiB\"\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
