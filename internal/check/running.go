package check

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/store"
)

// patience is how long a running capd may take to answer.
const patience = 2 * time.Second

// inUse says who records into a directory whose lock another process has, by the
// error of the try to lock it.
func inUse(dir string, cfg *config.Config, err error) Finding {
	subject, pid := "directory "+dir, store.Holder(dir)
	who := fmt.Sprintf("process %d", pid)
	if unit := unitOf(readProc(pid, "cgroup")); unit != "" {
		who = unit + ", " + who
	}
	switch digest := runningDigest(pid, dir, cfg.Control.Socket); digest {
	case "":
		return Finding{Warn, subject, err.Error(), hints(err)}
	case cfg.Digest():
		return Finding{OK, subject, "is that of the running capd (" + who + "), which records by this configuration", ""}
	}
	return Finding{
		Warn, subject, "is that of the running capd (" + who + "), which records by another configuration",
		"if it is to record by this one: capd reload; else choose another directory",
	}
}

// runningDigest returns the digest of the configuration by which the process
// records into the directory; empty if it does not say.
func runningDigest(pid int, dir, configured string) string {
	sockets := control.Find()
	for _, s := range []string{configured, serviceSocket(readProc(pid, "environ"))} {
		if filepath.IsAbs(s) && !slices.Contains(sockets, s) {
			sockets = append(sockets, s)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, path := range sockets {
		client := control.NewClient(path)
		s, err := client.Status(ctx, "")
		client.Close()
		if err == nil && s.PID == pid && slices.ContainsFunc(s.Directories, func(d control.Directory) bool { return d.Path == filepath.Clean(dir) }) {
			return s.Config
		}
	}
	return ""
}

// readProc reads a file of a process; it is empty where that can't be read.
func readProc(pid int, name string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	return string(text)
}

// unitOf returns the service in a process's control groups (cgroups(7)).
func unitOf(groups string) string {
	for line := range strings.Lines(groups) {
		if unit := path.Base(strings.TrimSpace(line)); strings.HasSuffix(unit, ".service") {
			return unit
		}
	}
	return ""
}

// serviceSocket returns the control socket of a service with that environment
// (RuntimeDirectory= of systemd.exec(5)), if it is where capd puts it by itself.
func serviceSocket(environ string) string {
	for variable := range strings.SplitSeq(environ, "\x00") {
		if dirs, ok := strings.CutPrefix(variable, "RUNTIME_DIRECTORY="); ok {
			dir, _, _ := strings.Cut(dirs, ":")
			return filepath.Join(dir, "capd.sock")
		}
	}
	return ""
}
