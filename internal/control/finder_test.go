package control

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capd/internal/hint"
)

// TestFinder: a Finder uses the running capd, finds another one after that has ended, and reports
// if none or several run.
func TestFinder(t *testing.T) {
	dir := socketDir(t)
	t.Setenv("RUNTIME_DIRECTORY", "")
	t.Setenv("XDG_RUNTIME_DIR", dir)
	serve := func() (path string, end func()) {
		l, err := Listen(Auto, "")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- NewServer(&fake{}, nil).Serve(ctx, l) }()
		return l.Path(), func() {
			cancel()
			if err := errors.Join(<-ended, ignoreClosed(l.Close())); err != nil {
				t.Error(err)
			}
		}
	}
	elsewhere := ""
	f := &Finder{Configured: func() string { return elsewhere }}
	defer f.Close()
	if found := Find(); len(found) > 0 {
		t.Skipf("a capd runs on this machine: %q", found)
	}
	if _, err := f.Status(t.Context(), ""); !errors.Is(err, ErrNotFound) || !strings.HasPrefix(hint.Of(err)[0], "start one") {
		t.Errorf("none: %v", err)
	}
	first, end := serve()
	for range 2 {
		if files, err := f.Rotate(t.Context(), "eth0"); err != nil || !slices.Equal(files, []string{"/d/eth0"}) {
			t.Errorf("one: %q, %v", files, err)
		}
	}
	end()
	if _, err := f.Status(t.Context(), ""); !errors.As(err, new(*UnreachableError)) {
		t.Errorf("gone: %v", err)
	}
	second, end := serve()
	defer end()
	if files, err := f.Hold(t.Context(), Selection{Files: []string{"a"}}); err != nil || !slices.Equal(files, []string{"a"}) {
		t.Errorf("another: %q, %v", files, err)
	}
	elsewhere = second
	f.Close()
	if c, err := f.Client(); err != nil || c.Path() != second {
		t.Errorf("one that is configured, too: %v", err)
	}
	elsewhere = filepath.Join(dir, "configured.sock")
	f.Close()
	_, err := f.Client()
	if hints := hint.Of(err); !errors.As(err, new(*AmbiguousError)) || !slices.Equal(hints, []string{"choose one:", "--socket " + second, "--socket " + elsewhere}) {
		t.Errorf("several: %v, %q", err, hints)
	}
	chosen := &Finder{Socket: first}
	if c, err := chosen.Client(); err != nil || c.Path() != first {
		t.Errorf("chosen: %v", err)
	}
	chosen.Close()
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
