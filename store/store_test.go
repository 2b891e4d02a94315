package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/pcap"

	"golang.org/x/sys/unix"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	l, err := LockDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = LockDirectory(dir)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("second lock: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if l, err = LockDirectory(dir); err != nil {
		t.Fatal(err)
	}
	l.Release()
}

// TestLockHere: a directory is at its path until it is renamed, deleted or
// replaced.
func TestLockHere(t *testing.T) {
	top := t.TempDir()
	dir, away := filepath.Join(top, "dir"), filepath.Join(top, "away")
	steps := []struct {
		what string
		do   func() error
		here bool
	}{
		{"nothing", func() error { return nil }, true},
		{"a rename", func() error { return os.Rename(dir, away) }, false},
		{"another one", func() error { return os.Mkdir(dir, 0o700) }, false},
		{"a lock file in it", func() error { return os.WriteFile(filepath.Join(dir, LockName), nil, 0o600) }, false},
		{"the return", func() error { return errors.Join(os.RemoveAll(dir), os.Rename(away, dir)) }, true},
		{"another number for the same directory", func() error {
			return errors.Join(os.Rename(dir, away), os.Mkdir(dir, 0o700), os.Link(filepath.Join(away, LockName), filepath.Join(dir, LockName)))
		}, true},
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := LockDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		if err := l.Here(); (err == nil) != s.here || err != nil && !errors.Is(err, ErrReplaced) {
			t.Errorf("after %s: %v", s.what, err)
		}
	}
}

// TestInUse: InUse reports who holds the lock, and does not keep others from taking it.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	asked := func(want bool) {
		t.Helper()
		if in, err := InUse(dir); in != want || err != nil {
			t.Errorf("in use: %v, %v", in, err)
		}
	}
	asked(false)
	l, err := LockDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	asked(true)
	l.Release()
	asked(false)
	asker, err := os.Open(filepath.Join(dir, LockName)) // as InUse does for a moment
	if err := errors.Join(err, unix.Flock(int(asker.Fd()), unix.LOCK_SH)); err != nil {
		t.Fatal(err)
	}
	locked := make(chan error)
	go func() {
		locked <- nil
		l, err := LockDirectory(dir)
		if err == nil {
			defer l.Release()
		}
		locked <- err
	}()
	<-locked
	asker.Close()
	if err := <-locked; err != nil {
		t.Errorf("while InUse has the lock: %v", err)
	}
}

// TestLockOfRoot: a lock file that root created does not keep the directory's owner out, and root does
// not follow a link in its place.
func TestLockOfRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to others")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Skip("a namespace with one user: ", err)
	}
	l, err := LockDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
	var s unix.Stat_t
	lock := filepath.Join(dir, LockName)
	if err := unix.Stat(lock, &s); err != nil || s.Uid != 65534 || s.Gid != 65534 {
		t.Errorf("the lock is of %d:%d, %v", s.Uid, s.Gid, err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := errors.Join(os.WriteFile(other, []byte("text"), 0o600), os.Remove(lock), os.Symlink(other, lock)); err != nil {
		t.Fatal(err)
	}
	_, err = LockDirectory(dir)
	if text, _ := os.ReadFile(other); err == nil || string(text) != "text" {
		t.Errorf("a link: %v, and behind it %q", err, text)
	}
}

func TestProve(t *testing.T) {
	dir := t.TempDir()
	s, err := Prove(filepath.Join(dir, "new"), 0o640)
	if err != nil || s.Total == 0 || s.Free == 0 || s.FileSystem == "" {
		t.Errorf("%+v, %v", s, err)
	}
	if left := entries(t, filepath.Join(dir, "new")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"file", "no/such", "file/x"} {
		if _, err := Prove(filepath.Join(dir, bad), 0o640); err == nil {
			t.Errorf("%s was proven", bad)
		}
	}
}

// TestContentsOfAllStates: a file occupies its sequence number in every state.
func TestContentsOfAllStates(t *testing.T) {
	for _, c := range []struct {
		state string
		files int
	}{{"", 1}, {".zst", 1}, {".gz", 1}, {DamagedExt, 0}, {".zst" + Partial, 0}, {".deleting", 0}, {Partial, 0}} {
		dir := t.TempDir()
		s := Name{"eth0", time.Unix(0, 0), 1, 0, pcap.PCAP, false}.String() + c.state
		if err := os.WriteFile(filepath.Join(dir, s), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadContents(dir)
		if err != nil || got.Last[Lane{"eth0", 0}] != 1 || got.Files != c.files || (len(got.Partials) == 1) != (c.state == Partial) {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
}

// entries returns the names in a directory.
func entries(t *testing.T, dir string) (all []string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		all = append(all, e.Name())
	}
	return all
}
