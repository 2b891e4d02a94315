package retain

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"capd/store"
)

func TestReach(t *testing.T) {
	const mib = 1 << 20
	space := store.Space{Total: 1000 * mib, Free: 600 * mib}
	rotation := Rotation{Size: 10 * mib, Interval: time.Minute}
	files := row("a", 20, 10*mib)
	for name, c := range map[string]struct {
		limits Limits
		want   time.Duration
		limit  Limit
	}{
		"none":      {Limits{}, 800 * time.Second, ByDisk},
		"bytes":     {Limits{Bytes: 100 * mib}, 100 * time.Second, ByBytes},
		"age":       {Limits{Age: time.Minute}, time.Minute, ByAge},
		"count":     {Limits{Count: 5}, 50 * time.Second, ByCount},
		"min_free":  {Limits{MinFree: 300 * mib}, 500 * time.Second, ByMinFree},
		"part":      {Limits{MinFreePart: 0.5}, 300 * time.Second, ByMinFree},
		"the least": {Limits{Bytes: 100 * mib, Age: time.Second}, time.Second, ByAge},
		"too much":  {Limits{Bytes: 10_000 * mib}, 800 * time.Second, ByDisk},
	} {
		if got, limit := Reach(mib, c.limits, rotation, files, space); got != c.want || limit != c.limit {
			t.Errorf("%s: %v by %s", name, got, limit)
		}
	}
	// 20 files are there, and one comes in 10 s: inodes end it before bytes do.
	space.Files, space.FreeFiles = 100, 30
	for name, c := range map[string]struct {
		limits Limits
		want   time.Duration
		limit  Limit
	}{
		"no inodes":       {Limits{}, 500 * time.Second, ByDiskInodes},
		"part of inodes":  {Limits{MinFreePart: 0.1}, 400 * time.Second, ByInodes},
		"bytes of inodes": {Limits{MinFree: 200 * mib}, 300 * time.Second, ByInodes},
	} {
		if got, limit := Reach(mib, c.limits, rotation, files, space); got != c.want || limit != c.limit {
			t.Errorf("%s: %v by %s", name, got, limit)
		}
	}
	space.Files = 0
	// With an interval, files are produced even at a low rate.
	if got, limit := Reach(1, Limits{Count: 5}, rotation, nil, space); got != 5*time.Minute || limit != ByCount {
		t.Errorf("quiet: %v by %s", got, limit)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"eth0-20260102T030405Z-000001.pcapng", "eth0-20260102T030405Z-000002.pcapng.zst", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if files, err := Files(dir); err != nil || len(files) != 2 {
		t.Errorf("%+v, %v", files, err)
	}
	if _, err := Files(filepath.Join(dir, "none")); err == nil {
		t.Error("none is read")
	}
}
