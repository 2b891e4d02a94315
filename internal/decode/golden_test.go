package decode

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compares the corpus's lines and layers with those that were read
// and found right.
func TestGolden(t *testing.T) {
	var lines, layers strings.Builder
	for _, s := range append(corpus(), cutSamples(corpus())...) {
		d := New(s.link, Options{})
		f := d.Decode(&s.Packet)
		fmt.Fprintf(&lines, "%s | %s\n", s.name, f.AppendLine(nil))
		fmt.Fprintf(&layers, "%s\n%s", s.name, f.AppendLayers(nil))
		if d.Panics() > 0 {
			t.Errorf("%s: %s", s.name, d.Stack())
		}
	}
	compare(t, "lines.txt", lines.String())
	compare(t, "layers.txt", layers.String())
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(b), "\n")
	if len(g) != len(w) {
		t.Errorf("%s: %d lines, not %d", name, len(g), len(w))
	}
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Errorf("%s:%d:\ngot  %s\nwant %s", name, i+1, g[i], w[i])
		}
	}
}
