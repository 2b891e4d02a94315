package finish

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"capd/internal/index"
	"capd/pcap"
	"capd/store"
)

// selves are the ways in which a step is done: in this process, and in one of its own.
func selves() map[string][]string {
	return map[string][]string{"here": nil, "own process": {os.Args[0], "compress"}}
}

// checkTable checks that the table of a capture file counts, and has all its packets.
func checkTable(t *testing.T, path string, packets uint64) {
	t.Helper()
	table, err := index.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if table.Totals.Packets != packets || table.Error != "" {
		t.Errorf("%s: %+v, %q", path, table.Totals, table.Error)
	}
}

// TestIndex: new files have tables before they are compressed, and files that were there, as after a crash, get theirs.
func TestIndex(t *testing.T) {
	for name, self := range selves() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			old := capture(t, dir, 1, 100, pcap.PCAPNG)
			torn := index.TablePath(old.Path) + store.Packing.Ext()
			if err := os.WriteFile(torn, []byte("PAR1"), 0o600); err != nil {
				t.Fatal(err)
			}
			r := newRig(t, Options{Directory: opened(t, dir), Index: true, Compression: Zstd, Self: self, Hook: []string{"/bin/sh", "-c", `test -e "${CAPD_FILE%.zst}.flows.parquet"`}})
			r.run()
			fresh := capture(t, dir, 2, 0, pcap.PCAP)
			r.Add(fresh)
			did := make(map[store.Name][]string)
			for range 5 {
				o := r.outcome()
				if o.Err != nil {
					t.Fatal(o.Err)
				}
				if o.Step == Index && (o.Table == 0 || o.Size == 0) {
					t.Errorf("%+v", o)
				}
				did[o.Name] = append(did[o.Name], o.Step)
			}
			// The hook is for files that came after it was configured.
			if !slices.Equal(did[old.Name], []string{Index, Compress}) || !slices.Equal(did[fresh.Name], []string{Index, Compress, Hook}) {
				t.Errorf("%v", did)
			}
			r.close()
			checkTable(t, old.Path+".zst", 100)
			checkTable(t, fresh.Path+".zst", 0)
			if _, err := os.Lstat(torn); err == nil {
				t.Error("a torn table is left")
			}
			s := r.Stats()
			if s.Done[Index] != 2 || s.BytesBefore != uint64(old.Size+fresh.Size) {
				t.Errorf("%+v", s)
			}
			if c := content(t, filepath.Join(dir, index.CatalogueName)); strings.Count(string(c), store.Flows.Ext()) != 2 {
				t.Errorf("catalogue: %s", c)
			}
			if f, _ := r.dir.File(old.Name); r.Next(&f, Index) != "" || r.Next(&f) != "" {
				t.Errorf("%q is next", r.Next(&f))
			}
		})
	}
}

// TestIndexOfCompressed: a file that was compressed before it had a table gets one.
func TestIndexOfCompressed(t *testing.T) {
	dir := t.TempDir()
	f := capture(t, dir, 1, 100, pcap.PCAPNG)
	r := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd})
	r.Add(f)
	r.run()
	r.outcome()
	r.close()
	r = newRig(t, Options{Directory: opened(t, dir), Index: true})
	if g, _ := r.dir.File(f.Name); r.Next(&g) != Index {
		t.Errorf("%q is next", r.Next(&g))
	}
	r.run()
	if o := r.outcome(); o.Err != nil || o.Step != Index || o.Path != f.Path+".zst" {
		t.Errorf("%+v", o)
	}
	checkTable(t, f.Path+".zst", 100)
}

// TestIndexFails: a file without a table is compressed, its hook runs, and its table is tried again.
func TestIndexFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := capture(t, dir, 1, 100, pcap.PCAPNG)
		// Nobody can make the table while its temporary name is a directory.
		tmp := index.TablePath(f.Path) + store.Packing.Ext()
		if err := os.Mkdir(tmp, 0o700); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, Options{Directory: opened(t, dir), Index: true, Compression: Gzip})
		r.Add(f)
		go r.Run(t.Context())
		for i, step := range []string{Index, Compress, Index, Index} {
			if o := <-r.outcomes; o.Step != step || (o.Err == nil) != (step == Compress) {
				t.Fatalf("outcome %d: %+v", i, o)
			}
		}
		if s := r.Stats(); s.Failing != 1 || s.Failed[Index] != 3 {
			t.Errorf("%+v", s)
		}
		if err := os.Remove(tmp); err != nil {
			t.Fatal(err)
		}
		if o := <-r.outcomes; o.Step != Index || o.Err != nil {
			t.Errorf("%+v", o)
		}
		r.close()
		checkTable(t, f.Path+".gz", 100)
	})
}

// TestIndexNeedsSpace: tables leave free what must be left free.
func TestIndexNeedsSpace(t *testing.T) {
	for name, self := range selves() {
		dir := t.TempDir()
		f := capture(t, dir, 1, 1, pcap.PCAP)
		r := newRig(t, Options{Directory: opened(t, dir), Index: true, KeepFree: 1 << 62, Self: self})
		if _, err := r.steps[0].do(f.Name.String()); err == nil || !strings.Contains(err.Error(), "index: "+dir+": not enough space for a flow table: ") {
			t.Errorf("%s: %v", name, err)
		}
		want(t, dir, f.Name.String())
	}
}

// TestIndexOfDeleted: no table stays of a file that a limit deleted meanwhile.
func TestIndexOfDeleted(t *testing.T) {
	dir := t.TempDir()
	f := capture(t, dir, 1, 1, pcap.PCAP)
	x := indexer{dir: dir, stop: make(chan struct{})}
	if _, err := index.Build(t.Context(), f.Path, false, func(int) {}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(f.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := x.result(Outcome{Path: f.Path}, nil); !errors.Is(err, errNothing) {
		t.Errorf("%v", err)
	}
	if _, err := x.run(f.Name.String()); !errors.Is(err, errNothing) {
		t.Errorf("%v", err)
	}
	want(t, dir)
}

// TestIndexStops: a table that is being made is given up when the Queue stops, and leaves nothing.
func TestIndexStops(t *testing.T) {
	dir := t.TempDir()
	f := capture(t, dir, 1, 30000, pcap.PCAPNG)
	tmp := index.TablePath(f.Path) + store.Packing.Ext()
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := (&indexer{dir: dir, stop: stop}).run(f.Name.String())
		ended <- err
	}()
	await(t, "the table is begun", func() bool {
		_, err := os.Lstat(tmp)
		_, table := os.Lstat(index.TablePath(f.Path))
		return err == nil || table == nil
	})
	close(stop)
	if err := <-ended; err != nil && !errors.Is(err, errNothing) {
		t.Error(err)
	}
	if _, err := os.Lstat(tmp); err == nil {
		t.Errorf("%q", names(t, dir))
	}
}
