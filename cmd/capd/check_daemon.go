package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"

	"capd/config"
	"capd/internal/sandbox"
)

// daemon looks at what a configuration names beside interfaces and directories,
// and that need not be there.
func (c *checker) daemon(cfg *config.Config) {
	if cfg.User != "" {
		if _, err := sandbox.Lookup(cfg.User); err != nil {
			c.add(levelFail, "user", "", "user = %q: %v", cfg.User, err)
		}
	}
	if err := knownGroup(cfg.Control.Group); err != nil {
		c.add(levelFail, "control", "", "control.group = %q: %v", cfg.Control.Group, err)
	}
	if s := cfg.Control.Socket; s != "" && s != config.ControlAuto {
		if _, err := os.Stat(filepath.Dir(s)); errors.Is(err, fs.ErrNotExist) {
			c.add(levelFail, "control", "create the directory first", "control.socket = %q: %v", s, err)
		}
	}
	if len(cfg.Finished.Hook) > 0 {
		if _, err := exec.LookPath(cfg.Finished.Hook[0]); err != nil {
			c.add(levelWarn, "hook", "files are recorded all the same, and the hook is tried again later", "%v", err)
		}
	}
}

// knownGroup returns an error for a group's name that the system does not know.
func knownGroup(name string) error {
	if _, err := strconv.ParseUint(name, 10, 32); err == nil || name == "" {
		return nil
	}
	_, err := user.LookupGroup(name)
	return err
}

// makeLog begins the log's file while all may still be done, as the user that
// writes it: later nobody would hear that it can't be written.
func makeLog(file string) error {
	if file == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("log.file = %q: %w", file, err)
	}
	h, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("log.file = %q: %w", file, err)
	}
	return h.Close()
}
