package writer_test

import (
	"path/filepath"
	"testing"
	"time"

	"capd/internal/testdisk"
	"capd/writer"
)

// TestSharedSync: files of which many end together are synced by few calls, and those that were
// reported as finished survive a power cut.
func TestSharedSync(t *testing.T) {
	for _, name := range []string{"ext4", "xfs"} {
		t.Run(name, func(t *testing.T) {
			dir := testdisk.Image(t, name, 512<<20)
			b := newBenchIn(t, dir, writer.Options{RotateSize: 200_000, ChunkSize: 1 << 20, PoolSize: 16 << 20})
			var reports []writer.File
			for len(reports) < 64 {
				b.write(20, 1000)
				b.pass(time.Millisecond)
				reports = append(reports, b.reports()...)
			}
			testdisk.CutImagePower(t, dir)
			if s := b.Stats(); s.Syncs.Count > s.Files/2 {
				t.Errorf("%d syncs of %d files", s.Syncs.Count, s.Files)
			}
			b.close()
			testdisk.BootImage(t, dir, name)
			for _, f := range reports {
				path := filepath.Join(dir, f.Name.String())
				if got, err := readable(path); f.Err != nil || uint64(len(got)) != f.Packets {
					t.Fatalf("%s has %d packets, %v: %+v", path, len(got), err, f)
				}
			}
		})
	}
}
