//go:build capd_hang

package recorder

import (
	"os"
	"path/filepath"
)

// hang blocks the recorder for ever once the directory in CAPD_HANG has a file
// of the interface's name. The build tag is only for the tests of the watchdog.
func hang(name string) {
	dir := os.Getenv("CAPD_HANG")
	if _, err := os.Stat(filepath.Join(dir, name)); dir != "" && err == nil {
		select {}
	}
}
