package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// heldFile makes a directory with a finished file.
func heldFile(t *testing.T) (d *Directory, name Name, hold string) {
	t.Helper()
	dir := t.TempDir()
	name, err := ParseName("eth0-20260102T030405Z-000001.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name.String())
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	return d, name, path + ".hold"
}

func names(cases []Case) (all []string) {
	for i := range cases {
		all = append(all, cases[i].Name)
	}
	return all
}

// TestCases: a file is held until the last case, and the hold without one, are released.
func TestCases(t *testing.T) {
	d, name, hold := heldFile(t)
	check := func(plain bool, cases ...string) {
		t.Helper()
		h := d.Holds(name)
		f, _ := d.File(name)
		held := plain || len(cases) > 0
		if h.Plain != plain || !slices.Equal(names(h.Cases), cases) || f.Held != held || d.IsHeld(name) != held {
			t.Errorf("%+v, held %v and %v", h, f.Held, d.IsHeld(name))
		}
		if _, err := os.Stat(hold); held != (err == nil) {
			t.Error(err)
		}
	}
	is := func(want bool) func(bool, error) {
		return func(changed bool, err error) {
			t.Helper()
			if changed != want || err != nil {
				t.Errorf("%v, %v", changed, err)
			}
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	a := Case{Name: "a", Note: "why\nnot", Since: at, UID: 7, User: "u", Sudo: "s", Question: "q"}
	check(false)
	is(false)(d.ReleaseCase(name, "a"))
	is(true)(d.HoldFor(name, a))
	check(false, "a")
	again := a
	again.Note = "other"
	is(false)(d.HoldFor(name, again))
	held := d.Holds(name)
	if got, want := *held.Of("a"), a; got != want.cut() || got.Note != a.Note {
		t.Errorf("%+v", got)
	}
	is(true)(d.HoldFor(name, Case{Name: "b", Since: at}))
	is(true)(d.Hold(name))
	is(false)(d.Hold(name))
	check(true, "a", "b")
	is(true)(d.ReleaseCase(name, "a"))
	check(true, "b")
	is(true)(d.Release(name))
	is(false)(d.Release(name))
	check(false, "b")
	is(true)(d.ReleaseCase(name, "b"))
	check(false)

	is(true)(d.Hold(name))
	if b, err := os.ReadFile(hold); err != nil || len(b) > 0 {
		t.Errorf("a hold without a case is an empty file: %q, %v", b, err)
	}
	is(true)(d.HoldFor(name, a))
	check(true, "a")
	is(true)(d.ReleaseCase(name, "a"))
	check(true)
	is(true)(d.Release(name))
	check(false)

	if err := os.Remove(strings.TrimSuffix(hold, ".hold")); err != nil {
		t.Fatal(err)
	}
	if changed, err := d.HoldFor(name, a); changed || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, %v", changed, err)
	}
	check(false)
}

// TestForeignHolds: hold files that people have made hold as before, and keep what is in them when a case comes and goes.
func TestForeignHolds(t *testing.T) {
	for _, content := range []string{"", "\n", "keep this, please\n", "{}", `{"case":""}`, `{"case":"a b"}`, "{\"case\":\"x\"", "\x00\xff", `["case"]`, strings.Repeat("x", 5000)} {
		d, name, hold := heldFile(t)
		if err := os.WriteFile(hold, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d.LookAt(filepath.Base(hold))
		changed, err := d.HoldFor(name, Case{Name: "a", Since: time.Unix(1, 0)})
		if h := d.Holds(name); !changed || err != nil || !h.Plain || !slices.Equal(names(h.Cases), []string{"a"}) {
			t.Errorf("%q: %v, %v, %+v", content, changed, err, h)
		}
		if _, err := d.ReleaseCase(name, "a"); err != nil {
			t.Error(err)
		}
		b, err := os.ReadFile(hold)
		if h := d.Holds(name); err != nil || !h.Plain || len(h.Cases) > 0 || !d.IsHeld(name) || !strings.Contains(string(b), strings.TrimSpace(content)) {
			t.Errorf("%q: %q, %v", content, b, err)
		}
		if changed, err := d.Release(name); !changed || err != nil || d.IsHeld(name) {
			t.Errorf("%q: %v, %v", content, changed, err)
		}
	}
}

// TestOddHolds: what is no hold file of capd's holds, takes no case, and is released by hand.
func TestOddHolds(t *testing.T) {
	for what, odd := range map[string]func(path string) error{
		"link":      func(path string) error { return os.Symlink("/etc/passwd", path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"large":     func(path string) error { return os.WriteFile(path, make([]byte, maxHoldFile+1), 0o600) },
	} {
		d, name, hold := heldFile(t)
		if err := odd(hold); err != nil {
			t.Fatal(err)
		}
		d.LookAt(filepath.Base(hold))
		if changed, err := d.Hold(name); changed || err != nil {
			t.Errorf("%s: %v, %v", what, changed, err)
		}
		if changed, err := d.HoldFor(name, Case{Name: "a"}); changed || err == nil || !d.Holds(name).Plain || !d.IsHeld(name) {
			t.Errorf("%s: %v, %v", what, changed, err)
		}
		if changed, err := d.Release(name); !changed || err != nil || d.IsHeld(name) {
			t.Errorf("%s: %v, %v", what, changed, err)
		}
	}
}

// TestMostCases: a hold file has an end, and what is in it stays.
func TestMostCases(t *testing.T) {
	d, name, _ := heldFile(t)
	for i := range 1000 {
		changed, err := d.HoldFor(name, Case{Name: fmt.Sprint("case", i), Question: strings.Repeat("\x01ü", 3000)})
		if err == nil && changed {
			continue
		}
		if h := d.Holds(name); i < 3 || changed || len(h.Cases) != i || !strings.Contains(err.Error(), "no room for more") {
			t.Errorf("%d: %v, %v", i, changed, err)
		}
		return
	}
	t.Error("there is no end")
}

// FuzzHolds: whatever is in a hold file holds, and is written so that the same is read again.
func FuzzHolds(f *testing.F) {
	for _, s := range []string{"", "{}\n", "please keep", `{"case":"a","since":"2026-01-02T03:04:05Z","uid":0}`, "{\"case\":\"a\"}\n{\"case\":\"a\"}\n{\"case\":\"b\",\"note\":\"\\u0000\"}", `{"case":1}`, `{"CASE":"x","uid":-1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := parseHolds(b)
		if !h.any() {
			t.Fatalf("%q does not hold", b)
		}
		for i := range h.Cases {
			if c := h.Cases[i].cut(); CheckCase(c.Name) != nil || len(c.Note) > MaxNote || !utf8.ValidString(c.Question) || h.Of(c.Name) != &h.Cases[i] {
				t.Errorf("%+v", c)
			}
		}
		written, err := h.append(nil)
		if err != nil {
			return // too large, or of a year that can't be spelled
		}
		again := parseHolds(written)
		if again.Plain != h.Plain || !slices.Equal(names(again.Cases), names(h.Cases)) || len(h.others) > 0 && !slices.Equal(again.others, h.others) {
			t.Errorf("%q: %+v, written %q, %+v", b, h, written, again)
		}
	})
}
