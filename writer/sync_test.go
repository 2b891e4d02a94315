package writer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"capd/store"
)

// TestSharedSyncIsLate: a sync of the file system that takes long, or fails, leaves the files to be synced
// one by one, and after a long one it is not tried again for a while.
func TestSharedSyncIsLate(t *testing.T) {
	h, err := os.Create(filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	defer func() { syncFileSystem = store.SyncFileSystem }()
	synctest.Test(t, func(t *testing.T) {
		f := new(file)
		f.plain = h
		calls, takes, result := 0, time.Duration(0), error(nil)
		syncFileSystem = func(*os.File) (func() error, error) {
			calls++
			takes, result := takes, result // of this call, which may outlast the next one
			return func() error { time.Sleep(takes); return result }, nil
		}
		var s sharedSync
		var syncs stopwatch
		for _, c := range []struct {
			name   string
			takes  time.Duration
			err    error
			passes time.Duration // before
			calls  int
			want   bool
		}{
			{"in time", patience / 2, nil, 0, 1, true},
			{"failed", 0, errors.New("no space"), 0, 1, false},
			{"late", time.Hour, nil, 0, 1, false},
			{"soon after", 0, nil, aloneFor / 2, 0, false},
			{"while the late one still runs", 0, nil, aloneFor, 0, false},
			{"after it", 0, nil, time.Hour, 1, true},
		} {
			time.Sleep(c.passes)
			synctest.Wait()
			calls, takes, result = 0, c.takes, c.err
			begin := time.Now()
			if got := s.sync([]*file{f}, &syncs); got != c.want || calls != c.calls || time.Since(begin) > patience {
				t.Errorf("%s: %v after %v, %d calls", c.name, got, time.Since(begin), calls)
			}
		}
		if f.syncFailed.Load() || f.failed.Load() {
			t.Error("the file is to blame")
		}
	})
}
