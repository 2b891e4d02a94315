package index

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/pcap"
	"capd/store"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// captureOf returns a capture file of so many packets of random flows, beginning at a second.
func captureOf(format pcap.Format, r *rand.Rand, packets int, sec uint32) []byte {
	enc := pcap.NewEncoder(pcap.Header{Format: format, LinkType: pcap.LinkTypeEthernet, Interface: "eth7"})
	b := slices.Clone(enc.Header())
	record := make([]byte, enc.MaxRecord())
	for i := range packets {
		data := make([]byte, 60+r.IntN(200))
		copy(data[12:], []byte{8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, byte(r.IntN(5)), 10, 0, 0, byte(r.IntN(5)), 0, byte(r.IntN(3)), 0, 53})
		n, _ := enc.Encode(record, []pcap.Packet{{Data: data, Length: uint32(len(data)), Sec: sec + uint32(i), Nsec: 5}})
		b = append(b, record[:n]...)
	}
	return b
}

func compressed(t *testing.T, kind string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var err error
	if kind == ".gz" {
		w := gzip.NewWriter(&out)
		_, err = w.Write(b)
		err = errors.Join(err, w.Close())
	} else {
		w, err2 := zstd.NewWriter(&out)
		if err2 != nil {
			t.Fatal(err2)
		}
		_, err = w.Write(b)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func put(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

const begin = 1767355200

// nameOf returns the name of a file of capd's.
func nameOf(sequence uint64, format pcap.Format) string {
	return store.Name{Interface: "eth0", Start: time.Unix(begin, 0).UTC(), Sequence: sequence, Format: format}.String()
}

// recordings makes a directory of finished files in all forms.
func recordings(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	put(t, filepath.Join(dir, nameOf(1, pcap.PCAPNG)), captureOf(pcap.PCAPNG, r, 300, begin))
	put(t, filepath.Join(dir, nameOf(2, pcap.PCAP)), captureOf(pcap.PCAP, r, 300, begin+300))
	put(t, filepath.Join(dir, nameOf(3, pcap.PCAPNG)+".zst"), compressed(t, ".zst", captureOf(pcap.PCAPNG, r, 300, begin+600)))
	put(t, filepath.Join(dir, "dump.pcap.gz"), compressed(t, ".gz", captureOf(pcap.PCAP, r, 300, begin+900)))
	put(t, filepath.Join(dir, "dump.pcap7"), captureOf(pcap.PCAP, r, 300, begin+1200))
	put(t, filepath.Join(dir, "notes.txt"), []byte("no capture"))
	return dir
}

// index makes the tables of a directory.
func index(t *testing.T, dir string) (all []Built) {
	t.Helper()
	paths, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := Build(t.Context(), path, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	if err := Catalogue(dir, all); err != nil {
		t.Fatal(err)
	}
	return all
}

// ask returns the flows of a directory as text, and the answer.
func ask(t *testing.T, dir string, q Query) (string, *Answer) {
	t.Helper()
	q.By = ByBytes
	a, err := Flows(t.Context(), dir, q)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(struct {
		Flows []Flow
		Total Counts
	}{a.Flows, a.Total})
	if err != nil {
		t.Fatal(err)
	}
	return string(b), a
}

// TestSameWithTables: a question has the same answer with tables as without, and the sums are those of the packets.
func TestSameWithTables(t *testing.T) {
	dir := recordings(t)
	bounds := Query{Since: time.Unix(begin+310, 0), Until: time.Unix(begin+590, 0)}
	all, a := ask(t, dir, Query{})
	part, b := ask(t, dir, bounds)
	if c := a.Total; a.Scanned != 5 || c.APackets+c.BPackets != 1500 || len(a.Trouble) > 0 {
		t.Errorf("%+v", a)
	}
	if b.Scanned != 5 || b.Total.Flows >= a.Total.Flows {
		t.Errorf("bounded: %+v", b)
	}
	if built := index(t, dir); len(built) != 5 || !built[0].Made || built[0].Source.Totals.Packets != 300 {
		t.Errorf("%+v", built)
	}
	if again := index(t, dir); again[0].Made {
		t.Error("a table that counts was made anew")
	}
	if got, a := ask(t, dir, Query{}); got != all || a.Tables != 5 || a.Scanned != 0 {
		t.Errorf("%+v:\n%s, want\n%s", a, got, all)
	}
	if got, a := ask(t, dir, bounds); got != part || a.Tables != 1 || a.Skipped != 4 {
		t.Errorf("bounded: %+v:\n%s, want\n%s", a, got, part)
	}
	if err := os.Remove(filepath.Join(dir, CatalogueName)); err != nil {
		t.Fatal(err)
	}
	if got, _ := ask(t, dir, bounds); got != part {
		t.Error("another answer without the catalogue")
	}
	if got, _ := ask(t, dir, Query{Interfaces: []string{"eth9"}}); !strings.Contains(got, `"Flows":[]`) {
		t.Errorf("of another interface: %s", got)
	}
	_, tops := ask(t, dir, Query{Top: 3})
	if len(tops.Flows) != 3 || tops.Total != a.Total {
		t.Errorf("top 3: %+v", tops)
	}
}

// TestDoubt: whatever happens to tables and catalogue, the answer is the same.
func TestDoubt(t *testing.T) {
	dir := recordings(t)
	bounds := Query{Since: time.Unix(begin+310, 0), Until: time.Unix(begin+590, 0)}
	all, _ := ask(t, dir, Query{})
	part, _ := ask(t, dir, bounds)
	index(t, dir)
	tables, err := filepath.Glob(filepath.Join(dir, "*"+store.Flows.Ext()))
	if err != nil || len(tables) != 5 {
		t.Fatalf("%v, %v", tables, err)
	}
	check := func(what string) {
		t.Helper()
		if got, _ := ask(t, dir, Query{}); got != all {
			t.Fatalf("%s: another answer:\n%s, want\n%s", what, got, all)
		}
		if got, _ := ask(t, dir, bounds); got != part {
			t.Fatalf("%s: another answer within bounds", what)
		}
	}
	r := rand.New(rand.NewPCG(7, 7))
	for range 25 {
		path := append(tables, filepath.Join(dir, CatalogueName))[r.IntN(len(tables)+1)]
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(b)
		what := "a bit flips in "
		switch r.IntN(4) {
		case 0:
			bad, what = bad[:r.IntN(len(bad))], "cut: "
		case 1:
			if other, err := os.ReadFile(tables[r.IntN(len(tables))]); err == nil && filepath.Base(path) != CatalogueName {
				bad, what = other, "the table of another file in place of "
			}
		default:
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		}
		put(t, path, bad)
		if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		check(what + filepath.Base(path))
		put(t, path, b)
		if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	if _, a := ask(t, dir, Query{}); a.Tables != 5 {
		t.Errorf("in the end: %+v", a)
	}
}

// TestStale: a table does not count for a capture file that was changed, and counts for one that capd has compressed.
func TestStale(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, nameOf(1, pcap.PCAPNG))
	b := captureOf(pcap.PCAPNG, rand.New(rand.NewPCG(1, 1)), 50, begin)
	put(t, path, b)
	index(t, dir)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path+".zst", compressed(t, ".zst", b))
	if err := errors.Join(os.Chtimes(path+".zst", info.ModTime(), info.ModTime()), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	if _, a := ask(t, dir, Query{}); a.Tables != 1 {
		t.Errorf("compressed: %+v", a)
	}
	put(t, path+".zst", compressed(t, ".zst", captureOf(pcap.PCAPNG, rand.New(rand.NewPCG(2, 2)), 70, begin)))
	if _, err := Open(path + ".zst"); !errors.Is(err, ErrStale) {
		t.Errorf("changed: %v", err)
	}
	if _, a := ask(t, dir, Query{}); a.Scanned != 1 || a.Total.APackets+a.Total.BPackets != 70 {
		t.Errorf("changed: %+v", a)
	}
	if all := index(t, dir); !all[0].Made {
		t.Error("the table was not made anew")
	}
}

// TestInterrupted: an index that ends early leaves nothing, and the table that was there stays.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.pcap")
	put(t, path, captureOf(pcap.PCAP, rand.New(rand.NewPCG(1, 1)), 5000, begin))
	for _, there := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Build(ctx, path, true, func(int) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		names, err := filepath.Glob(filepath.Join(dir, "*parquet*"))
		if err != nil || len(names) > 0 != there || len(names) > 1 {
			t.Errorf("left: %v, %v", names, err)
		}
		index(t, dir)
	}
}

// TestTorn: of a torn file there is what is whole, and the answer says so with and without a table.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	b := captureOf(pcap.PCAPNG, rand.New(rand.NewPCG(1, 1)), 100, begin)
	put(t, filepath.Join(dir, "x.pcapng"), b[:len(b)-10])
	put(t, filepath.Join(dir, "empty.pcap"), nil)
	put(t, filepath.Join(dir, nameOf(1, pcap.PCAPNG)+store.Partial), b[:len(b)-10])
	for _, indexed := range []bool{false, true} {
		_, a := ask(t, dir, Query{})
		if len(a.Trouble) != 2 || a.Total.APackets+a.Total.BPackets != 2*99 || a.Tables == 1 != indexed {
			t.Errorf("%+v", a)
		}
		if _, err := Build(t.Context(), filepath.Join(dir, "x.pcapng"), false, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Build(t.Context(), filepath.Join(dir, "empty.pcap"), false, nil); err == nil {
		t.Error("an empty file has a table")
	}
	if _, err := Build(t.Context(), filepath.Join(dir, nameOf(1, pcap.PCAPNG)+store.Partial), false, nil); !errors.Is(err, ErrGrowing) {
		t.Errorf("of a growing file: %v", err)
	}
	if _, err := Build(t.Context(), filepath.Join(dir, "none.pcap"), false, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of none: %v", err)
	}
}

// TestPresent: a file that is finished or compressed while a question is answered is found.
func TestPresent(t *testing.T) {
	finished := filepath.Join(t.TempDir(), nameOf(1, pcap.PCAPNG))
	put(t, finished+".zst", nil)
	for _, before := range []string{finished, finished + store.Partial, finished + ".zst"} {
		if got := present(before); got != finished+".zst" {
			t.Errorf("%s is %s", before, got)
		}
	}
	if got := present(finished + "x"); got != finished+"x" {
		t.Errorf("none is %s", got)
	}
}

// TestDirections: a flow whose parts begin at different ends is one line.
func TestDirections(t *testing.T) {
	dir := t.TempDir()
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAP, LinkType: pcap.LinkTypeRaw})
	there := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 9, 0, 53, 0, 8, 0, 0}
	back := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1, 0, 53, 0, 9, 0, 8, 0, 0}
	for i, data := range [][]byte{there, back, back} {
		record := make([]byte, enc.MaxRecord())
		n, _ := enc.Encode(record, []pcap.Packet{{Data: data, Length: 28, Sec: begin + uint32(i)}})
		put(t, filepath.Join(dir, fmt.Sprintf("%d.pcap", i)), append(slices.Clone(enc.Header()), record[:n]...))
	}
	for _, by := range Measures() {
		a, err := Flows(t.Context(), dir, Query{By: by})
		if err != nil || len(a.Flows) != 1 || a.Flows[0].APackets != 1 || a.Flows[0].BPackets != 2 || a.Flows[0].A != "10.0.0.1" {
			t.Errorf("by %s: %+v, %v", by, a, err)
		}
	}
}

func FuzzCatalogue(f *testing.F) {
	for _, line := range []string{`{"table":"x.flows.parquet","size":5}`, `{"table":"x","filter":{"at":-1,"blocks":5}}`, `{"table":"x","filter":{"blocks":1e9}}`} {
		f.Add([]byte(checksumOf([]byte(line)) + " " + line))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := parseEntry(b)
		if ok && (e.Table == "" || e.Filter != nil && (e.Filter.At < 0 || e.Filter.Blocks < 0 || e.Filter.Blocks > maxKeyBytes/blockSize)) {
			t.Fatalf("%+v", e)
		}
	})
}
