package check

import (
	"os"
	"strings"
	"testing"

	"capd/config"
	"capd/internal/retain"
	"capd/internal/testdisk"
)

func TestMain(m *testing.M) { os.Exit(testdisk.MainAsRoot(m)) }

// TestDiscard: a file system that trims the disk for each deleted file is a warning.
func TestDiscard(t *testing.T) {
	for options, want := range map[string]bool{"": false, "discard": true} {
		dir := testdisk.Image(t, "ext4", 64<<20, options)
		c := Checker{Policy: func(*config.Config) retain.Policy { return retain.Policy{} }}
		c.directory(dir, 0o600, config.Default())
		out := printed(&c)
		if got := strings.Contains(out, "warn directory "+dir+": its file system is mounted with discard: "); got != want || c.Failed() {
			t.Errorf("options %q:\n%s", options, out)
		}
		if got := strings.Contains(out, "fstrim.timer"); got != want {
			t.Errorf("options %q: hint %v\n%s", options, got, out)
		}
	}
}
