package main

import (
	"capd/config"
	"capd/internal/daemon"
	"capd/store"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestDescribe(t *testing.T) {
	s := service{}
	now := time.Now()
	all := []daemon.Status{
		{Interface: "eth0", Lane: 1, State: daemon.Recording, Received: 1000, Bytes: 100_000},
		{Interface: "eth0", Lane: 2, State: daemon.Recording},
		{Interface: "eth1", State: daemon.Waiting},
	}
	if got := s.describe(all, now); got != "eth0 recording; eth1 waiting; lost 0 of 1000 packets" {
		t.Error(got)
	}
	all[0].Received, all[0].Bytes, all[0].KernelDropped = 6000, 1_350_000, 7
	if got := s.describe(all, now.Add(5*time.Second)); got !=
		"eth0 recording; eth1 waiting; 1000 packets/s, 2 Mbit/s; lost 7 of 6000 packets, 7 of these in the last 5 s" {
		t.Error(got)
	}
	if got := states(nil); got != "no interface" {
		t.Error(got)
	}
	for n := range 4 {
		all = append(all, daemon.Status{Interface: fmt.Sprintf("tap%d", n), State: daemon.Down})
	}
	if got := states(all); got != "eth0 recording; 4 interfaces down; eth1 waiting" {
		t.Error(got)
	}
}

func TestLasting(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", time.Hour: "1 h", 51*time.Hour + time.Minute: "2 d 3 h",
	} {
		if got := lasting(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

// TestSizing takes the rate from the files that are there.
func TestSizing(t *testing.T) {
	dir := t.TempDir()
	name := store.Name{Interface: "eth0", Start: time.Now().Add(-1000 * time.Second).UTC().Truncate(time.Second), Sequence: 1}
	if err := os.WriteFile(filepath.Join(dir, name.String()), make([]byte, 1_250_000), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Retain.Bytes, cfg.RetainAge = 100_000_000, config.Duration(time.Hour)
	cfg.Interfaces = []config.Interface{{Name: "eth0", Recording: cfg.Recording}}
	cfg.Interfaces[0].Directory = dir
	var c checker
	c.sizing(dir, cfg, store.Space{Total: 1 << 40, Free: 1 << 39})
	var out strings.Builder
	if err := c.print(&out, false); err != nil {
		t.Fatal(err)
	}
	// About: the files' time goes on while the test runs.
	const rate = `(10|9\.\d+) kbit/s`
	for _, want := range []string{"eth0: at " + rate + ", the present rate of its files, its own limits keep 1 h by age", "holds at " + rate + " 22 h .*by bytes: the present rate"} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
