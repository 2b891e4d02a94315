package daemon

import (
	"errors"
	"testing"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/ledger"
)

// TestLease: limits leave files that somebody leases, those that come later too, and delete them when the lease is released. Neither
// files nor the ledger tell of it.
func TestLease(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, func(c *config.Config) { c.RetainCount = 2 }, "v1")
		next := uint64(0)
		file := func() {
			t.Helper()
			r.send(v1, 1, next, next+10, "v1")
			next += 10
			r.await("frames", func() bool { return r.status("v1").Writer.Accepted > 0 && r.status("v1").Writer.File != "" })
			if done, err := r.d.RotateFiles(t.Context(), "v1"); err != nil || len(done) != 1 {
				t.Fatalf("rotated %q, %v", done, err)
			}
		}
		r.start(r.options())
		r.await("recording", func() bool { return r.status("v1").State == Recording })
		now := time.Now()
		for _, bad := range []control.Selection{
			{Holder: "a", Since: now}, {For: "1m", Since: now}, {Holder: "a", For: "1m"}, {Holder: "a", For: "11m", Since: now}, {Holder: "a", For: "-1m", Since: now},
			{Holder: "a", For: "x", Since: now}, {Holder: "a", For: "1m", Since: now, Until: now}, {Holder: "a", For: "1m", Since: now, Interface: "v1"},
		} {
			if _, err := r.d.Hold(t.Context(), bad); !errors.As(err, new(*control.RefusedError)) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		file()
		if _, err := r.d.Hold(t.Context(), control.Selection{Holder: "a", Since: now.Add(-time.Hour), For: "10m"}); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			file()
		}
		r.await("that they count as held", func() bool { return r.d.Report().Directories[0].Held == 5 && r.d.Report().Interfaces[0].Kept.Held == 5 })
		if got := len(r.files("v1")); got != 5 {
			t.Errorf("%d files are left", got)
		}
		if _, err := r.d.Release(t.Context(), control.Selection{Holder: "a"}); err != nil {
			t.Fatal(err)
		}
		if s := r.d.Report(); s.Directories[0].Held != 0 || s.Interfaces[0].Kept.Held != 0 {
			t.Errorf("held after the release: %+v", s.Directories[0])
		}
		file()
		r.await("deletions", func() bool { return len(r.files("v1")) == 2 })
		r.end()
		for e, err := range ledger.Read(r.dir, nil) {
			if err != nil || e.Kind == ledger.KindHold || e.Kind == ledger.KindRelease {
				t.Errorf("%v, %+v", err, e)
			}
		}
	})
}
