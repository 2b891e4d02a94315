package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRootGivesToOwner: what root makes in a directory of another user is that
// user's, and what was there is not touched.
func TestRootGivesToOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes files for others")
	}
	const uid, gid = 12345, 12346
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "root"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "captures")
	if _, err := Prove(sub, DefaultFileMode); err != nil {
		t.Fatal(err)
	}
	l, err := LockDirectory(sub)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	m, err := OpenMarks(sub, []string{"hook"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	name := Name{Interface: "eth0", Start: time.Unix(1_800_000_000, 0).UTC(), Sequence: 1}
	h, err := os.OpenFile(filepath.Join(sub, name.String()), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	GiveToOwner(h)
	h.Close()
	d, err := Open(sub)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Hold(name); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, _ error) error {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		seen++
		own := info.Sys().(*syscall.Stat_t)
		if wantRoot := e.Name() == "root"; wantRoot != (own.Uid == 0) || !wantRoot && (own.Uid != uid || own.Gid != gid) {
			t.Errorf("%s is of %d:%d", path, own.Uid, own.Gid)
		}
		return nil
	})
	if err != nil || seen != 7 {
		t.Errorf("%d entries, %v", seen, err)
	}
	old, err := os.OpenFile(filepath.Join(dir, "root"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	GiveToOwner(old)
	if info, err := old.Stat(); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("what was there was given away: %v", err)
	}
}

// TestForeignFileIsNamed: the hint says whose file keeps the service from it.
func TestForeignFileIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 || os.Chown(path, 12345, 12346) != nil {
		t.Skip("only root makes files of others")
	}
	err := &UnfitError{&fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}}
	if hints := strings.Join(err.Hints(), "\n"); !errors.Is(err, fs.ErrPermission) || !strings.Contains(hints, path+" belongs to user 12345") {
		t.Error(hints)
	}
}
