package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestDraft: a file is there once it is whole, one process makes it, and what a killed one left is done over.
func TestDraft(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.flows.parquet")
	if err := os.WriteFile(path+".tmp", []byte("of a process that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := NewDraft(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewDraft(path, 0o640); !errors.Is(err, ErrBusy) {
		t.Errorf("two at once: %v", err)
	}
	if _, err := d.WriteString("whole"); err != nil {
		t.Fatal(err)
	}
	if all := entries(t, dir); !slices.Equal(all, []string{"x.flows.parquet.tmp"}) {
		t.Errorf("before: %v", all)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "whole" {
		t.Errorf("%q, %v", b, err)
	}
	if d, err = NewDraft(path, 0o640); err != nil {
		t.Fatal(err)
	}
	d.Discard()
	if all := entries(t, dir); !slices.Equal(all, []string{"x.flows.parquet"}) {
		t.Errorf("after: %v", all)
	}
	if d, err = NewDraft(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteString("another"); err != nil {
		t.Fatal(err)
	}
	if err := d.Place(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "another" {
		t.Errorf("%q, %v", b, err)
	}
	if all := entries(t, dir); !slices.Equal(all, []string{"x.flows.parquet"}) {
		t.Errorf("in its place: %v", all)
	}
	if err := os.Symlink("target", path+".tmp"); err != nil {
		t.Fatal(err)
	}
	if _, err := NewDraft(path, 0o640); err == nil {
		t.Error("a link was followed")
	}
}
