package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/pcap"
	"capd/store"
)

func nameOf(iface string, sequence uint64) store.Name {
	return store.Name{Interface: iface, Start: noon, Sequence: sequence, Format: pcap.PCAP}
}

func fileLine(iface string, sequence uint64) Entry {
	f := File{Name: nameOf(iface, sequence), Begin: noon, End: minute(1), Clean: true}
	return f.Entry()
}

// recallLines returns what a ledger with the lines says at the next start.
func recallLines(t *testing.T, boot string, lines ...Entry) *History {
	t.Helper()
	dir := t.TempDir()
	l := openTest(t, dir, Options{})
	if err := l.Append(lines...); err != nil {
		t.Fatal(err)
	}
	h, err := Recall(dir, []string{FileName}, boot)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestRecallCheckpoints: only checkpoints of the present boot count, of files
// that are still unfinished. Lines without a boot are of the run before them.
func TestRecallCheckpoints(t *testing.T) {
	start := func(boot string) Entry { return Start(Run{Boot: boot}) }
	point := func(sequence uint64, boot string, offset int64) Entry {
		c := Checkpoint{Name: nameOf("eth0", sequence), Offset: offset, Boot: boot}
		return c.Entry()
	}
	for name, c := range map[string]struct {
		boot  string
		lines []Entry
		want  string // sequence numbers and offsets
	}{
		"the last one":          {"b", []Entry{start("b"), point(1, "b", 5), point(2, "b", 6), point(1, "b", 7)}, "1:7 2:6"},
		"finished":              {"b", []Entry{start("b"), point(1, "b", 5), fileLine("eth0", 1)}, ""},
		"salvaged":              {"b", []Entry{start("b"), point(1, "b", 5), Salvaged(nameOf("eth0", 1), 0, 0, 5, "no packets")}, ""},
		"another boot":          {"c", []Entry{start("b"), point(1, "b", 5)}, ""},
		"of both":               {"c", []Entry{start("b"), point(1, "b", 5), start("c"), point(2, "c", 6)}, "2:6"},
		"start was not written": {"c", []Entry{start("b"), point(1, "c", 5)}, "1:5"},
		"old lines":             {"c", []Entry{start("b"), point(1, "", 5), start("c"), point(2, "", 6)}, "2:6"},
		"boots are not known":   {"", []Entry{start(""), point(1, "", 5)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, e := range recallLines(t, c.boot, c.lines...).Checkpoints {
				n, err := store.ParseName(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprint(n.Sequence, ":", e.Offset))
			}
			slices.Sort(got)
			if strings.Join(got, " ") != c.want {
				t.Errorf("%v, want %s", got, c.want)
			}
		})
	}
}

// TestRecallFiles: what a start needs to know of the files of earlier runs.
func TestRecallFiles(t *testing.T) {
	failed := fileLine("eth0", 2)
	failed.Clean, failed.Reason = false, ReasonError
	mended := failed
	mended.Reason = ReasonSalvaged
	begin := Start(Run{PID: 7})
	begin.Time = noon
	h := recallLines(t, "b", begin, fileLine("eth0", 1), failed)
	if !h.Started.Equal(noon) || len(h.Files) != 2 || len(h.Failed) != 1 || h.Failed[failed.Name].Reason != ReasonError {
		t.Errorf("%+v", h)
	}
	if h := recallLines(t, "b", failed, mended); !h.Started.IsZero() || len(h.Failed) != 0 {
		t.Errorf("%+v", h)
	}
}

// TestRemoveSpent: a Ledger knows of the ledgers before it from the History, and of
// those that it rotates away itself, and reads and lists nothing to know it.
func TestRemoveSpent(t *testing.T) {
	dir := t.TempDir()
	var l *Ledger
	open := func() {
		t.Helper()
		names, err := listNames(dir)
		if err != nil {
			t.Fatal(err)
		}
		h, err := Recall(dir, names, "b")
		if err != nil {
			t.Fatal(err)
		}
		l = openTest(t, dir, Options{RotateSize: 1, History: h})
	}
	add := func(lines ...Entry) {
		t.Helper()
		if err := l.Append(lines...); err != nil {
			t.Fatal(err)
		}
	}
	lane := func(iface string) store.Lane { return store.Lane{Interface: iface} }
	want := func(old string, first map[store.Lane]uint64) {
		t.Helper()
		removed, err := l.RemoveSpent(first)
		if got := fmt.Sprint(l.Old()); err != nil || got != old {
			t.Errorf("old ledgers %v, want %v; removed %v, %v", got, old, removed, err)
		}
		all, err := listNames(dir)
		if got := fmt.Sprint(oldNames(all)); err != nil || got != old {
			t.Errorf("on the disk %v, want %v", got, old)
		}
	}
	open()
	add(fileLine("eth0", 1))
	add(fileLine("eth0", 2))
	l.Close()
	open()
	add(fileLine("eth1", 1))
	want("[ledger-000001.jsonl ledger-000002.jsonl ledger-000003.jsonl]", map[store.Lane]uint64{lane("eth0"): 1})
	want("[ledger-000002.jsonl ledger-000003.jsonl]", map[store.Lane]uint64{lane("eth0"): 2})
	add(Deleted(nameOf("eth0", 2), 5, "age"))
	if _, err := os.Stat(filepath.Join(dir, "ledger-000004.jsonl")); err != nil {
		t.Error(err)
	}
	want("[ledger-000003.jsonl ledger-000004.jsonl]", map[store.Lane]uint64{lane("eth1"): 1})
	want("[]", nil)
}

// TestRotateBesideForeign: a ledger that somebody put there is not replaced.
func TestRotateBesideForeign(t *testing.T) {
	dir := t.TempDir()
	h, err := Recall(dir, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	l := openTest(t, dir, Options{RotateSize: 1, History: h})
	if err := os.WriteFile(filepath.Join(dir, "ledger-000001.jsonl"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(Entry{Kind: KindStart, PID: 1}); err == nil {
		t.Error("no error")
	}
	if err := l.Append(Entry{Kind: KindStart, PID: 2}); err != nil {
		t.Error(err)
	}
	wantPIDs(t, dir, 1, 2)
	if b, err := os.ReadFile(filepath.Join(dir, "ledger-000001.jsonl")); err != nil || len(b) > 0 {
		t.Errorf("replaced: %s, %v", b, err)
	}
}

// TestRecallIsOnePass reads what ReadWith reads, in its order.
func TestRecallIsOnePass(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, Options{RotateSize: 500})
	for i := range 50 {
		begin := Start(Run{PID: i + 1})
		begin.Time = noon.Add(time.Duration(i) * time.Second)
		if err := l.Append(begin); err != nil {
			t.Fatal(err)
		}
	}
	names, err := listNames(dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Recall(dir, names, "")
	if err != nil || !h.Started.Equal(noon.Add(49*time.Second)) {
		t.Fatalf("%v, %v", h.Started, err)
	}
	read := make([]string, 0, len(h.spans))
	for _, s := range h.spans {
		read = append(read, s.ledger)
	}
	if want := append(l.Old(), FileName); !slices.Equal(read, want) || len(want) < 4 {
		t.Errorf("%v, want %v", read, want)
	}
}

// TestRecallUntil: it is known up to when the runs before recorded.
func TestRecallUntil(t *testing.T) {
	at := func(n int, e Entry) Entry { e.Time = minute(n); return e }
	point := Checkpoint{Name: nameOf("eth0", 2), End: minute(7), Offset: 5}
	for name, c := range map[string]struct {
		lines []Entry
		want  time.Time
	}{
		"no run":     {nil, time.Time{}},
		"stopped":    {[]Entry{at(0, Start(Run{})), fileLine("eth0", 1), at(9, Stop(Run{}))}, minute(9)},
		"crashed":    {[]Entry{at(0, Start(Run{})), fileLine("eth0", 1), point.Entry()}, minute(7)},
		"only begun": {[]Entry{at(3, Start(Run{}))}, minute(3)},
		"quiet":      {[]Entry{at(0, Start(Run{})), Quiet("eth0", noon, minute(5), Drops{})}, minute(5)},
	} {
		if h := recallLines(t, "b", c.lines...); !h.Until.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, h.Until, c.want)
		}
	}
}
