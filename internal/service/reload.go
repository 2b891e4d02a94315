package service

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"capd/config"
	"capd/internal/daemon"
	"capd/internal/sandbox"
)

// A reloader has a running daemon record by the configuration as it is now.
type reloader struct {
	load   func() (*config.Config, error)
	held   *sandbox.Policy // files that the sandbox holds capd to for good; nil: all
	level  *slog.LevelVar
	daemon *daemon.Daemon

	reloaded func()                        // called after each reload
	current  atomic.Pointer[config.Config] // the configuration in effect
}

func (r *reloader) reload(context.Context) error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	if err := permits(r.held, cfg); err != nil {
		return err
	}
	if err := r.daemon.Reload(cfg); err != nil {
		return err
	}
	r.current.Store(cfg)
	setLevel(r.level, cfg.Log.Level)
	r.reloaded()
	return nil
}

// permits returns an error for a configuration that the sandbox does not allow.
func permits(held *sandbox.Policy, cfg *config.Config) error {
	if held == nil {
		return nil
	}
	for i := range cfg.Interfaces {
		if dir := cfg.Interfaces[i].Directory; !beneath(held.Write, dir) {
			return fmt.Errorf("directory %s: the sandbox, which is for good, lets capd write only beneath %s: restart capd to record there",
				dir, strings.Join(held.Write, ", "))
		}
	}
	if len(cfg.Finished.Hook) > 0 && !slices.Contains(held.Read, "/") {
		return fmt.Errorf("hook %s: the sandbox, which is for good, was entered without a hook: restart capd to run one", cfg.Finished.Hook[0])
	}
	return nil
}

// beneath reports whether the path is that of one of the directories, or below.
func beneath(directories []string, path string) bool {
	path = resolve(path)
	return slices.ContainsFunc(directories, func(dir string) bool {
		rest, err := filepath.Rel(resolve(dir), path)
		return err == nil && filepath.IsLocal(rest)
	})
}

// resolve follows the symbolic links of a path, whose end may not be there yet.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(real, filepath.Base(path))
	}
	return filepath.Clean(path)
}
