package after

import (
	"bytes"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// present has the first n files.
func present(n int) map[string]presence {
	files := make(map[string]presence)
	for i := range n {
		files[nameOf(i, pcap.PCAP).String()] = plain
	}
	return files
}

func TestJournalOutlastsTears(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := nameOf(0, pcap.PCAP).String(), nameOf(1, pcap.PCAP).String(), nameOf(2, pcap.PCAP).String()
	known := facts{Packets: 7, Reason: ledger.ReasonSize, Clean: true, End: start}
	for _, err := range []error{j.todo(a, known), j.done(a), j.todo(b, known), j.todo(a, known), j.done(c), j.close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, journalName)
	whole := content(t, path)
	for cut := 0; cut <= len(whole); cut += 1 + len(whole)/60 { // each syncs the disk
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(dir, present(3))
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(whole[:cut], []byte("\n"))
		if bytes.HasPrefix(whole[cut:], []byte("\n")) {
			lines++ // only the line's end is missing
		}
		if j.isDone(a) != (lines >= 2) || j.isDone(b) || j.isDone(c) != (lines >= 4) || (j.facts(b) != nil) != (lines >= 3) {
			t.Errorf("cut at %d, after %d lines: %+v", cut, lines, j.entries)
		}
		if f := j.facts(b); f != nil && *f != known {
			t.Errorf("facts %+v, want %+v", *f, known)
		}
		// What is written behind a torn line counts.
		if err := j.done(b); err != nil {
			t.Fatal(err)
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
		if j, err = openJournal(dir, present(2)); err != nil || !j.isDone(b) || j.isDone(c) {
			t.Errorf("cut at %d: %v, %+v", cut, err, j.entries)
		}
		_ = j.close()
	}
}

func TestJournalStaysShort(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	j.file.Close() // a journal that can't be written works on in memory
	if err := j.done(nameOf(0, pcap.PCAP).String()); err == nil || !j.torn || !j.isDone(nameOf(0, pcap.PCAP).String()) {
		t.Errorf("error %v, torn %v", err, j.torn)
	}
	for i := 1; !j.bloated(); i++ {
		_ = j.todo(nameOf(i, pcap.PCAP).String(), facts{})
		if i > 2*slackLines {
			t.Fatal("the journal grows without end")
		}
	}
	if err := j.compact(present(5)); err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(content(t, j.path), []byte("\n")); got != 5 || len(j.entries) != 5 || j.bloated() {
		t.Errorf("%d lines, %d entries", got, len(j.entries))
	}
}

func FuzzJournal(f *testing.F) {
	name := nameOf(1, pcap.PCAP).String()
	f.Add([]byte(`{"file":"` + name + `","done":true}` + "\n"))
	f.Add([]byte(`{"file":"` + name + `","facts":{"end":"2026-01-02T03:04:05Z","packets":1,"reason":"size","clean":true}}` + "\n{"))
	f.Add([]byte(`{"file":"../../etc/passwd","done":true}` + "\n"))
	f.Add([]byte(strings.Repeat("x", maxLine+1) + "\n" + `{"file":"` + name + `"}`))
	f.Add([]byte(`{"file":"` + name + `","facts":{"packets":-1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := readJournal(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		files := make(map[string]presence)
		for name, e := range entries {
			if _, err := store.ParseName(name); err != nil || e.File != name {
				t.Fatalf("%q: %+v: %v", name, e, err)
			}
			files[name] = plain
			for _, v := range first(hookEnvironment(name, name, e.Facts)) {
				if !strings.HasPrefix(v, "CAPD_") && !strings.HasPrefix(v, "PATH=") {
					t.Fatalf("environment %q", v)
				}
			}
		}
		j := &journal{entries: entries}
		again, err := readJournal(bytes.NewReader(j.keep(files)))
		if err != nil || len(again) != len(files) {
			t.Fatalf("%d of %d entries read back: %v", len(again), len(files), err)
		}
	})
}

func first[A, B any](a A, _ B) A { return a }
