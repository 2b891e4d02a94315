package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestEntriesRenamed: however files are renamed while a directory is read, each is in each reading.
func TestEntriesRenamed(t *testing.T) {
	const files = 3000
	dir := t.TempDir()
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, nameOf("eth0", i+1).String()+Partial), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	renamed := make(chan error, 1)
	go func() {
		for i := range files {
			path := filepath.Join(dir, nameOf("eth0", i+1).String())
			if err := os.Rename(path+Partial, path); err != nil {
				renamed <- err
				return
			}
		}
		renamed <- nil
	}()
	for readings := 1; ; readings++ {
		entries, err := Entries(dir)
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]bool)
		for _, e := range entries {
			n, _, err := Parse(e.Name())
			if err != nil {
				t.Fatal(err)
			}
			found[n.String()] = true
		}
		if len(found) != files {
			t.Fatalf("%d of %d files are in a reading", len(found), files)
		}
		select {
		case err := <-renamed:
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d readings", readings)
			if entries, err = Entries(dir); err != nil || len(entries) != files {
				t.Errorf("%d entries at rest, %v", len(entries), err)
			}
			return
		default:
		}
	}
}

func TestEntriesMissing(t *testing.T) {
	if _, err := Entries(filepath.Join(t.TempDir(), "no")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestPresent: a file is found under the name that it has now.
func TestPresent(t *testing.T) {
	dir, name := t.TempDir(), nameOf("eth0", 1)
	before := filepath.Join(dir, name.String()+Partial)
	if path, _, err := Present(before); path != before || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is gone: %s, %v", path, err)
	}
	for i, s := range []State{Damaged, Gzip, Zstd, Finished, Recording} {
		now := filepath.Join(dir, name.String()+s.Ext())
		if err := os.WriteFile(now, make([]byte, i+1), 0o600); err != nil {
			t.Fatal(err)
		}
		if path, info, err := Present(before); err != nil || path != now || info.Size() != int64(i+1) {
			t.Errorf("%s: %s, %v", now, path, err)
		}
	}
	foreign := filepath.Join(dir, "foreign.pcap")
	if path, _, err := Present(foreign); path != foreign || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s, %v", path, err)
	}
}
