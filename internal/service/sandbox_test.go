package service

import (
	"os"
	"path/filepath"
	"strings"
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
