package service

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"capd/config"
	"capd/internal/sandbox"
	"capd/store"
)

// A Confiner gives up, before recording, what it does not need. The file is that
// of the configuration; it is read again later. The socket is the one that
// listens by now, to be removed at the end; empty: none. Also are further directories to write into. It returns the files that capd is
// held to from then on; nil: all.
type Confiner func(cfg *config.Config, file, socket string, also []string, log *slog.Logger) (*sandbox.Policy, error)

// Confine becomes the configured user and enters the sandbox.
func Confine(cfg *config.Config, file, socket string, also []string, log *slog.Logger) (*sandbox.Policy, error) {
	owner, err := makeDirectories(cfg)
	if err != nil {
		return nil, err
	}
	if owner != nil {
		owner.NetAdmin = readsLogs(cfg)
		if err := owner.Become(); err != nil {
			return nil, err
		}
	}
	if err := makeLog(cfg.Log.File); err != nil {
		return nil, err
	}
	if cfg.Sandbox == config.SandboxOff {
		return nil, nil
	}
	allowed := policy(cfg, file, socket)
	allowed.Write = append(allowed.Write, also...)
	report, err := sandbox.Enter(allowed)
	if errors.Is(err, sandbox.ErrUnsupported) && cfg.Sandbox == config.SandboxAuto {
		log.Info("sandbox: files are not restricted", "why", err)
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("enter the sandbox: %w", err)
	}
	log.Debug("sandbox", "landlock", report.Landlock, "capabilities", strings.Join(report.Capabilities, " "))
	if report.Landlock == 0 {
		return nil, nil
	}
	return &allowed, nil
}

// makeDirectories makes those that are missing, for the user that capd will be.
// It returns the user, or nil if capd stays who it is.
func makeDirectories(cfg *config.Config) (*sandbox.Account, error) {
	var owner *sandbox.Account
	if cfg.User != "" {
		a, err := sandbox.Lookup(cfg.User)
		if err != nil {
			return nil, fmt.Errorf("user = %q: %w", cfg.User, err)
		}
		owner = &a
	}
	for _, dir := range directories(cfg) {
		// The daemon, or makeLog, finds whatever else is wrong with it.
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			return nil, fmt.Errorf("directory %s: %w", dir, &store.UnfitError{Err: syscall.ENOTDIR})
		}
		err := os.Mkdir(dir, 0o750)
		if err == nil && owner == nil {
			store.GiveDirectory(dir)
		}
		if err == nil && owner != nil && !owner.Current() {
			if err := os.Chown(dir, owner.UID, owner.GID); err != nil {
				return nil, fmt.Errorf("give the directory to user %s: %w", cfg.User, err)
			}
		}
	}
	return owner, nil
}

// readsLogs reports whether what the packet filter logs is recorded.
func readsLogs(cfg *config.Config) bool {
	return slices.ContainsFunc(cfg.Interfaces, func(i config.Interface) bool { return i.LogGroup() })
}

// directories returns those that capd writes into.
func directories(cfg *config.Config) []string {
	var all []string
	for i := range cfg.Interfaces {
		all = append(all, cfg.Interfaces[i].Directory)
	}
	if cfg.Log.File != "" {
		all = append(all, filepath.Dir(cfg.Log.File))
	}
	return all
}

// policy returns what recording by the configuration needs.
func policy(cfg *config.Config, file, socket string) sandbox.Policy {
	p := sandbox.Policy{
		// For the kernel's lists of interfaces, and the names of hosts, services and
		// time zones.
		Read:  []string{"/proc", "/sys", "/etc", "/run/systemd/resolve", "/usr/share/zoneinfo"},
		Write: directories(cfg),

		NetAdmin: readsLogs(cfg),
		Files:    []string{"/dev/null"},
	}
	if path, err := filepath.Abs(file); err == nil && file != "" {
		p.Read = append(p.Read, filepath.Dir(path)) // editors make a new file
	}
	if list := cfg.Encrypt.RecipientsFile; list != "" {
		p.Read = append(p.Read, filepath.Dir(list))
	}
	if info, err := os.Stat(cfg.Seal.Keys); err == nil && info.IsDir() { // a reload may begin to seal
		p.Write = append(p.Write, cfg.Seal.Keys)
	}
	if socket != "" {
		p.Write = append(p.Write, filepath.Dir(socket))
	}
	if exe, err := os.Executable(); err == nil {
		// A reload may begin to compress, in a process of its own. Upgrades replace
		// the file; the libraries are for one that is not static.
		p.Read = append(p.Read, filepath.Dir(exe), "/lib", "/lib64", "/usr/lib", "/usr/lib64")
	}
	if len(cfg.Finished.Hook) > 0 {
		p.Read = append(p.Read, "/")
		p.Write = append(append(p.Write, "/tmp", "/var/tmp"), cfg.SandboxPaths...)
		p.Files = append(p.Files, "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
	}
	return p
}

// makeLog begins the log's file while the process may still do everything, as the
// user that will write it: later there would be no place to report that it can't
// be written.
func makeLog(file string) error {
	if file == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return &logError{file, err}
	}
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE
	h, err := os.OpenFile(file, flags|os.O_EXCL, 0o600)
	if err == nil {
		store.GiveToOwner(h)
	} else {
		h, err = os.OpenFile(file, flags, 0o600) // it is there, or a link is
	}
	if err != nil {
		return &logError{file, err}
	}
	return h.Close()
}

// A logError says why the log's file can't be written.
type logError struct {
	file string
	err  error
}

func (e *logError) Error() string { return fmt.Sprintf("log.file = %q: %v", e.file, e.err) }
func (e *logError) Unwrap() error { return e.err }

// Hints says what to do about it.
func (e *logError) Hints() []string {
	if errors.Is(e, syscall.EROFS) {
		return []string{"the file system is mounted read-only"}
	}
	return []string{fmt.Sprintf("this is user %d: it must be able to write the file, and to make files beside it", os.Geteuid())}
}
