package check

import (
	"fmt"
	"io/fs"
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

// TestTimers: what can't be late is a warning with a remedy.
func TestTimers(t *testing.T) {
	var c Checker
	if timers(&c, nil); len(c.Findings) != 0 {
		t.Errorf("without an error: %+v", c.Findings)
	}
	timers(&c, fs.ErrPermission)
	if out := printed(&c); c.Failed() || !strings.HasPrefix(out, "warn timers: can't be late without CAP_SYS_NICE: ") || !strings.Contains(out, "\nhint: as capd.service") {
		t.Error(out)
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

// TestCapacity: check says what status will say, by the rates of the files that are there, and by some others before there are any.
func TestCapacity(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Retain.Bytes = 100_000_000
	for _, name := range []string{"eth0", "eth1", "eth2"} {
		i := config.Interface{Name: name, Recording: cfg.Recording}
		i.Directory = dir
		cfg.Interfaces = append(cfg.Interfaces, i)
	}
	cfg.Interfaces[0].RetainAge = config.Duration(time.Second)
	c := Checker{Policy: func(c *config.Config) retain.Policy {
		return retain.Policy{
			Directory: retain.Limits{Bytes: int64(c.Retain.Bytes)},
			Interface: func(name string) retain.Limits { return retain.Limits{Age: time.Duration(c.Lookup(name).RetainAge)} },
		}
	}}
	space := store.Space{Total: 1 << 40, Free: 1 << 39}
	want := func(wanted ...string) {
		t.Helper()
		c.Findings = nil
		c.capacity(dir, cfg, space)
		lines := strings.SplitAfter(strings.TrimSuffix(printed(&c), "\n"), "\n")
		if len(lines) != len(wanted) {
			t.Errorf("%d lines: %q", len(lines), lines)
			return
		}
		for i, want := range wanted {
			if !regexp.MustCompile(want).MatchString(lines[i]) {
				t.Errorf("no %q in %q", want, lines[i])
			}
		}
	}
	want("holds of eth0 at 100 Mbit/s 1s by age; at 1 Gbit/s 0s by bytes; at 10 Gbit/s 0s by bytes: no rate is known yet",
		"holds at 100 Mbit/s 8s by bytes; at 1 Gbit/s 0s by bytes; at 10 Gbit/s 0s by bytes: no rate is known yet")

	cfg.Interfaces[0].RetainAge = config.Duration(time.Hour)
	for _, name := range []string{"eth0", "eth1"} {
		name := store.Name{Interface: name, Start: time.Now().Add(-1000 * time.Second).UTC().Truncate(time.Second), Sequence: 1}
		if err := os.WriteFile(filepath.Join(dir, name.String()), make([]byte, 1_250_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// About: the files' time goes on while the test runs. What eth0 does not keep, eth1 has.
	const rate = `at (10|9\.\d+) kbit/s, the present rate of its files, they reach back `
	want("eth0: "+rate+"1h by age", "eth1: "+rate+"21h .*by bytes")
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
