package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"capd/seal"
)

// everyField is the key of the fields that every line has, in place of a kind.
const everyField = "every line"

// declaredFormat returns the keys of each kind of line as Entry declares them.
func declaredFormat() map[string][]string {
	all := make(map[string][]string)
	for _, f := range fields {
		kinds := f.kinds
		if len(kinds) == 0 {
			kinds = []string{everyField}
		}
		for _, kind := range kinds {
			all[kind] = append(all[kind], f.key)
		}
	}
	return all
}

// constructed has lines of every kind, which the constructors made of arguments
// that are not zero.
func constructed() []Entry {
	name := nameOf("eth0", 1)
	drops := Drops{Kernel: 1, Capd: 2, Freezes: 3, NIC: 4, Discarded: 5}
	run := Run{Software: "capd 1.0", Boot: "4b2b", Config: "91ab", PID: 5, Why: "the directory is not at its path any more"}
	file := File{
		Name: name, Link: "ETHERNET", Filter: "len < 100 && not tcp", Snaplen: 96, Begin: noon, End: minute(1), First: noon.Add(1), Last: noon.Add(2),
		Tally: sampleEntry(nil).Tally, Reason: ReasonInterval, Clean: true,
	}
	point := Checkpoint{Name: name, End: minute(1), First: noon.Add(1), Last: noon.Add(2), Packets: 3, Bytes: 4, Offset: 5, Boot: "4b2b"}
	gap := GapOpened("eth0", noon, CauseDiskFull)
	held := Holding{Case: "c7", Note: "theft", UID: 1000, User: "alice", Sudo: "bob (uid 1001)", Question: "capd extract tcp", Files: 2, Size: 3}
	released := held
	released.Note, released.Question = "", ""
	return []Entry{
		file.Entry(), Quiet("eth0", noon, minute(1), drops), gap, GapClosed(gap, minute(1), 6), GapExplained("eth0", noon, CauseRefused, errors.New("no memory")), XDPDetached(XDPAttached("eth0", noon, "XDP program 7, native"), minute(1)), Start(run), Stop(run),
		Restarted("eth0", noon, minute(1)), NotRestarted("eth0", errors.New("its ring is lost")),
		Deleted(name, 7, "min_free"), Salvaged(name, 8, 9, 10, "torn record"), salvagedLedger(11), Compressed(name, name.String()+".zst", 12),
		Hook(name, -1, errors.New("signal: killed")), Yield("hook", "bytes", noon, minute(1)), Hold(name), held.OfFile(Hold(name)), held.Hold(), Release(name), released.OfFile(Release(name)), released.Release(), Extract(Extraction{UID: 1000, User: "alice", Sudo: "bob (uid 1001)", Question: "capd extract tcp", Packets: 3, Bytes: 4}), ClockSet(noon, minute(1)), point.Entry(), unwritten(13),
		Deleting(name, "min_free"), Digest(name, seal.Digest{Size: 14, Root: seal.LeafHash(nil)}), sealed("note", "AAAA", "another key"),
	}
}

// TestConstructors: the lines of each kind have the fields that Entry declares
// for it, all of them and no others, and the fast decoder understands them.
func TestConstructors(t *testing.T) {
	got := make(map[string][]string)
	d := newDecoder()
	for _, e := range constructed() {
		line := bytes.TrimSpace(e.AppendLine(nil, noon))
		var keys map[string]any
		if err := json.Unmarshal(line, &keys); err != nil {
			t.Fatal(err)
		}
		kind := string(e.Kind)
		got[kind] = append(got[kind], slices.Collect(maps.Keys(keys))...)
		e.Version, e.Time = Version, noon
		if !d.decodeWritten(line) || d.entry != e {
			t.Errorf("%s: the fast decoder has %+v, want %+v", line, d.entry, e)
		}
	}
	want := declaredFormat()
	every := want[everyField]
	delete(want, everyField)
	for kind := range want {
		want[kind] = append(want[kind], every...)
	}
	compareFormats(t, "constructors", got, want)
}

// TestKindsAreDeclared: each constant of a kind has a constructor and fields.
func TestKindsAreDeclared(t *testing.T) {
	source := strings.Join(readLines(t, "entry.go"), "\n")
	var constants []string
	for _, m := range regexp.MustCompile(`(?m)^\tKind\w+ +Kind = "(\w+)"`).FindAllStringSubmatch(source, -1) {
		constants = append(constants, m[1])
	}
	declared := declaredFormat()
	delete(declared, everyField)
	if got := slices.Sorted(maps.Keys(declared)); len(constants) < 10 || !slices.Equal(got, slices.Sorted(slices.Values(constants))) {
		t.Errorf("fields are declared for %v, constants are %v", got, constants)
	}
}

// TestDocument: docs/ledger.md has a table of the fields of each kind.
func TestDocument(t *testing.T) {
	got := make(map[string][]string)
	var kinds []string
	for _, line := range readLines(t, "../docs/ledger.md") {
		switch {
		case strings.HasPrefix(line, "## Fields of every line"):
			kinds = []string{everyField}
		case strings.HasPrefix(line, "### "):
			kinds = strings.Split(line[4:], ", ")
		case strings.HasPrefix(line, "## "):
			kinds = nil
		case strings.HasPrefix(line, "| `"):
			cell, _, _ := strings.Cut(line[2:], " |")
			documentFields(got, kinds, strings.ReplaceAll(cell, "`", ""))
		}
	}
	compareFormats(t, "docs/ledger.md", got, declaredFormat())
}

// TestManual: capd-ledger(5) has the fields of each kind.
func TestManual(t *testing.T) {
	got := make(map[string][]string)
	var kinds []string
	lines := readLines(t, "../packaging/man/capd-ledger.5")
	plain := strings.NewReplacer(`\fB`, "", `\fR`, "", `\-`, "-", `"`, "")
	for i, line := range lines {
		macro, text, _ := strings.Cut(plain.Replace(line), " ")
		switch {
		case macro == ".SH" && text == "FIELDS OF EVERY LINE":
			kinds = []string{everyField}
		case macro == ".SS":
			kinds = strings.Split(text, ", ")
		case macro == ".SH":
			kinds = nil
		case macro == ".TP":
			documentFields(got, kinds, plain.Replace(lines[i+1]))
		}
	}
	compareFormats(t, "capd-ledger(5)", got, declaredFormat())
}

func documentFields(format map[string][]string, kinds []string, list string) {
	for _, kind := range kinds {
		format[kind] = append(format[kind], strings.Split(list, ", ")...)
	}
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	if _, err := os.Stat("../go.mod"); err != nil {
		t.Skip("away from the source tree")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(b), "\n")
}

// compareFormats compares keys by kind, in any order and any number.
func compareFormats(t *testing.T, where string, got, want map[string][]string) {
	t.Helper()
	for _, kind := range slices.Sorted(maps.Keys(want)) {
		for _, key := range want[kind] {
			if !slices.Contains(got[kind], key) {
				t.Errorf("%s: %s lacks %s", where, kind, key)
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(got)) {
		for _, key := range got[kind] {
			if !slices.Contains(want[kind], key) {
				t.Errorf("%s: %s has %s, which no line of that kind has", where, kind, key)
			}
		}
	}
}
