package retain

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"capd/internal/testdisk"
	"capd/store"

	"golang.org/x/sys/unix"
)

// TestKeeperOnBtrfs: btrfs shows what a deletion has freed when it commits. No
// more files go than have to.
func TestKeeperOnBtrfs(t *testing.T) {
	dir := testdisk.Image(t, "btrfs", 400<<20)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, "commit=3"); err != nil {
		t.Fatal(err)
	}
	const size, files, gone = 8 << 20, 15, 3
	data := bytes.Repeat([]byte("capd"), size/4)
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, nameOf("eth0", i+1, noon).String()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unix.Sync()
	before, err := store.FreeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := before.Free + gone*size - size/2
	k := newKeeper(t, dir, Options{
		Policy: directory(Limits{MinFree: want}), Interval: 20 * time.Millisecond,
		Space: func() (store.Space, error) { return store.FreeSpace(dir) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		now, err := store.FreeSpace(dir)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(listNames(t, dir)); n < files-gone || time.Now().After(deadline) {
			t.Fatalf("%d files are left, want %d; %d bytes are free, want %d", n, files-gone, now.Free, want)
		}
		if now.Free >= want {
			break // the deletions have shown
		}
	}
	time.Sleep(100 * time.Millisecond) // some looks of the Keeper more
	if n := len(listNames(t, dir)); n != files-gone {
		t.Errorf("%d files are left, want %d", n, files-gone)
	}
}
