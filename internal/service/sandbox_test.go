package service

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"capd/config"
	"capd/internal/hint"
)

func TestNotADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Log.File = filepath.Join(file, "log")
	if _, err := makeDirectories(cfg); err == nil || err.Error() != "directory "+file+": not a directory" {
		t.Errorf("%v", err)
	}
}

// TestNetAdmin: only the packet filter's logs take the capability.
func TestNetAdmin(t *testing.T) {
	cfg := config.Default()
	cfg.Interfaces = []config.Interface{{Name: "any"}, {Name: "nflog0"}}
	if policy(cfg, "", "").NetAdmin {
		t.Error("CAP_NET_ADMIN is kept for nothing")
	}
	cfg.Interfaces = append(cfg.Interfaces, config.Interface{Name: "nflog:5"})
	if !policy(cfg, "", "").NetAdmin {
		t.Error("CAP_NET_ADMIN is not kept")
	}
}

func TestMakeLog(t *testing.T) {
	dir := t.TempDir()
	if err := makeLog(filepath.Join(dir, "a", "b", "log")); err != nil {
		t.Error(err)
	}
	file := filepath.Join(dir, "a", "b", "log")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	err := makeLog(filepath.Join(file, "log"))
	if err == nil || !strings.HasPrefix(err.Error(), "log.file = ") || !strings.Contains(strings.Join(hint.Of(err), "\n"), "write the file") {
		t.Errorf("%v", err)
	}
}

// TestRootsLog: the log of a run by root in the directory of a service is the service's.
func TestRootsLog(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes files for others")
	}
	dir, away := t.TempDir(), filepath.Join(t.TempDir(), "away")
	if err := os.Chown(dir, 12345, 12346); err != nil {
		t.Skipf("no other users here: %v", err)
	}
	if err := os.Symlink(away, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, uid := range map[string]uint32{"log": 12345, "link": 0} {
		if err := makeLog(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != uid {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}
