package daemon

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"capd/config"
	"capd/internal/control"
	"capd/ledger"
)

// TestHoldForCase: limits leave files that are held for a case until the last case of theirs is released.
func TestHoldForCase(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) { c.RetainCount = 2 }, "v1")
		next := uint64(0)
		file := func() string {
			t.Helper()
			r.send(v1, 1, next, next+10, "v1")
			next += 10
			r.await("frames", func() bool { return r.status("v1").Writer.File != "" })
			done, err := r.d.RotateFiles(t.Context(), "v1")
			if err != nil || len(done) != 1 {
				t.Fatalf("rotated %q, %v", done, err)
			}
			return filepath.Base(done[0])
		}
		files := func() []string {
			all, _ := filepath.Glob(filepath.Join(r.dir, "v1-*.pcapng"))
			return all
		}
		r.start(r.options())
		r.await("recording", func() bool { return r.status("v1").State == Recording })
		name := file()
		a, b := &control.Case{Name: "a", UID: 7}, &control.Case{Name: "b", UID: 7}
		for _, bad := range []control.Selection{
			{Case: a}, {Case: a, Directory: r.dir}, {Case: a, Files: []string{name}}, {Case: a, Directory: r.dir, Files: []string{"x"}}, {Case: a, Directory: r.dir, Files: []string{name}, Last: "1m"},
			{Case: &control.Case{Name: "a b"}, Directory: r.dir, Files: []string{name}}, {Case: a, Directory: "/", Files: []string{name}}, {Case: a, Directory: r.dir, Files: make([]string, maxHeldAtOnce+1)},
		} {
			if _, err := r.d.Hold(t.Context(), bad); !errors.As(err, new(*control.RefusedError)) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		for _, bad := range []control.Selection{{Case: a, Files: []string{name}}, {Case: a, All: true}, {Case: a, Directory: "/"}} {
			if _, err := r.d.Release(t.Context(), bad); !errors.As(err, new(*control.RefusedError)) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		for _, c := range []*control.Case{a, b, b} {
			if done, err := r.d.Hold(t.Context(), control.Selection{Case: c, Directory: r.dir, Files: []string{name}}); err != nil || len(done) != 1 {
				t.Fatalf("%q, %v", done, err)
			}
		}
		if done, err := r.d.Release(t.Context(), control.Selection{Case: a}); err != nil || len(done) != 1 {
			t.Errorf("%q, %v", done, err)
		}
		file()
		file()
		r.await("deletions", func() bool { return len(files()) == 2 })
		if s := r.d.Report().Directories[0]; s.Held != 1 {
			t.Errorf("%+v", s)
		}
		if done, err := r.d.Release(t.Context(), control.Selection{Case: b, Directory: r.dir}); err != nil || len(done) != 1 || filepath.Base(done[0]) != name {
			t.Errorf("%q, %v", done, err)
		}
		file()
		r.await("its deletion", func() bool { return len(files()) == 2 && !slices.Contains(files(), filepath.Join(r.dir, name)) })
		r.end()
		kinds := make(map[ledger.Kind]int)
		for e, err := range ledger.Read(r.dir, nil) {
			if err != nil {
				t.Error(err)
			}
			if e.UID == 7 && e.Files == 1 && e.Case != "" {
				kinds[e.Kind]++
			}
		}
		if kinds[ledger.KindHold] != 2 || kinds[ledger.KindRelease] != 2 {
			t.Errorf("%v", kinds)
		}
	})
}
