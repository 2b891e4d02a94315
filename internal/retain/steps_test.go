package retain

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"capd/store"
)

// TestKeeperYields: while a step fails for some files, limits do not delete them, which is reported
// once. After the step has succeeded, the limits apply again.
func TestKeeperYields(t *testing.T) {
	dir := t.TempDir()
	for i := range 6 {
		put(t, dir, nameOf("eth0", i+1, noon.Add(time.Duration(i)*time.Minute)).String(), 100)
	}
	var mu sync.Mutex
	waits := []uint64{1, 2, 3, 4}
	var said []string
	opt := Options{
		Policy: directory(Limits{Count: 2}),
		Steps: func(f *store.File) (pending, keepUntil string) {
			mu.Lock()
			defer mu.Unlock()
			if slices.Contains(waits, f.Name.Sequence) {
				return "compress", "hook"
			}
			return "", ""
		},
		Yields: func(y Yield, begin, end time.Time) {
			said = append(said, fmt.Sprintf("%s %s %d %v", y.Step, y.Limit, y.Files, end.IsZero() || end.Sub(begin) >= time.Hour))
		},
	}
	keep(t, dir, opt, func(k *Keeper, l *reports) {
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := l.String(); got != "eth05:count eth06:count" {
			t.Errorf("deleted %q", got)
		}
		if s := k.Stats(); s.Pending["compress"] != 4 || len(s.Yields) != 1 || s.Yields[0] != (Yield{"hook", ByCount, 2}) || s.Files != 4 {
			t.Errorf("%+v", s)
		}
		mu.Lock()
		waits = []uint64{1}
		mu.Unlock()
		k.Wake()
		synctest.Wait()
		if got := l.String(); got != "eth05:count eth06:count eth02:count eth03:count" {
			t.Errorf("deleted %q", got)
		}
		if s := k.Stats(); s.Pending["compress"] != 1 || len(s.Yields) != 0 {
			t.Errorf("%+v", s)
		}
	})
	if got := strings.Join(said, "; "); got != "hook count 2 true; hook count 2 true" {
		t.Errorf("said %q", got)
	}
}
