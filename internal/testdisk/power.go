//go:build linux

package testdisk

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Names selects the names that are on the disk after a power cut. A file system may write a name
// before its directory is synced, or not. A recorder must tolerate both.
type Names bool

// Names.
const (
	SyncedNames Names = false // those at the directory's last sync
	AllNames    Names = true  // those at the moment of the cut
)

// kept is what a power cut preserves.
type kept struct {
	lost bool // the power was cut; guarded by Disk.power

	mu    sync.Mutex
	live  map[uint64]*inode // files by their inode number
	names map[string]*inode // at the directory's last sync
}

// An inode holds a file's bytes at its last sync.
type inode struct{ data []byte }

func (k *kept) created(ino uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.live[ino] = new(inode)
}

// sync preserves the bytes of a file.
func (k *kept) sync(path string, h *handle) error {
	var attr fuse.AttrOut
	if errno := h.Getattr(context.Background(), &attr); errno != 0 {
		return errno
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := k.live[attr.Ino]; i != nil {
		i.data = data
	}
	return nil
}

// syncNames preserves the names in a directory.
func (k *kept) syncNames(dir string) error {
	names, err := k.list(dir)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names = names
	return nil
}

func (k *kept) list(dir string) (map[string]*inode, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	names := make(map[string]*inode)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if i := k.live[info.Sys().(*syscall.Stat_t).Ino]; i != nil {
			names[e.Name()] = i
		}
	}
	return names, nil
}

// CutPower ends the Disk: from now on all requests fail, including stalled ones. Backing then holds
// what would exist after the next boot: of each file, the bytes at its last sync.
func (d *Disk) CutPower(tb testing.TB, n Names) {
	tb.Helper()
	d.faults.mu.Lock()
	d.faults.dead = true
	d.faults.mu.Unlock()
	d.Heal()
	d.power.Lock()
	defer d.power.Unlock()
	d.kept.lost = true
	all, err := d.kept.list(d.Backing)
	if err != nil {
		tb.Fatal(err)
	}
	for name := range all {
		if err := os.Remove(filepath.Join(d.Backing, name)); err != nil {
			tb.Fatal(err)
		}
	}
	if n == SyncedNames {
		all = d.kept.names
	}
	for name, i := range all {
		if err := os.WriteFile(filepath.Join(d.Backing, name), i.data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

var _ fs.NodeFsyncer = (*node)(nil)
