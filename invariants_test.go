package capd_test

import (
	"go/ast"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestInvariants: each test that docs/invariants.md names is there.
func TestInvariants(t *testing.T) {
	page, err := os.ReadFile("docs/invariants.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test() && f.Recv == nil {
				all = append(all, f.Name.Name)
			}
		}
	}
	names := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*(\\\*)?`).FindAllString(string(page), -1)
	if len(names) < 100 {
		t.Fatalf("the page names %d tests", len(names))
	}
	for _, name := range names {
		prefix, pattern := strings.CutSuffix(name, `\*`)
		found := false
		for _, f := range all {
			found = found || f == prefix || pattern && strings.HasPrefix(f, prefix)
		}
		if !found {
			t.Errorf("there is no %s", name)
		}
	}
}
