package store

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDiscardsInTable(t *testing.T) {
	const table = `27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard,resuid=65534
30 27 7:0 / /fast rw,relatime - ext4 /dev/loop0 rw
31 27 0:31 / /b rw,relatime shared:7 master:1 - btrfs /dev/sdb rw,ssd,discard=async,space_cache=v2
32 27 0:32 / /s rw,relatime - btrfs /dev/sdc rw,ssd,discard=sync
33 27 8:1 / /odd\040name rw,relatime - xfs /dev/sda1 rw,discard
34 27 8:2 / /f rw - f2fs /dev/sda2 rw,discard,discard_unit=block
35 27 8:3 / /m rw - ext4 /dev/sda3 rw,nodiscard
36 27 8:4
`
	for id, want := range map[uint64]string{2: "", 27: "254:0", 30: "", 31: "", 32: "0:32", 33: "8:1", 34: "", 35: "", 36: ""} {
		if device, ok := discards(table, id); ok != (want != "") || ok && device != want {
			t.Errorf("mount %d: %q, %v", id, device, ok)
		}
	}
}

// TestTakesDiscards: a disk says it by itself, and a partition by its disk.
func TestTakesDiscards(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{"sda/queue": "0\n", "sdb/queue": "4096\n"} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path, "discard_max_bytes"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"8:0": "sda", "8:1": "sda/sda1", "8:16": "sdb", "8:17": "sdb/sdb1"} {
		if err := os.MkdirAll(filepath.Join(dir, target), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for device, want := range map[string]bool{"8:0": false, "8:1": false, "8:16": true, "8:17": true, "0:31": true} {
		if got := takesDiscards(dir, device); got != want {
			t.Errorf("%s: %v", device, got)
		}
	}
}
