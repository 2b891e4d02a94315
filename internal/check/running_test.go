package check

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capd/config"
	"capd/internal/control"
	"capd/store"
)

// A recorder is the backend of a control socket that only tells its status.
type recorder struct {
	control.Backend
	status control.Status
}

func (r *recorder) Report() control.Status { return r.status }

// TestDirectoryOfRunning: a directory that the capd of this configuration
// records into is no second recorder's; that of another one is.
func TestDirectoryOfRunning(t *testing.T) {
	dir := t.TempDir()
	lock, err := store.LockDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	cfg := config.Default()
	cfg.Control.Socket = filepath.Join(t.TempDir(), "capd.sock")
	check := func() string {
		c := Checker{Findings: []Finding{inUse(dir, cfg, store.ErrInUse)}}
		return printed(&c)
	}
	if got := check(); !strings.HasPrefix(got, "warn directory "+dir+": another capd records here\nhint: two recorders") {
		t.Errorf("one that does not answer: %s", got)
	}
	l, err := control.Listen(cfg.Control.Socket, "")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{status: control.Status{PID: os.Getpid(), Directories: []control.Directory{{Path: dir}}, Config: cfg.Digest()}}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = control.NewServer(r, http.NotFoundHandler()).Serve(ctx, l)
	}()
	defer func() { cancel(); <-served }()
	if got := check(); !strings.HasPrefix(got, "ok directory "+dir+": is that of the running capd (") || !strings.HasSuffix(got, "which records by this configuration\n") {
		t.Errorf("this configuration: %s", got)
	}
	cfg.Snaplen = 100
	if got := check(); !strings.HasPrefix(got, "warn ") || !strings.Contains(got, "by another configuration\nhint: if it is to record by this one: capd reload") {
		t.Errorf("another configuration: %s", got)
	}
	r.status.PID++
	if got := check(); !strings.Contains(got, "two recorders") {
		t.Errorf("another process: %s", got)
	}
}

func TestUnitOf(t *testing.T) {
	for groups, want := range map[string]string{
		"0::/system.slice/capd.service\n":                     "capd.service",
		"0::/system.slice/system-capd.slice/capd@a.service\n": "capd@a.service",
		"0::/user.slice/user-0.slice/session-1.scope\n":       "",
		"": "",
	} {
		if got := unitOf(groups); got != want {
			t.Errorf("%q: %q", groups, got)
		}
	}
	if got := serviceSocket("A=b\x00RUNTIME_DIRECTORY=/run/capd-a:/run/b\x00C=d"); got != "/run/capd-a/capd.sock" {
		t.Errorf("%q", got)
	}
	if got := serviceSocket(""); got != "" {
		t.Errorf("%q", got)
	}
}
