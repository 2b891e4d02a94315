package store

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"capd/internal/hint"
)

// TestHintOfOrder: that a file can't be written in any order is no question of permission.
func TestHintOfOrder(t *testing.T) {
	err := &UnfitError{fmt.Errorf("open a second time: %w: %w", syscall.EPERM, errInOrder)}
	if h := strings.Join(hint.Of(err), "\n"); !strings.Contains(h, "--vfs-cache-mode writes") || strings.Contains(h, "user") {
		t.Errorf("%q", h)
	}
}

// TestInodesMadeUp: limits delete nothing because a server of FUSE knows no inodes.
func TestInodesMadeUp(t *testing.T) {
	for _, c := range []struct{ in, want Space }{
		{Space{FileSystem: "fuse", Files: 1e9}, Space{FileSystem: "fuse"}},
		{Space{FileSystem: "fuse", Files: 1e9, FreeFiles: 7}, Space{FileSystem: "fuse", Files: 1e9, FreeFiles: 7}},
		{Space{FileSystem: "tmpfs", Files: 10}, Space{FileSystem: "tmpfs", Files: 10}},
	} {
		got := c.in
		if got.doubtInodes(); got != c.want {
			t.Errorf("%+v: %+v", c.in, got)
		}
	}
}
