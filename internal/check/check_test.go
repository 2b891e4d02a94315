package check

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"capd/capture"
	"capd/config"
	"capd/internal/retain"
	"capd/internal/selftest"
	"capd/store"
)

func TestCheckMemory(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		taken, total int64
		level        Level
		text         string
	}{
		{2 * gib, 8 * gib, OK, "rings and pools take at most 2 GiB of 8 GiB"},
		{5 * gib, 8 * gib, Warn, "rings and pools take at most 5 GiB of 8 GiB"},
		{2 * gib, 0, OK, "rings and pools take at most 2 GiB"},
	} {
		var got Checker
		got.memory(c.taken, c.total)
		if f := got.Findings[0]; f.Level != c.level || f.Text != c.text || strings.Contains(f.Hint, "pool_size") != (c.level == Warn) {
			t.Errorf("%d of %d: %+v", c.taken, c.total, f)
		}
	}
}

// printed is a line for each finding and hint.
func printed(c *Checker) string {
	var b strings.Builder
	for _, f := range c.Findings {
		fmt.Fprintf(&b, "%s %s: %s\n", f.Level, f.Subject, f.Text)
		if f.Hint != "" {
			fmt.Fprintf(&b, "hint: %s\n", f.Hint)
		}
	}
	return b.String()
}

// TestCapacity takes the rate from the files that are there.
func TestCapacity(t *testing.T) {
	dir := t.TempDir()
	name := store.Name{Interface: "eth0", Start: time.Now().Add(-1000 * time.Second).UTC().Truncate(time.Second), Sequence: 1}
	if err := os.WriteFile(filepath.Join(dir, name.String()), make([]byte, 1_250_000), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Retain.Bytes, cfg.RetainAge = 100_000_000, config.Duration(time.Hour)
	cfg.Interfaces = []config.Interface{{Name: "eth0", Recording: cfg.Recording}}
	cfg.Interfaces[0].Directory = dir
	c := Checker{Policy: func(c *config.Config) retain.Policy {
		return retain.Policy{
			Directory: retain.Limits{Bytes: int64(c.Retain.Bytes)},
			Interface: func(string) retain.Limits { return retain.Limits{Age: time.Duration(c.RetainAge)} },
		}
	}}
	c.capacity(dir, cfg, store.Space{Total: 1 << 40, Free: 1 << 39})
	out := printed(&c)
	// About: the files' time goes on while the test runs.
	const rate = `(10|9\.\d+) kbit/s`
	for _, want := range []string{"eth0: at " + rate + ", the present rate of its files, its own limits keep 1h by age", "holds at " + rate + " 22h .*by bytes: the present rate"} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// A difference is a failure with a hint, and nothing is said to agree.
func TestSelfTestDifference(t *testing.T) {
	c := &Checker{}
	c.report(&selftest.Report{Interface: "lo0", Sent: 2, Captured: 1, Wrong: []string{"byte 3 is off"}, Warnings: []string{"no X"}})
	out := printed(c)
	for _, want := range []string{"warn self-test: no X\n", "fail self-test: byte 3 is off\nhint: if a new run"} {
		if !c.Failed() || !strings.Contains(out, want) || strings.Contains(out, "equal") {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestHidden: a program that takes frames before capd is named.
func TestHidden(t *testing.T) {
	if got := hidden(capture.Interface{Name: "eth0"}); len(got) != 0 {
		t.Errorf("without a program: %+v", got)
	}
	c := Checker{Findings: hidden(capture.Interface{Name: "eth0", XDP: capture.XDP{Mode: "native", Program: 7, Name: "drop_all"}})}
	if got := printed(&c); !strings.HasPrefix(got, "warn eth0: XDP program 7 drop_all, native, is attached: frames may not reach capd\nhint: ") {
		t.Errorf("%s", got)
	}
}

// TestLarge: frames that no file keeps whole are told before they come.
func TestLarge(t *testing.T) {
	for _, c := range []struct {
		largest, snaplen int
		warns            bool
	}{{0, 262144, false}, {65536, 262144, false}, {262144, 262144, false}, {262145, 262144, true}, {524280, 128, false}} {
		got := large("eth0", c.largest, c.snaplen)
		if (len(got) == 1 && got[0].Level == Warn) != c.warns {
			t.Errorf("%d bytes, snaplen %d: %+v", c.largest, c.snaplen, got)
		}
	}
}
