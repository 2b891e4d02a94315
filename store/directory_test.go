package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"capd/pcap"
)

func nameOf(iface string, seq int) Name {
	return Name{Interface: iface, Start: time.Date(2026, 1, 2, 12, 0, seq, 0, time.UTC), Sequence: uint64(seq), Format: pcap.PCAP}
}

type brokenEntry struct{ name string }

func (e brokenEntry) Name() string               { return e.name }
func (e brokenEntry) IsDir() bool                { return false }
func (e brokenEntry) Type() fs.FileMode          { return 0 }
func (e brokenEntry) Info() (fs.FileInfo, error) { return nil, fs.ErrPermission }

func TestUnreadableEntries(t *testing.T) {
	f := listing{files: make(map[string]*File), last: make(map[Lane]uint64)}
	f.add(brokenEntry{nameOf("eth0", 1).String()})
	f.add(brokenEntry{"foreign"})
	if f.unreadable != 1 || len(f.files) != 0 {
		t.Errorf("%+v", f)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "no")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

// TestParse: each name has one state, and names that are not capture files' have none.
func TestParse(t *testing.T) {
	name := nameOf("eth0", 1)
	s := name.String()
	for base, want := range map[string]State{
		s: Finished, s + ".partial": Recording, s + ".damaged": Damaged, s + ".zst": Zstd, s + ".gz": Gzip,
		s + ".zst.tmp": Packing, s + ".gz.tmp": Packing, s + ".deleting": Deleting, s + ".zst.deleting": Deleting,
		s + ".flows.parquet": Flows, s + ".flows.parquet.tmp": Packing, s + ".flows.parquet.deleting": Deleting,
		s + ".zst.flows.parquet": Foreign, s + ".parquet": Foreign, s + ".flows.parquet.hold": Foreign,
		s + ".hold": Hold, s + ".gz.hold": Hold, s + ".partial.hold": Hold,
		s + ".tmp": Foreign, s + ".zst.partial": Foreign, s + ".bak": Foreign, s + ".hold.hold": Foreign, s + ".a.b": Foreign,
	} {
		if n, state, err := Parse(base); err != nil || n != name || state != want {
			t.Errorf("%s: %v, %d, %v; want %d", base, n, state, err, want)
		}
	}
	for _, base := range []string{"", ".", "..", "foreign.pcap", "foreign.pcap.zst", ".capd.lock", "ledger.jsonl", "x" + s[1:] + "/", ".hold"} {
		if n, state, err := Parse(base); err == nil && base != "x"+s[1:] {
			t.Errorf("%q: %v, %d", base, n, state)
		}
	}
	for state := Finished; state < Foreign; state++ {
		if got, want := state.HasData(), slices.Contains(WithData(), state); got != want {
			t.Errorf("%d: has data %v, and is listed as such %v", state, got, want)
		}
	}
}

// TestListWhileChanging: a listing does not undo changes that are recorded while it is made.
func TestListWhileChanging(t *testing.T) {
	dir := t.TempDir()
	gone, came := nameOf("eth0", 1), nameOf("eth0", 2)
	path := filepath.Join(dir, gone.String())
	if err := os.WriteFile(path, []byte("12"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	old := listing{files: make(map[string]*File), last: make(map[Lane]uint64)}
	d.touched = make(map[string]bool)
	if err := old.read(dir); err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	d.Look(gone)
	d.Add(came, 3)
	d.mu.Lock()
	d.replace(&old)
	d.mu.Unlock()
	if f, ok := d.File(gone); ok {
		t.Errorf("a deleted file is back in the index: %+v", f)
	}
	if f, ok := d.File(came); !ok || f.Size() != 3 || d.Sequence(came.Of()) != 2 {
		t.Errorf("a new file is missing in the index: %+v", f)
	}
}

// TestHold: a hold applies to a file in all its states, and Release removes all of it.
func TestHold(t *testing.T) {
	dir := t.TempDir()
	name := nameOf("eth0", 1)
	base := filepath.Join(dir, name.String())
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := d.Hold(name); changed || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no file: %v, %v", changed, err)
	}
	if left := entries(t, dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := os.WriteFile(base+Partial, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Look(name)
	for i, want := range []bool{true, false} {
		if changed, err := d.Hold(name); changed != want || err != nil {
			t.Errorf("try %d: %v, %v", i, changed, err)
		}
	}
	if err := errors.Join(os.Rename(base+Partial, base+".zst"), os.WriteFile(base+".zst.hold", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	d.Look(name)
	if f, _ := d.File(name); !f.Held || !f.HasData() || !slices.Equal(d.Held(), []Name{name}) {
		t.Errorf("finished: %+v", f)
	}
	for i, want := range []bool{true, false} {
		if changed, err := d.Release(name); changed != want || err != nil {
			t.Errorf("release %d: %v, %v", i, changed, err)
		}
	}
	if f, _ := d.File(name); f.Held || len(entries(t, dir)) != 1 {
		t.Errorf("released: %+v, %v", f, entries(t, dir))
	}
}

func TestSince(t *testing.T) {
	d := &Directory{files: make(map[string]*File), last: make(map[Lane]uint64), changed: make(chan struct{})}
	for i := range 5 {
		d.Add(nameOf("eth0", 10*i), 1)
	}
	d.Add(nameOf("eth1", 1), 1)
	var got []string
	for _, n := range d.Since(nameOf("", 25).Start) {
		got = append(got, fmt.Sprint(n.Interface, n.Sequence))
	}
	if want := []string{"eth020", "eth030", "eth040", "eth11"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// BenchmarkOpen measures the listing at startup of a directory with 100,000 files.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for i := range 100_000 {
		if err := os.WriteFile(filepath.Join(dir, nameOf("eth0", i).String()), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for b.Loop() {
		if d, err := Open(dir); err != nil || d.Len() != 100_000 {
			b.Fatal(err)
		}
	}
}
