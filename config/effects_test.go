package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDocsHaveEveryKey: docs/reload.md lists for each key what a reload does.
func TestDocsHaveEveryKey(t *testing.T) {
	text, err := os.ReadFile("../docs/reload.md")
	if os.IsNotExist(err) {
		t.Skip("not beside the source")
	}
	if err != nil {
		t.Fatal(err)
	}
	keys := Keys()
	for _, k := range keys {
		row := fmt.Sprintf("| %s | %s | %s |\n", k.Table, k.Name, k.Effect)
		if !strings.Contains(string(text), row) {
			t.Errorf("missing: %s", row)
		}
		if k.Effect != InPlace && k.Effect != Reopen && k.Effect != Restart {
			t.Errorf("%s.%s: no effect %q", k.Table, k.Name, k.Effect)
		}
	}
	if n := strings.Count(string(text), "\n| "); n != len(keys)+1 {
		t.Errorf("%d rows for %d keys", n-1, len(keys))
	}
}
