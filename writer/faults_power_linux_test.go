package writer_test

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/testdisk"
	"capd/ledger"
	"capd/store"
	"capd/writer"
)

// TestPowerCut: a file that was reported as finished exists after the next boot, whole and with its
// final name. At whatever moment the power fails, no file with a final name is incomplete.
func TestPowerCut(t *testing.T) {
	for _, names := range []testdisk.Names{testdisk.SyncedNames, testdisk.AllNames} {
		for _, c := range []struct {
			moment testdisk.Op // the operation during which the power fails
			after  int
		}{
			{testdisk.Create, 9},
			{testdisk.Write, 0}, {testdisk.Write, 1}, {testdisk.Write, 20},
			{testdisk.Truncate, 2},
			{testdisk.Sync, 0}, {testdisk.Sync, 1}, {testdisk.Sync, 7},
			{testdisk.Close, 0}, {testdisk.Close, 4},
			{testdisk.Rename, 0}, {testdisk.Rename, 1}, {testdisk.Rename, 5},
			{testdisk.SyncDir, 0}, {testdisk.SyncDir, 1}, // few: files share it
		} {
			t.Run(string(c.moment), func(t *testing.T) {
				b := newBench(t, writer.Options{RotateSize: 20000})
				b.disk.Set(c.moment, testdisk.Fault{After: c.after, Stall: true})
				done := make(chan struct{})
				go func() {
					defer close(done)
					// Files that end together share syncs, and on a busy machine more of them end together.
					for n := 0; n < 30 || n < 3000 && b.disk.Stalled(c.moment) == 0; n++ {
						b.write(10, 1000)
						b.pass(10 * time.Millisecond)
					}
				}()
				b.await("the moment", func() bool { return b.disk.Stalled(c.moment) > 0 })
				before := b.reports()
				b.disk.CutPower(t, names)
				b.promptly("Write", func() { <-done })
				reports := append(before, b.close()...)
				checkBoot(t, b.files, reports)
				if s := b.Stats(); s.Written+s.Lost != s.Accepted || s.Files+s.Failures != uint64(len(reports)) {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

// checkBoot checks the directory after a power cut.
func checkBoot(t *testing.T, dir string, reports []writer.File) {
	t.Helper()
	there := entries(t, dir)
	for _, f := range reports {
		name := f.Name.String()
		if f.Err == nil && !slices.Contains(there, name) {
			t.Errorf("%s is gone", name)
		}
	}
	for _, name := range there {
		if strings.HasSuffix(name, store.Partial) {
			continue
		}
		got, err := readable(filepath.Join(dir, name))
		if err != io.EOF || len(got) == 0 {
			t.Errorf("%s after %d packets: %v", name, len(got), err)
		}
		for _, f := range reports {
			if f.Name.String() == name && uint64(len(got)) != f.Packets {
				t.Errorf("%s has %d packets: %+v", name, len(got), f)
			}
		}
	}
}

// TestSyncInterval: packets older than two intervals survive a power cut, in a file that is not
// finished.
func TestSyncInterval(t *testing.T) {
	b := newBench(t, writer.Options{SyncInterval: 5 * time.Second})
	b.write(30, 1000)
	b.await("the packets on disk", func() bool { b.pass(time.Second); return b.Stats().Written == 30 })
	before := b.disk.Count(testdisk.Sync)
	// The first sync may have begun before the last write was done.
	b.await("two syncs", func() bool { b.pass(5 * time.Second); return b.disk.Count(testdisk.Sync) >= before+2 })
	b.await("its end", func() bool { return b.Busy() == 0 })
	b.disk.CutPower(t, testdisk.AllNames)
	b.close()
	there := entries(t, b.files)
	if len(there) != 1 || !strings.HasSuffix(there[0], store.Partial) || len(numbers(t, filepath.Join(b.files, there[0]))) != 30 {
		t.Errorf("files %v", there)
	}
}

// TestSyncIntervalFails: a file whose sync failed ends there and is not synced again. The next file
// is recorded normally.
func TestSyncIntervalFails(t *testing.T) {
	b := newBench(t, writer.Options{SyncInterval: 5 * time.Second})
	b.write(30, 1000)
	b.flush()
	before := b.disk.Count(testdisk.Sync)
	b.disk.Set(testdisk.Sync, testdisk.Fault{Err: syscall.EIO, Times: 1})
	b.await("the failure", func() bool { b.pass(5 * time.Second); return b.Stats().Failures == 1 })
	if n := b.disk.Count(testdisk.Sync); n != before+1 {
		t.Errorf("%d syncs of a file whose first one failed", n-before)
	}
	b.recover()
	all := b.close()
	if len(all) != 2 || all[0].Err == nil || all[1].Err != nil || !strings.HasSuffix(all[0].Path, store.Partial) {
		t.Errorf("%+v", all)
	}
}

// TestPowerCutPartial: an unfinished file may lose its end in a power cut, and is readable up to
// there.
func TestPowerCutPartial(t *testing.T) {
	b := newBench(t, writer.Options{})
	b.write(30, 1000)
	b.flush()
	b.disk.Set(testdisk.Rename, testdisk.Fault{Stall: true}) // the file is synced and still partial
	b.Rotate(ledger.ReasonSignal)
	b.await("a rename", func() bool { return b.disk.Stalled(testdisk.Rename) == 1 })
	b.disk.CutPower(t, testdisk.AllNames)
	b.close()
	there := entries(t, b.files)
	if len(there) != 1 || !strings.HasSuffix(there[0], store.Partial) || len(numbers(t, filepath.Join(b.files, there[0]))) != 30 {
		t.Errorf("files %v", there)
	}
}
