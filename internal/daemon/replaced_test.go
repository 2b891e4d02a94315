package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/ledger"
	"capd/store"
)

// TestDirectoryReplaced: when another directory comes to be at the path,
// recording goes on in that one without a loss. Meanwhile, and while there is
// none, nothing is made there, and status says so.
func TestDirectoryReplaced(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		path := filepath.Join(r.dir, "captures")
		r.cfg.Interfaces[0].Directory = path
		r.cfg.Interfaces[0].RotateInterval = config.Duration(5 * time.Second)
		r.start(r.options())
		r.await("start", func() bool { return r.status("v1").State == Recording })
		v1.Send(appendFrame(nil, 1, 0))
		r.await("the first frame", func() bool { return r.status("v1").Written == 1 })
		away := filepath.Join(r.dir, "away")
		if err := os.Rename(path, away); err != nil {
			t.Fatal(err)
		}
		r.await("the problem in the status", func() bool { return r.problem() != "" })
		time.Sleep(6 * time.Second) // past a rotation
		v1.Send(appendFrame(nil, 1, 1))
		r.await("the loss of a frame that has no place", func() bool { return r.status("v1").Dropped == 1 })
		r.await("suspension", func() bool { return r.status("v1").State == Suspended })
		if exists(path) {
			t.Error("a directory was made")
		}
		if err := os.Mkdir(path, 0o750); err != nil {
			t.Fatal(err)
		}
		r.await("the new directory", func() bool {
			return r.handed() && r.status("v1").State == Recording && r.problem() == "" && len(r.d.dirs.unique()) == 1
		})
		v1.Send(appendFrame(nil, 1, 2))
		r.await("the next frame", func() bool { return r.status("v1").Written == 2 })
		end := r.end()
		if s := Sum(end); s.Received != 3 || s.Written != 2 || s.Dropped != 1 {
			t.Errorf("%+v", s)
		}
		if l := lines(t, path); l[ledger.KindStart] != 1 || l[ledger.KindStop] != 1 || l[ledger.KindFile] != 1 || l[ledger.KindGap] != 0 {
			t.Errorf("the ledger of the new directory has %v", l)
		}
		if l := lines(t, away); l[ledger.KindStart] != 1 || l[ledger.KindStop] != 1 || l[ledger.KindGap] != 2 {
			t.Errorf("the ledger of the old directory has %v", l)
		}
		for e := range ledger.Read(path, nil) {
			if e.Kind == ledger.KindStart && !strings.Contains(e.Why, store.ErrReplaced.Error()) {
				t.Errorf("the ledger does not say why it begins: %+v", e)
			}
		}
		for e := range ledger.Read(away, nil) {
			if e.Kind == ledger.KindGap && (e.Cause != ledger.CauseReplaced || !e.End.IsZero() && e.Frames > 1) {
				t.Errorf("gap %+v", e)
			}
		}
	})
}

// TestDirectoryComesBack: a directory that was away for a while is recorded into
// as before.
func TestDirectoryComesBack(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		path, away := filepath.Join(r.dir, "captures"), filepath.Join(r.dir, "away")
		r.cfg.Interfaces[0].Directory = path
		r.start(r.options())
		r.await("start", func() bool { return r.status("v1").State == Recording })
		v1.Send(appendFrame(nil, 1, 0))
		r.await("the first frame", func() bool { return r.status("v1").Written == 1 })
		if err := os.Rename(path, away); err != nil {
			t.Fatal(err)
		}
		r.await("the problem in the status", func() bool { return r.problem() != "" })
		if err := os.Rename(away, path); err != nil {
			t.Fatal(err)
		}
		r.await("no problem", func() bool { return r.problem() == "" })
		v1.Send(appendFrame(nil, 1, 1))
		r.accepted(2)
		r.end()
		r.dir = path
		verify(t, r.files("v1"), 1, 2, 0)
		if gaps := r.gaps(); len(gaps) > 0 {
			t.Errorf("%+v", gaps)
		}
	})
}

// TestDirectoryInUse: a directory of another recorder that comes to be at the path
// is left alone.
func TestDirectoryInUse(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		path := filepath.Join(r.dir, "captures")
		r.cfg.Interfaces[0].Directory = path
		r.start(r.options())
		r.await("start", func() bool { return r.status("v1").State == Recording })
		v1.Send(appendFrame(nil, 1, 0))
		r.await("the first frame", func() bool { return r.status("v1").Written == 1 })
		other := filepath.Join(r.dir, "other")
		if err := os.Mkdir(other, 0o750); err != nil {
			t.Fatal(err)
		}
		lock, err := store.LockDirectory(other)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path, filepath.Join(r.dir, "away")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(other, path); err != nil {
			t.Fatal(err)
		}
		r.await("the problem in the status", func() bool { return strings.Contains(r.problem(), store.ErrInUse.Error()) })
		time.Sleep(10 * time.Second)
		if l := lines(t, path); len(l) > 0 {
			t.Errorf("the other's ledger has %v", l)
		}
		if err := lock.Release(); err != nil {
			t.Fatal(err)
		}
		r.await("the new directory", func() bool { return r.handed() && r.problem() == "" })
		v1.Send(appendFrame(nil, 1, 1))
		r.accepted(2)
		r.end()
		if l := lines(t, path); l[ledger.KindFile] != 1 {
			t.Errorf("the ledger has %v", l)
		}
	})
}

// problem returns the problem that the status has of the directory.
func (r *rig) problem() string {
	r.d.kept.forget()
	s := r.d.Report()
	if len(s.Directories) != 1 {
		r.t.Fatalf("%+v", s.Directories)
	}
	level, _ := s.Judge()
	if p := s.Directories[0].Problem; p != "" && level != control.Critical {
		r.t.Errorf("%v, with the problem %s", level, p)
	}
	return s.Directories[0].Problem
}

// lines counts the lines of a ledger by kind.
func lines(t *testing.T, dir string) map[ledger.Kind]int {
	t.Helper()
	kinds := make(map[ledger.Kind]int)
	for e, err := range ledger.Read(dir, nil) {
		if err != nil {
			t.Fatal(err)
		}
		kinds[e.Kind]++
	}
	return kinds
}
