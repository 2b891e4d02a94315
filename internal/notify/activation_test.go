package notify

import (
	"net"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// passed returns the first of consecutive descriptors, which are copies of the files, as a service
// manager passes them.
func passed(t *testing.T, files ...*os.File) (first int) {
	t.Helper()
	for first = 200; ; first += 100 {
		if _, err := unix.FcntlInt(uintptr(first), unix.F_GETFD, 0); err != nil {
			break
		}
	}
	for i, f := range files {
		if err := unix.Dup2(int(f.Fd()), first+i); err != nil {
			t.Fatal(err)
		}
	}
	return first
}

func listening(t *testing.T) (*os.File, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, l.Addr().String()
}

// TestListener: what a service manager listens on is taken over, whatever else it passes.
func TestListener(t *testing.T) {
	sock, address := listening(t)
	second, other := listening(t)
	stored, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	for _, c := range []struct {
		name  string
		files []*os.File
		names []string
		want  string // address; empty for none, "error"
		rest  map[string]int
	}{
		{"nothing", nil, nil, "", nil},
		{"alone, without a name", []*os.File{sock}, []string{""}, address, nil},
		{"alone, by any name", []*os.File{sock}, []string{"capd-metrics.socket"}, address, nil},
		{"with others", []*os.File{stored, sock, stored}, []string{"ring", "metrics", "ring"}, address, map[string]int{"ring": 2}},
		{"of the same name", []*os.File{stored, sock}, []string{"metrics", "metrics"}, address, map[string]int{"metrics": 1}},
		{"one of two", []*os.File{second, sock}, []string{"web", "metrics"}, address, nil},
		{"the other of two", []*os.File{second, sock}, []string{"metrics", "web"}, other, nil},
		{"too many", []*os.File{second, sock}, []string{"a", "b"}, "error", nil},
		{"too many of the name", []*os.File{second, sock}, []string{"metrics", "metrics"}, "error", nil},
		{"names missing", []*os.File{stored, sock}, []string{"ring"}, address, map[string]int{"unknown": 1}},
	} {
		first := passed(t, c.files...)
		all := files(first, len(c.files), c.names)
		for i := range c.files {
			if flags, err := unix.FcntlInt(uintptr(first+i), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: flags %d, %v", c.name, flags, err)
			}
		}
		l, err := all.Listener()
		got := ""
		if l != nil {
			got = l.Addr().String()
			l.Close()
		} else if err != nil {
			got = "error"
		}
		if got != c.want || len(all) != len(c.rest) {
			t.Errorf("%s: %q, %v, want %q; left %v", c.name, got, err, c.want, all)
		}
		for name, n := range c.rest {
			if len(all[name]) != n {
				t.Errorf("%s: %d files %q, want %d", c.name, len(all[name]), name, n)
			}
		}
		all.Close()
		for i := range c.files {
			if _, err := unix.FcntlInt(uintptr(first+i), unix.F_GETFD, 0); err == nil {
				t.Errorf("%s: descriptor %d is open", c.name, first+i)
			}
		}
	}
	first := passed(t, stored)
	all := files(first, 1<<30, nil)
	if len(all[unnamed]) != 1 {
		t.Errorf("one file of many: %v", all)
	}
	all.Close()
}

// TestInheritedOfAnother: what is meant for another process is not taken, and none gets it.
func TestInheritedOfAnother(t *testing.T) {
	for _, pid := range []string{"1", "", strconv.Itoa(os.Getpid())} {
		t.Setenv("LISTEN_PID", pid)
		t.Setenv("LISTEN_FDS", "0")
		t.Setenv("LISTEN_FDNAMES", "a:b")
		all := Inherited()
		if l, err := all.Listener(); l != nil || err != nil || len(all) != 0 {
			t.Errorf("%q: %v, %v, %v", pid, l, err, all)
		}
		for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			if v, ok := os.LookupEnv(name); ok {
				t.Errorf("%s is %q", name, v)
			}
		}
	}
}
