package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/pcap"
)

var markSteps = []string{"hook", "upload"}

// markedName returns the name of the i-th finished file.
func markedName(i int) Name {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(i) * time.Minute)
	return Name{Interface: "eth0", Start: start, Sequence: uint64(i), Format: pcap.PCAP}
}

// markedNames returns the names of the first n files.
func markedNames(n int) (all []Name) {
	for i := range n {
		all = append(all, markedName(i))
	}
	return all
}

func openMarks(t testing.TB, dir string, steps []string, present []Name) *Marks {
	t.Helper()
	m, err := OpenMarks(dir, steps, present)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func noError(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

var someFacts = Facts{Packets: 7, Reason: "size", Clean: true, End: time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC)}

// TestMarksOutlastTears: the journal is readable after it was truncated anywhere, as a crash may
// do.
func TestMarksOutlastTears(t *testing.T) {
	dir := t.TempDir()
	steps := []string{"hook"}
	m := openMarks(t, dir, steps, nil)
	a, b, c := markedName(0), markedName(1), markedName(2)
	noError(t, m.SetFacts(a, someFacts), m.SetDone(a, "hook"), m.SetFacts(b, someFacts), m.SetFacts(a, someFacts), m.SetDone(c, "hook"), m.Close())
	path := filepath.Join(dir, MarksName)
	whole, err := os.ReadFile(path)
	noError(t, err)
	for cut := 0; cut <= len(whole); cut += 1 + len(whole)/60 { // each iteration syncs the disk
		noError(t, os.WriteFile(path, whole[:cut], 0o600))
		m := openMarks(t, dir, steps, markedNames(3))
		lines := bytes.Count(whole[:cut], []byte("\n")) - 1 // lines about files
		if bytes.HasPrefix(whole[cut:], []byte("\n")) {
			lines++ // only the newline is missing
		}
		if m.Done(a, "hook") != (lines >= 2) || m.Done(b, "hook") || m.Done(c, "hook") != (lines >= 4) || (m.Facts(b) != nil) != (lines >= 3) {
			t.Errorf("cut at %d, after %d lines: %+v", cut, lines, m.files)
		}
		if f := m.Facts(b); f != nil && *f != someFacts {
			t.Errorf("facts %+v, want %+v", *f, someFacts)
		}
		// Lines that are written after an incomplete line are valid.
		noError(t, m.SetDone(b, "hook"), m.Close())
		m = openMarks(t, dir, steps, markedNames(2))
		if !m.Done(b, "hook") || m.Done(c, "hook") {
			t.Errorf("cut at %d: %+v", cut, m.files)
		}
		_ = m.Close()
	}
}

func TestMarksStayShort(t *testing.T) {
	m := openMarks(t, t.TempDir(), markSteps, nil)
	m.file.Close() // without its file, the journal still works in memory
	if err := m.SetDone(markedName(0), "hook"); err == nil || !m.torn || !m.Done(markedName(0), "hook") {
		t.Errorf("error %v, torn %v", err, m.torn)
	}
	for i := 1; !m.Bloated(); i++ {
		_ = m.SetFacts(markedName(i), Facts{})
		if i > 2*marksSlack {
			t.Fatal("the journal grows without end")
		}
	}
	noError(t, m.Compact(func(file Name) bool { return slices.Contains(markedNames(5), file) }))
	b, err := os.ReadFile(m.path)
	noError(t, err)
	if got := bytes.Count(b, []byte("\n")); got != 1+5 || len(m.files) != 5 || m.Bloated() {
		t.Errorf("%d lines, %d files", got, len(m.files))
	}
}

// TestMarksOfSteps adds and removes steps: a new step applies only to files that are finished
// later.
func TestMarksOfSteps(t *testing.T) {
	dir := t.TempDir()
	expect := func(m *Marks, want string) {
		t.Helper()
		var got []string
		for i := range 4 {
			for _, step := range markSteps {
				if m.Done(markedName(i), step) {
					got = append(got, fmt.Sprintf("%d %s", i, step))
				}
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("done: %q, want %q", s, want)
		}
	}
	m := openMarks(t, dir, []string{"hook"}, markedNames(1))
	expect(m, "0 hook")
	noError(t, m.SetFacts(markedName(1), someFacts), m.SetDone(markedName(1), "hook"), m.SetFacts(markedName(2), someFacts))
	if m.Facts(markedName(1)) != nil {
		t.Error("facts of a file that is done are kept")
	}
	if err := m.SetDone(markedName(1), "upload"); err == nil {
		t.Error("a step without marks is done")
	}
	m = openMarks(t, dir, markSteps, markedNames(3))
	expect(m, "0 hook 0 upload 1 hook 1 upload 2 upload")
	noError(t, m.SetFacts(markedName(3), someFacts), m.SetDone(markedName(3), "hook"))
	if m.Facts(markedName(3)) == nil {
		t.Error("facts are forgotten before all steps are done")
	}
	m = openMarks(t, dir, []string{"upload"}, markedNames(4))
	expect(m, "0 upload 1 upload 2 upload")
	noError(t, RemoveMarks(dir), RemoveMarks(dir))
	m = openMarks(t, dir, markSteps, markedNames(1))
	expect(m, "0 hook 0 upload")
}

// TestOldHooksAreTakenOver: an older version's journal is converted, also if both journals exist
// after a crash.
func TestOldHooksAreTakenOver(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, oldHooksName)
	facts, _ := json.Marshal(someFacts)
	journal := fmt.Sprintf(`{"file":%q,"facts":%s}`+"\n"+`{"file":%q,"done":true}`+"\n"+`{"file":%q,"facts":%s}`+"\n"+`{"file":`,
		markedName(0).String(), facts, markedName(0).String(), markedName(1).String(), facts)
	noError(t, os.WriteFile(old, []byte(journal), 0o600))
	check := func(m *Marks) {
		t.Helper()
		f := m.Facts(markedName(1))
		if !m.Done(markedName(0), "hook") || m.Done(markedName(1), "hook") || f == nil || *f != someFacts {
			t.Errorf("%+v", m.files)
		}
		if m.Done(markedName(2), "hook") {
			t.Error("the hook was set before the file came")
		}
		if !m.Done(markedName(2), "upload") {
			t.Error("the upload is for files to come")
		}
		if _, err := os.Lstat(old); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the old journal is there: %v", err)
		}
	}
	check(openMarks(t, dir, markSteps, markedNames(3)))
	check(openMarks(t, dir, markSteps, markedNames(3)))
	noError(t, os.WriteFile(old, []byte(journal), 0o600))
	check(openMarks(t, dir, markSteps, markedNames(3)))
	noError(t, os.WriteFile(old, []byte(journal), 0o600), RemoveMarks(dir))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// FuzzMarks reads any bytes as both journals: only names of capture files are accepted, and what
// was read survives rewriting.
func FuzzMarks(f *testing.F) {
	name := markedName(1).String()
	for _, s := range []string{
		`{"steps":["hook"]}` + "\n" + `{"file":"` + name + `","done":["hook","index"]}` + "\n",
		`{"file":"` + name + `","done":true}` + "\n",
		`{"file":"` + name + `","facts":{"end":"2026-01-02T03:04:05Z","packets":1,"reason":"size","clean":true}}` + "\n{",
		`{"file":"../../etc/passwd","done":["hook"]}` + "\n",
		strings.Repeat("x", maxMarkLine+1) + "\n" + `{"file":"` + name + `"}`,
		`{"file":"` + name + `","facts":{"packets":-1}}`,
		`{"steps":[],"file":"` + name + `"}`,
	} {
		f.Add([]byte(s), []byte(s))
	}
	f.Fuzz(func(t *testing.T, b, old []byte) {
		m := &Marks{steps: markSteps, files: make(map[markKey]markedFile)}
		if _, err := m.read(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		noError(t, m.readOldHooks(bytes.NewReader(old)))
		for file, f := range m.files {
			if n, err := ParseName(file.name().String()); err != nil || keyOf(n) != file || f.done > m.all() {
				t.Fatalf("%+v: %+v: %v", file, f, err)
			}
		}
		again := &Marks{steps: markSteps, files: make(map[markKey]markedFile)}
		known, err := again.read(bytes.NewReader(m.keep(func(Name) bool { return true })))
		if err != nil || !slices.Equal(known, markSteps) || len(again.files) != len(m.files) {
			t.Fatalf("%d of %d files read back, steps %q: %v", len(again.files), len(m.files), known, err)
		}
		for file, f := range m.files {
			if g := again.files[file]; g.done != f.done || (g.facts == nil) != (f.facts == nil) {
				t.Fatalf("%+v: %+v, read back %+v", file, f, g)
			}
		}
	})
}
