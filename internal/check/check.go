// Package check proves that a configuration can be recorded: it does all that recording does, but record. It leaves
// nothing behind.
package check

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"capd/capture"
	"capd/config"
	"capd/internal/hint"
	"capd/internal/retain"
	"capd/internal/sandbox"
	"capd/internal/setup"
	"capd/internal/text"
)

// A Level says how grave a finding is.
type Level string

// Levels.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail" // it can't be recorded
)

// A Finding is one thing that was looked at.
type Finding struct {
	Level   Level  `json:"level"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"` // lines
}

// A Checker collects findings. Its functions say what capd would do by a configuration.
type Checker struct {
	// Memory returns what the rings and pools of the interfaces take, and what there is; 0 is not known.
	Memory func(cfg *config.Config, there []capture.Interface) (taken, total int64)
	// Rings returns how many rings the interfaces have together; nil if the service does not record by the configuration.
	Rings func(cfg *config.Config, there []capture.Interface) int
	// Policy returns what limits a directory.
	Policy func(*config.Config) retain.Policy
	// Timers lets the process's timers be late, and returns why it can't.
	Timers func() error

	Findings []Finding
}

func (c *Checker) add(level Level, subject, hint, format string, args ...any) {
	c.Findings = append(c.Findings, Finding{level, subject, fmt.Sprintf(format, args...), hint})
}

// Refuse adds what run would say of the error: a finding for each line.
func (c *Checker) Refuse(subject string, err error) {
	hints := hints(err)
	for line := range strings.Lines(err.Error()) {
		c.add(Fail, subject, hints, "%s", strings.TrimSuffix(line, "\n"))
		hints = ""
	}
}

func hints(err error) string { return strings.Join(hint.Of(err), "\n") }

// Failed reports whether something can't be recorded.
func (c *Checker) Failed() bool {
	return slices.ContainsFunc(c.Findings, func(f Finding) bool { return f.Level == Fail })
}

// Check looks at all that the configuration names.
func (c *Checker) Check(cfg *config.Config) {
	if len(cfg.Interfaces) == 0 {
		c.Refuse("configuration", setup.ErrNoInterfaces)
		return
	}
	c.add(OK, "configuration", "", "interfaces by %s, digest %.12s", text.Count(len(cfg.Interfaces), "name"), cfg.Digest())
	if n := len(cfg.Interfaces[0].Recipients); n > 0 {
		c.add(OK, "encryption", "", "files are encrypted for %s, one of whose private keys is needed to read them", text.Count(n, "recipient"))
	}
	c.names(cfg)
	metrics(c, cfg)
	readers(c, cfg)
	dirs := make(map[string]config.FileMode)
	for i := range cfg.Interfaces {
		dirs[cfg.Interfaces[i].Directory] = cfg.Interfaces[i].FileMode
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		c.directory(dir, dirs[dir], cfg)
		seals(c, dir, cfg)
	}
	all, err := capture.Interfaces()
	if err != nil {
		c.Refuse("interfaces", err)
		return
	}
	c.memory(c.Memory(cfg, all))
	timers(c, c.Timers())
	if c.Rings != nil {
		outlives(c, unitProperties(), c.Rings(cfg, all))
	}
	for i := range cfg.Interfaces {
		c.entry(cfg, &cfg.Interfaces[i], all)
	}
}

// names looks at the user, group, paths and programs that the configuration names.
func (c *Checker) names(cfg *config.Config) {
	if cfg.User != "" {
		if _, err := sandbox.Lookup(cfg.User); err != nil {
			c.add(Fail, "user", "", "user = %q: %v", cfg.User, err)
		}
	}
	if err := knownGroup(cfg.Control.Group); err != nil {
		c.add(Fail, "control", "", "control.group = %q: %v", cfg.Control.Group, err)
	}
	if s := cfg.Control.Socket; s != "" && s != config.ControlAuto {
		if _, err := os.Stat(filepath.Dir(s)); errors.Is(err, fs.ErrNotExist) {
			c.add(Fail, "control", "create the directory first", "control.socket = %q: %v", s, err)
		}
	}
	if len(cfg.Finished.Hook) > 0 {
		if _, err := exec.LookPath(cfg.Finished.Hook[0]); err != nil {
			c.add(Warn, "hook", "files are recorded all the same, and the hook is tried again later", "%v", err)
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

// memory says what rings and pools take, of what there is.
func (c *Checker) memory(taken, total int64) {
	level, hint, of := OK, "", ""
	if total > 0 {
		of = " of " + text.Size(total)
		if taken > total/2 {
			level, hint = Warn, "set ring_size and pool_size lower, or record fewer interfaces"
		}
	}
	c.add(level, "memory", hint, "rings and pools take at most %s%s", text.Size(taken), of)
}

// timers warns if Go's threads wake up on time, ten thousand times a second.
func timers(c *Checker, err error) {
	if err != nil {
		c.add(Warn, "timers", "as capd.service, systemd sets them (TimerSlackNSec=1ms); otherwise add cap_sys_nice to the capabilities of capd",
			"can't be late without CAP_SYS_NICE: recording takes an eighth to a quarter more of a processor (%v)", err)
	}
}

// entry looks at the interfaces of one [[interface]].
func (c *Checker) entry(cfg *config.Config, i *config.Interface, all []capture.Interface) {
	if v, ok := capture.Virtual(i.Name); ok {
		if c.open(v, i) {
			c.Findings = append(c.Findings, linkReaders(v.Name, chosen(v, i), all)...)
		}
		if i.Name != capture.Any {
			return
		}
		for _, link := range all {
			c.Findings = append(c.Findings, hidden(link)...)
		}
		return
	}
	found := false
	names := []string{}
	for _, link := range all {
		names = append(names, link.Names()...)
		name, chosen := cfg.Choose(link.Names()...)
		switch {
		case chosen == i:
			found = true
			c.link(name, link, i)
		case !i.Glob() && link.Named(i.Name):
			found = true
			c.add(Warn, i.Name, "take one of the two out of the configuration", "is another name of %s, which is recorded once, by that name", name)
		case slices.ContainsFunc(link.Names(), i.Match):
			found = true // it follows another [[interface]], or is excluded
		}
	}
	switch {
	case found:
	case i.Wait:
		c.add(Warn, i.Name, "run waits for it", "no such interface")
	default:
		c.Refuse(i.Name, &setup.MissingError{Name: i.Name, There: names})
	}
}
