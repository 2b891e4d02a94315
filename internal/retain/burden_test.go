package retain

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"capd/store"
)

// TestBurden: held files are too many by the directory's limit, the file system or an interface's limit, and keep limits from
// being met that would be met without them.
func TestBurden(t *testing.T) {
	files := func(held, others int) (all []File) {
		for i := range held + others {
			all = append(all, File{Name: nameOf("eth0", i+1, noon), Size: 100, Held: i < held, ByHold: i < held})
		}
		return append(all, File{Name: nameOf("eth1", 1, noon), Size: 10, Held: true}) // a lease
	}
	disk := store.Space{Free: 1000, Total: 2000, FreeFiles: 1000}
	for name, c := range map[string]struct {
		held, others int
		policy       Policy
		space        store.Space
		want         Burden
	}{
		"none":             {0, 9, Policy{Directory: Limits{Bytes: 500}, HoldWarn: Warning{Part: 0.5}}, disk, Burden{Warn: 250}},
		"few":              {2, 9, Policy{Directory: Limits{Bytes: 500}, HoldWarn: Warning{Part: 0.5}}, disk, Burden{Bytes: 200, Warn: 250}},
		"many":             {3, 9, Policy{Directory: Limits{Bytes: 500}, HoldWarn: Warning{Part: 0.5}}, disk, Burden{Bytes: 300, Warn: 250, Over: true}},
		"a size":           {3, 0, Policy{Directory: Limits{Bytes: 5000}, HoldWarn: Warning{Bytes: 299}}, disk, Burden{Bytes: 300, Warn: 299, Over: true}},
		"never":            {3, 0, Policy{Directory: Limits{Bytes: 500}}, disk, Burden{Bytes: 300}},
		"all of the limit": {6, 1, Policy{Directory: Limits{Bytes: 500}}, disk, Burden{Bytes: 600, Limit: ByBytes}},
		"all of the count": {6, 1, Policy{Directory: Limits{Count: 4}}, disk, Burden{Bytes: 600, Limit: ByCount}},
		"the disk":         {6, 1, Policy{HoldWarn: Warning{Part: 0.25}}, disk, Burden{Bytes: 600, Warn: 500, Over: true}},
		"an unknown disk":  {6, 1, Policy{HoldWarn: Warning{Part: 0.25}}, enough, Burden{Bytes: 600}},
		"min_free":         {6, 1, Policy{Directory: Limits{MinFree: 1500}}, disk, Burden{Bytes: 600, Limit: ByMinFree}},
		"min_free, others": {6, 1, Policy{Directory: Limits{MinFree: 1900}}, disk, Burden{Bytes: 600}},
		"an interface": {3, 3, Policy{HoldWarn: Warning{Part: 0.5}, Interface: func(string) Limits { return Limits{Bytes: 500} }}, disk,
			Burden{Bytes: 300, Warn: 1000, Over: true, Interface: "eth0"}},
		"all of an interface": {6, 3, Policy{Interface: func(string) Limits { return Limits{Bytes: 500} }}, disk, Burden{Bytes: 600, Limit: ByBytes}},
	} {
		p := newPlan(noon, files(c.held, c.others), c.policy, c.space)
		if got := p.burden(&c.policy); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestKeeperWarnsOfHolds: it says once that held files are too many, once that a limit can't be met, and when that ends.
func TestKeeperWarnsOfHolds(t *testing.T) {
	dir := t.TempDir()
	var names []store.Name
	for i := range 6 {
		names = append(names, nameOf("eth0", i+1, noon.Add(time.Duration(i)*time.Minute)))
		put(t, dir, names[i].String(), 100)
		if err := os.WriteFile(filepath.Join(dir, names[i].String()+".hold"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log syncedBuffer
	policy := directory(Limits{Bytes: 500})
	policy.HoldWarn = Warning{Part: 0.5}
	keep(t, dir, Options{Policy: policy, Log: slog.New(slog.NewTextHandler(&log, nil))}, func(k *Keeper, l *reports) {
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "held files take much") || !strings.Contains(got, "limit=bytes") || l.String() != "" {
			t.Errorf("%s, deleted %q", got, l)
		}
		if b := k.Stats().Burden; b != (Burden{Bytes: 600, Warn: 250, Over: true, Limit: ByBytes}) {
			t.Errorf("%+v", b)
		}
		for _, n := range names[:4] {
			if _, err := k.dir.Release(n); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := log.String(); strings.Count(got, "\n") != 4 || strings.Count(got, "any more") != 2 || l.String() != "eth01:bytes" {
			t.Errorf("%s, deleted %q", got, l)
		}
	})
}
