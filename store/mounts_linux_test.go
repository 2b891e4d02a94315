package store

import (
	"os"
	"path/filepath"
	"testing"
)

// TestUnmounted: a file system that is configured at the directory or above it, and
// is not mounted, is found in fstab and among the units.
func TestUnmounted(t *testing.T) {
	dir := t.TempDir()
	fstab, units := filepath.Join(dir, "fstab"), filepath.Join(dir, "units")
	text := "# /dev/sdb1 /srv/comment ext4\nLABEL=a / ext4 defaults 0 1\nLABEL=b\t/srv/captures/ xfs\tnoauto 0 0\n" +
		"LABEL=c /srv/two\\040words ext4\nLABEL=d none swap sw\nLABEL=e /srv/mounted ext4\nLABEL=f /srv/mounted/inner ext4\nshort /srv/short\n"
	if err := os.WriteFile(fstab, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(units, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(units, "srv-masked.mount")); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(units, `srv-with\x2ddash.mount`)
	if err := os.WriteFile(unit, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	table := mountTable{fstab, []string{filepath.Join(dir, "missing"), units}}
	for dir, want := range map[string][2]string{
		"/srv/captures":             {"/srv/captures", fstab},
		"/srv/captures/eth0":        {"/srv/captures", fstab},
		"/srv/capturesque":          {},
		"/srv/comment":              {},
		"/srv/short":                {},
		"/srv/two words/x":          {"/srv/two words", fstab},
		"/srv/mounted/x":            {},
		"/srv/mounted/inner/x":      {"/srv/mounted/inner", fstab},
		"/srv/with-dash/captures":   {"/srv/with-dash", unit},
		"/srv/masked":               {},
		"/var/lib/capd":             {},
		"/srv/captures/../captures": {"/srv/captures", fstab},
	} {
		point, where := table.unmounted(dir, func(path string) bool { return path == "/" || path == "/srv/mounted" })
		if got := [2]string{point, where}; got != want {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
}

// TestIsMounted asks the kernel.
func TestIsMounted(t *testing.T) {
	dir := t.TempDir()
	if !isMounted("/proc") {
		t.Error("/proc is not mounted")
	}
	if isMounted(filepath.Join(dir, "missing")) || isMounted(dir) && !isMounted(filepath.Dir(dir)) {
		t.Errorf("%s is mounted", dir)
	}
}
