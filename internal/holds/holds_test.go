package holds

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"capd/ledger"
	"capd/store"
)

// TestHolds: files that are gone are left out, those that were held before have no new line, and the listing has each case once,
// with all who held for it.
func TestHolds(t *testing.T) {
	dir := t.TempDir()
	var names []store.Name
	for _, base := range []string{"eth0-20260102T030405Z-000001.pcapng", "eth0-20260102T030505Z-000002.pcapng", "eth0-20260102T030605Z-000003.pcapng"} {
		n, err := store.ParseName(base)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	for _, base := range []string{names[0].String(), names[1].String() + ".partial"} {
		if err := os.WriteFile(filepath.Join(dir, base), make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)
	done, err := Hold(t.Context(), d, names[:1], store.Case{Name: "a", Since: begin.Add(time.Hour), User: "u", Note: "n", Question: "q"})
	if err != nil || len(done.Files) != 1 || len(done.Lines) != 2 {
		t.Fatalf("%v, %+v", err, done)
	}
	done, err = Hold(t.Context(), d, names, store.Case{Name: "a", Since: begin, UID: 5, Sudo: "s", Note: "m", Question: "q"})
	if err != nil || len(done.Files) != 2 || len(done.Lines) != 2 || done.Lines[0].Name != names[1].String() || done.Lines[1].Files != 1 || done.Lines[1].Size != 100 || done.Lines[1].UID != 5 {
		t.Errorf("%v, %+v", err, done)
	}
	if done, err = Hold(t.Context(), d, names, store.Case{Name: "a"}); err != nil || len(done.Files) != 2 || len(done.Lines) != 0 {
		t.Errorf("%v, %+v", err, done)
	}
	if _, err := d.Hold(names[0]); err != nil {
		t.Fatal(err)
	}
	if done, err := Hold(t.Context(), d, names[:1], store.Case{Name: "0"}); err != nil || len(done.Lines) != 2 || done.Lines[0].Kind != ledger.KindHold {
		t.Errorf("%v, %+v", err, done)
	}
	l := List(d, "")
	if len(l.Groups) != 3 || l.Groups[0].Case != "0" || l.Groups[2].Case != "" || l.Files != 2 || l.Bytes != 200 {
		t.Fatalf("%+v", l)
	}
	g := l.Groups[1]
	if !g.Since.Equal(begin) || !slices.Equal(g.By, []string{"u", "uid 5, sudo of s"}) || !slices.Equal(g.Notes, []string{"n", "m"}) || !slices.Equal(g.Questions, []string{"q"}) ||
		len(g.Files) != 2 || g.Bytes != 200 {
		t.Errorf("%+v", g)
	}
	if l := List(d, "0"); len(l.Groups) != 1 || l.Files != 1 || l.Bytes != 100 {
		t.Errorf("%+v", l)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if done, err := Release(ended, d, store.Case{Name: "a"}); !errors.Is(err, context.Canceled) || len(done.Files) != 0 {
		t.Errorf("%v, %+v", err, done)
	}
	done, err = Release(t.Context(), d, store.Case{Name: "a", User: "v"})
	if err != nil || len(done.Files) != 2 || len(done.Lines) != 3 || done.Lines[2].User != "v" || done.Lines[2].Kind != ledger.KindRelease || done.Lines[2].Size != 200 {
		t.Errorf("%v, %+v", err, done)
	}
	if l := List(d, ""); len(l.Groups) != 2 || l.Files != 1 {
		t.Errorf("%+v", l)
	}
}
