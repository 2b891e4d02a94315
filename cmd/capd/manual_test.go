package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"capd/config"
	"capd/internal/manual"
)

const manuals = "../../packaging/man"

// needTree skips where the test runs away from the source.
func needTree(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(manuals); err != nil {
		t.Skip("away from the source tree")
	}
}

// pages makes the man pages from the sources of today.
func pages(t *testing.T) map[string]string {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	exits := []manual.Term{
		{Word: string(rune('0' + exitFine)), Meaning: "All went well."},
		{Word: string(rune('0' + exitFailed)), Meaning: "It failed, check found a fault, or ledger found something missing."},
		{Word: string(rune('0' + exitUsage)), Meaning: "The command line makes no sense. capd status has codes of its own: see there."},
		{Word: string(rune('0' + exitIncomplete)), Meaning: "Packets may be missing from the answer of extract, or ledger knows nothing of what was asked for."},
	}
	files := []manual.Term{
		{Word: defaultConfig, Meaning: "The configuration, where neither -c nor -i is given; see capd.toml(5)."},
		{Word: config.Default().Directory, Meaning: "Where recordings go by default: NAME.partial is being written, NAME is finished."},
		{Word: filepath.Join(config.Default().Directory, "ledger.jsonl"), Meaning: "What was recorded and lost; see capd-ledger(5)."},
	}
	return map[string]string{
		"capd.8":        manual.Command(newRoot(nil), exits, files),
		"capd.toml.5":   manual.Config(read("capd.toml.example")),
		"capd-ledger.5": manual.Ledger(read("docs/ledger.md")),
	}
}

var update = flag.Bool("update", false, "write the man pages anew")

// TestManuals: the man pages say what the help, the example and the document
// say today.
func TestManuals(t *testing.T) {
	needTree(t)
	for name, page := range pages(t) {
		path := filepath.Join(manuals, name)
		if *update {
			if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if there, err := os.ReadFile(path); err != nil || string(there) != page {
			t.Errorf("%s is out of date (%v): go test ./cmd/capd -run Manuals -update", path, err)
		}
	}
}

// TestManualsName: every command, flag and key is in its page.
func TestManualsName(t *testing.T) {
	needTree(t)
	all := pages(t)
	plain := func(s string) string { return strings.NewReplacer(`\-`, "-", `\fB`, "", `\fR`, "").Replace(s) }
	for _, want := range []string{"--rotate-interval TIME", "capd ledger [DIR]", "-c, --config FILE", "SIGUSR1", "(default 262144)"} {
		if !strings.Contains(plain(all["capd.8"]), want) {
			t.Errorf("capd.8 has no %q", want)
		}
	}
	for line := range strings.Lines(config.Default().TOML()) {
		key, _, ok := strings.Cut(line, " = ")
		if ok && !strings.Contains(plain(all["capd.toml.5"]), "\n"+key+" = ") {
			t.Errorf("capd.toml.5 has no %q", key)
		}
	}
}

// TestManualsFormat: the formatters of Linux and the BSDs take the pages
// without a warning. That there is no date is meant.
func TestManualsFormat(t *testing.T) {
	needTree(t)
	for _, formatter := range []string{"man --warnings=w -E UTF-8 -Tutf8 -l", "mandoc -T lint -W warning"} {
		words := strings.Fields(formatter)
		t.Run(words[0], func(t *testing.T) {
			if _, err := exec.LookPath(words[0]); err != nil {
				t.Skipf("needs %s: %v", words[0], err)
			}
			for name := range pages(t) {
				for _, line := range warnings(t, words, filepath.Join(manuals, name)) {
					if !strings.Contains(line, "missing date") {
						t.Error(line)
					}
				}
			}
			bad := filepath.Join(t.TempDir(), "bad.8")
			if err := os.WriteFile(bad, []byte(".TH BAD 8\n.SH Name\nbad\n.nonsense\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if len(warnings(t, words, bad)) == 0 {
				t.Error("nothing is said about a bad page")
			}
		})
	}
}

// warnings are the formatter's lines about a page.
func warnings(t *testing.T, words []string, path string) []string {
	c := exec.Command(words[0], append(words[1:], path)...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=80", "PAGER=cat")
	out, err := c.CombinedOutput()
	if errors.As(err, new(*exec.Error)) || len(out) == 0 {
		t.Fatalf("%s: %v, and no output", c, err)
	}
	said := regexp.MustCompile(`(?m)^.*(warning:|WARNING:|ERROR:|rror:).*$`)
	return said.FindAllString(string(out), -1)
}
