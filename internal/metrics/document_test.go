package metrics

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

var update = flag.Bool("update", false, "update the table of metrics")

// readTree reads a file of the source tree. It skips the test if there is no source tree.
func readTree(t *testing.T, name string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Skip("away from the source tree")
	}
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A known is a metric in a scrape.
type known struct {
	kind, help string
	labels     []string
}

// scraped returns all metrics of a scrape by name, including those of Go and the process.
func scraped(t *testing.T) map[string]known {
	t.Helper()
	gathered, err := registry(report).Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]known)
	for _, f := range gathered {
		k := known{kind: strings.ToLower(f.GetType().String()), help: f.GetHelp()}
		for _, l := range f.GetMetric()[0].GetLabel() {
			k.labels = append(k.labels, l.GetName())
		}
		all[f.GetName()] = k
	}
	return all
}

// table returns the table that the document should contain.
func table(all map[string]known) string {
	var rows []string
	for name, k := range all {
		if strings.HasPrefix(name, "capd_") {
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, k.kind, strings.Join(k.labels, ", "), k.help))
		}
	}
	slices.Sort(rows)
	return "| metric | type | labels | meaning |\n|---|---|---|---|\n" + strings.Join(rows, "")
}

// TestDocument: the document's table lists every metric of a scrape with its type, labels and
// meaning, and no others.
func TestDocument(t *testing.T) {
	const name = "docs/metrics.md"
	text := readTree(t, name)
	found := regexp.MustCompile(`(?m)^\| metric \|.*\n(?:\|.*\n)+`)
	want := table(scraped(t))
	if *update {
		text = found.ReplaceAllLiteralString(text, want)
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := found.FindString(text); got != want {
		t.Errorf("%s is out of date: go test ./internal/metrics -run Document -update\nit has\n%s\nand should have\n%s", name, got, want)
	}
	if n := strings.Count(want, "\n"); n < 30 {
		t.Errorf("the table has %d lines", n)
	}
}

// notMetrics are other words that look like metric names.
var notMetrics = []string{"capd_dropped", "capd_history", "capd_test"}

// TestDocumentsNameMetrics: documents name only existing metrics.
func TestDocumentsNameMetrics(t *testing.T) {
	readTree(t, "README.md")
	documents, err := filepath.Glob(root + "/*.md")
	more, err2 := filepath.Glob(root + "/docs/*.md")
	if err != nil || err2 != nil || len(more) == 0 {
		t.Fatal(err, err2)
	}
	there := scraped(t)
	var names []string
	for _, name := range append(documents, more...) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range regexp.MustCompile(`\bcapd_[a-z][a-z_]*`).FindAllString(string(b), -1) {
			if _, ok := there[s]; !ok && !slices.Contains(notMetrics, s) {
				t.Errorf("%s: %s is not a metric", name, s)
			}
			names = append(names, s)
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) < 30 {
		t.Errorf("only %q", names)
	}
}
