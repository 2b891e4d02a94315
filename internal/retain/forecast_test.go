package retain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/store"
)

// reachOf is the outlook of one stream without limits of its own.
func reachOf(rate float64, limits Limits, rotation Rotation, files []File, space store.Space) (time.Duration, Limit) {
	f := Outlook(limits, []Stream{{Rate: rate, Files: rotation.files(rate)}}, StockOf(files, space))[0]
	return f.Reach, f.Limit
}

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
		if got, limit := reachOf(mib, c.limits, rotation, files, space); got != c.want || limit != c.limit {
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
		if got, limit := reachOf(mib, c.limits, rotation, files, space); got != c.want || limit != c.limit {
			t.Errorf("%s: %v by %s", name, got, limit)
		}
	}
	space.Files = 0
	// With an interval, files are produced even at a low rate.
	if got, limit := reachOf(1, Limits{Count: 5}, rotation, nil, space); got != 5*time.Minute || limit != ByCount {
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

// TestOutlook: each stream has a future of its own, by all limits together.
func TestOutlook(t *testing.T) {
	const mib = 1 << 20
	stream := func(name string, l Limits, rate, files float64) Stream { return Stream{name, l, rate * mib, files} }
	space := store.Space{Total: 1000 * mib, Free: 900 * mib}
	// A and b come at 1 and 2 MiB a second, in a file every 10 seconds each.
	two := func(a, b Limits) []Stream { return []Stream{stream("a", a, 1, 0.1), stream("b", b, 2, 0.1)} }
	for name, c := range map[string]struct {
		limits  Limits
		streams []Stream
		space   store.Space
		want    string // of each stream
	}{
		"nothing is known of the disk": {Limits{}, two(Limits{}, Limits{}), store.Space{}, "a 0s, b 0s"},
		"the disk":                     {Limits{}, two(Limits{}, Limits{}), space, "a 5m0s disk, b 5m0s disk"},
		"bytes of the directory":       {Limits{Bytes: 300 * mib}, two(Limits{}, Limits{}), space, "a 1m40s bytes, b 1m40s bytes"},
		"bytes of an interface":        {Limits{}, two(Limits{Bytes: 100 * mib}, Limits{}), space, "a 1m40s bytes, b 6m40s disk"},
		"age of an interface":          {Limits{Bytes: 300 * mib}, two(Limits{}, Limits{Age: time.Minute}), space, "a 3m0s bytes, b 1m0s age"},
		"count of an interface":        {Limits{MinFree: 600 * mib}, two(Limits{Count: 5}, Limits{}), space, "a 50s count, b 2m5s min_free"},
		"own limits leave room":        {Limits{Bytes: 400 * mib}, two(Limits{Bytes: 100 * mib}, Limits{Age: time.Minute}), space, "a 1m40s bytes, b 1m0s age"},
		"the directory comes first":    {Limits{Age: time.Minute}, two(Limits{Bytes: 100 * mib}, Limits{Age: time.Hour}), space, "a 1m0s age, b 1m0s age"},
		"count of the directory":       {Limits{Count: 10}, two(Limits{}, Limits{Count: 2}), space, "a 1m20s count, b 20s count"},
		"no rate of one":               {Limits{Age: time.Hour}, []Stream{stream("a", Limits{Bytes: mib}, 0, 0), stream("b", Limits{}, 1, 0)}, space, "a ?, b 15m0s disk"},
		"no rate at all":               {Limits{Bytes: mib}, []Stream{stream("a", Limits{Age: time.Hour}, 0, 0)}, space, "a ?"},
		"nothing":                      {Limits{Bytes: mib}, nil, space, ""},
		"keep_bytes":                   {Limits{Age: time.Minute, KeepAtLeast: Floor{Bytes: 300 * mib}}, two(Limits{}, Limits{}), space, "a 1m40s age, b 1m40s age"},
		"keep_count":                   {Limits{Age: time.Minute, KeepAtLeast: Floor{Count: 30}}, two(Limits{}, Limits{}), space, "a 2m30s age, b 2m30s age"},
		"keep_age fills the disk":      {Limits{MinFree: 600 * mib, KeepAtLeast: Floor{Age: time.Hour}}, two(Limits{}, Limits{}), space, "a 5m0s disk, b 5m0s disk"},
		"keep_count of own limits":     {Limits{KeepAtLeast: Floor{Count: 30}}, two(Limits{Count: 1}, Limits{}), space, "a 2m30s count, b 7m25s disk"},
		"it is over already":           {Limits{MinFree: 950 * mib}, two(Limits{}, Limits{}), space, "a 1ns min_free, b 1ns min_free"},
		"for ever":                     {Limits{Bytes: mib}, []Stream{stream("a", Limits{}, 1e-12, 0)}, store.Space{}, "a 876000h0m0s bytes"},
	} {
		var got []string
		for _, f := range Outlook(c.limits, c.streams, Stock{Space: c.space}) {
			s := f.Interface + " " + f.Reach.String()
			if f.Limit != "" {
				s += " " + string(f.Limit)
			}
			if f.Rate == 0 {
				s = f.Interface + " ?"
				if f.Reach != 0 || f.Limit != "" {
					s += " by " + string(f.Limit)
				}
			}
			got = append(got, s)
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestPredictFirstFile: before the first file ends, limits are known as they are later.
func TestPredictFirstFile(t *testing.T) {
	at := noon.Add(-10 * time.Second)
	first := []File{{Name: nameOf("a", 1, at), Size: 1000, Partial: true}}
	policy := Policy{
		Directory: Limits{Count: 5},
		Rotation:  func(string) Rotation { return Rotation{Interval: time.Minute} },
	}
	if got := Predict(noon, first, policy, store.Space{}); len(got) != 1 || got[0].Rate != 100 || got[0].Limit != ByCount || got[0].Reach != 5*time.Minute {
		t.Errorf("%+v", got)
	}
	first[0].Size = 0 // nothing of it is on the disk
	if got := Predict(noon, first, policy, store.Space{}); len(got) != 1 || got[0].Rate != 0 || got[0].Limit != "" || !got[0].Oldest.Equal(at) {
		t.Errorf("without a rate: %+v", got)
	}
}
