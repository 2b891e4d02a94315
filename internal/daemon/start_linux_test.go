package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capd/capture/fake"
	"capd/config"
	"capd/internal/testdisk"
	"capd/store"
)

// TestDirectoryIsListedOnce: at a start, salvage, hooks, compression, retention
// and the ledger's reconciliation all have work to do, but the directory is
// listed once and each ledger is read once.
func TestDirectoryIsListedOnce(t *testing.T) {
	testdisk.Need(t)
	disk := testdisk.New(t)
	for name, data := range files(t, recordings(t)) {
		if err := os.WriteFile(filepath.Join(disk.Dir, name), data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(disk.Dir, ".capd-hooks"), nil, 0o640); err != nil { // an earlier run had a hook
		t.Fatal(err)
	}
	listed, read := disk.Count(testdisk.List), disk.Opened("ledger-000001.jsonl")
	r := newRig(t, &fakeNetwork{t: t, sys: fake.New()}, func(c *config.Config) {
		c.Directory = disk.Dir
		c.Finished.Compress, c.Finished.Hook = config.CompressGzip, []string{"/bin/true"}
		c.Retain.Count = 1000
	}, "eth0")
	r.cfg.Interfaces[0].Wait = true
	r.start(r.options())
	<-r.ready
	done := func() (n int) {
		for name := range files(t, disk.Backing) {
			if strings.HasSuffix(name, store.Gzip.Ext()) {
				n++
			}
		}
		return n
	}
	r.await("three files to be compressed", func() bool { return done() == 3 })
	if n := disk.Count(testdisk.List) - listed; n != 1 {
		t.Errorf("the directory was listed %d times", n)
	}
	if n := disk.Opened("ledger-000001.jsonl") - read; n != 1 {
		t.Errorf("an old ledger was opened %d times", n)
	}
	r.end()
}

// files returns the files of a directory.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil {
			all[e.Name()] = b
		}
	}
	return all
}
