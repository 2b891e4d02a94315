package retain

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"capd/store"
)

// A lateDisk shows what was freed when it commits. A directory of it is read by
// the number of files alone.
type lateDisk struct {
	mu    sync.Mutex
	files func() int
	shown int // files, as of the last commit
	free  uint64
}

func (d *lateDisk) commit() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free += uint64(d.shown-d.files()) * 100
	d.shown = d.files()
}

func (d *lateDisk) space() (store.Space, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return store.Space{Free: d.free, Total: 10000, FreeFiles: 1000}, nil
}

// keepLate runs a Keeper on a lateDisk with 15 files, of which 3 have to go.
func keepLate(t *testing.T, f func(d *lateDisk, k *Keeper, said func() string)) {
	t.Helper()
	dir := t.TempDir()
	for i := range 15 {
		put(t, dir, nameOf("eth0", i+1, noon).String(), 100)
	}
	d := &lateDisk{files: func() int { return len(listNames(t, dir)) }, shown: 15, free: 200}
	var log syncedBuffer
	opt := Options{Policy: directory(Limits{MinFree: 500}), Space: d.space, Log: slog.New(slog.NewTextHandler(&log, nil))}
	keep(t, dir, opt, func(k *Keeper, _ *reports) { f(d, k, log.String) })
}

// A syncedBuffer is written by one goroutine and read by another.
type syncedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestKeeperWaitsForEffect: as with btrfs, which shows what was freed half a
// minute later.
func TestKeeperWaitsForEffect(t *testing.T) {
	keepLate(t, func(d *lateDisk, k *Keeper, said func() string) {
		for range 4 {
			time.Sleep(29 * time.Second)
			if n := d.files(); n != 12 {
				t.Fatalf("%d files are left, want 12", n)
			}
			d.commit()
		}
		d.mu.Lock()
		d.free -= 50 // somebody else
		d.mu.Unlock()
		time.Sleep(10 * time.Minute)
		if n := d.files(); n != 11 && said() != "" {
			t.Errorf("%d files are left, want 11; %s", n, said())
		}
	})
}

// TestKeeperNoEffect: as with a snapshot, which keeps all that was deleted.
func TestKeeperNoEffect(t *testing.T) {
	keepLate(t, func(d *lateDisk, k *Keeper, said func() string) {
		time.Sleep(3 * time.Hour)
		if n := d.files(); n != 12 {
			t.Errorf("%d files are left, want 12", n)
		}
		if s := said(); bytes.Count([]byte(s), []byte("\n")) != 1 || !bytes.Contains([]byte(s), []byte("deleting files frees no space")) {
			t.Errorf("said %q", s)
		}
		d.commit() // the snapshot goes
		put(t, k.dir.Path(), at("eth0", 99).String(), 100)
		k.dir.Add(at("eth0", 99), 100)
		d.mu.Lock()
		d.free -= 100
		d.mu.Unlock()
		synctest.Wait()
		time.Sleep(time.Minute)
		d.commit()
		if n := d.files(); n != 12 {
			t.Errorf("%d files are left, want 12: min_free goes on", n)
		}
	})
}
