package control

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// socketDir returns a directory whose path is short enough for sockets, and that other users may
// enter.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "capd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestListen: the socket of a running capd is kept, that of a crashed one is replaced, and a file
// that is not a socket is kept.
func TestListen(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	l, err := Listen(path, strconv.Itoa(os.Getegid()))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 || l.Path() != path {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if gid := info.Sys().(*syscall.Stat_t).Gid; int(gid) != os.Getegid() {
		t.Errorf("group %d", gid)
	}
	if _, err := Listen(path, ""); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}
	leave(t, path) // as after kill -9
	l, err = Listen(path, "")
	if err != nil {
		t.Fatal("a dead one's: ", err)
	}
	_ = l.Close()
	// A socket of another program, which does not hold the lock.
	foreign, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, ""); !errors.Is(err, ErrInUse) {
		t.Errorf("a foreign one: %v", err)
	}
	_ = foreign.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, ""); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := Listen(path+"2", "no such group"); err == nil || !strings.Contains(err.Error(), `"no such group"`) {
		t.Errorf("a group: %v", err)
	}
	if _, err := Listen("/no/such/directory/s", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory: %v", err)
	}
}

// leave creates a socket on which no process listens.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
}

// TestListenAuto: several capds on one machine choose different sockets, and Find returns all of
// them.
func TestListenAuto(t *testing.T) {
	dir := socketDir(t)
	t.Setenv("RUNTIME_DIRECTORY", "")
	t.Setenv("XDG_RUNTIME_DIR", dir)
	if os.Geteuid() == 0 { // root has one directory for all its sessions
		t.Setenv("RUNTIME_DIRECTORY", dir+":/another")
	} else {
		dir = filepath.Join(dir, "capd-"+strconv.Itoa(os.Geteuid()))
	}
	var all []*Listener
	for range 3 {
		l, err := Listen(Auto, "")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all = append(all, l)
	}
	for i, name := range []string{"capd.sock", "capd-2.sock", "capd-3.sock"} {
		if all[i].Path() != filepath.Join(dir, name) {
			t.Errorf("%s, want %s in %s", all[i].Path(), name, dir)
		}
	}
	_ = all[1].Close()
	leave(t, filepath.Join(dir, "capd-9.sock"))
	if os.Geteuid() != 0 {
		if got := Find(); !slices.Contains(got, all[0].Path()) || !slices.Contains(got, all[2].Path()) || slices.Contains(got, filepath.Join(dir, "capd-9.sock")) {
			t.Errorf("found %v", got)
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if l, err := Listen(Auto, ""); err == nil {
			t.Errorf("listens on %s, in a directory of everybody's", l.Path())
		}
	}
	l, err := Listen(filepath.Join(dir, "capd-2.sock"), "")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

const asOther = "CAPD_TEST_SOCKET"

// TestOtherUser: only the owner and members of the group can connect.
func TestOtherUser(t *testing.T) {
	if path := os.Getenv(asOther); path != "" {
		if _, err := client(t, path).Status(context.Background(), ""); err != nil {
			t.Fatal(err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	const other, group = 65533, 65532
	path := filepath.Join(socketDir(t), "s")
	l, err := Listen(path, strconv.Itoa(group))
	if err != nil {
		t.Fatal(err)
	}
	serveUntilEnd(t, NewServer(&fake{}, nil), l)
	for gid, want := range map[uint32]string{other: "permission denied", group: ""} {
		cmd := exec.Command(program(t), "-test.run=TestOtherUser$", "-test.v")
		cmd.Env = append(os.Environ(), asOther+"="+path)
		cmd.Dir = filepath.Dir(path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: gid}}
		out, err := cmd.CombinedOutput()
		if (err == nil) != (want == "") || !strings.Contains(string(out), want) || !strings.Contains(string(out), "TestOtherUser") {
			t.Errorf("group %d: %v: %s", gid, err, out)
		}
	}
}

// program returns a copy of the test's binary that every user may run.
func program(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(socketDir(t), "test")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestJudge checks the result for monitoring systems.
func TestJudge(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name  string
		iface Interface
		level Level
		part  string
	}{
		{"fine", Interface{State: Recording}, OK, ""},
		{"old loss", Interface{State: Recording, LastLoss: now.Add(-time.Hour)}, OK, ""},
		{"loss", Interface{State: Recording, LastLoss: now, Counters: Counters{KernelDropped: 3, CapdDropped: 4}}, Warning, "3 by the kernel, 4 by capd"},
		{"waiting", Interface{State: Waiting}, Warning, "is not there"},
		{"down", Interface{State: Down}, Critical, "is down"},
		{"suspended", Interface{State: Suspended, Directory: "/x"}, Critical, "can't be written to /x"},
		{"down and loss", Interface{State: Down, LastLoss: now}, Critical, "is down"},
		{"ended", Interface{State: Ended}, Warning, "no interface"},
		{"discarded", Interface{State: Recording, Counters: Counters{NICDiscarded: 9}}, OK, ""},
		{"oversized", Interface{State: Recording, LastLoss: now, Counters: Counters{Oversized: 9}}, Warning, "9 cut as too large"},
		{"XDP", Interface{State: Recording, XDP: "XDP program 7 drop_all, native"}, Warning, "\"eth0\": XDP program 7 drop_all, native, is attached: frames may not reach capd"},
		{"XDP was", Interface{State: Recording, XDPUntil: now}, Warning, "an XDP program was attached until"},
		{"unread", Interface{State: Recording, Unread: now}, Warning, "before all frames were read: how many are lost is unknown"},
		{"unread was seen", Interface{State: Recording, Unread: now.Add(-time.Hour)}, OK, ""},
		{"XDP was seen", Interface{State: Recording, XDPUntil: now.Add(-time.Hour)}, OK, ""},
		{"XDP once", Interface{State: Ended, XDP: "XDP program 7, native"}, Warning, "no interface"},
	} {
		c.iface.Name = "eth0"
		s := Status{Looked: now.Add(-time.Minute), Interfaces: []Interface{c.iface}}
		level, wrong := s.Judge()
		if level != c.level || !strings.Contains(strings.Join(wrong, "; "), c.part) || (level == OK) != (len(wrong) == 0) {
			t.Errorf("%s: %v, %q", c.name, level, wrong)
		}
	}
	s := Status{Interfaces: []Interface{{State: Recording}}, Directories: []Directory{{Path: "/x", Waiting: []StepWait{{Step: "hook", Files: 9}}}}}
	if level, wrong := s.Judge(); level != OK {
		t.Errorf("files wait, and no limit yields: %v, %q", level, wrong)
	}
	s.Directories[0].Waiting[0].Kept, s.Directories[0].Waiting[0].Limit = 4, "bytes"
	if level, wrong := s.Judge(); level != Warning || len(wrong) != 1 || wrong[0] != `"/x" is over its limit bytes: 4 files stay until step hook has succeeded` {
		t.Errorf("limits yield: %v, %q", level, wrong)
	}
}

// TestJudgePause: a time in which no capd ran is told to who did not look since.
func TestJudgePause(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		pause  Pause
		looked time.Time
		want   string
	}{
		{"first run", Pause{}, time.Time{}, ""},
		{"first look", Pause{now.Add(-time.Hour), now}, time.Time{}, "nothing was recorded into \"/x\" from 2026-01-02T11:00:00Z to 2026-01-02T12:00:00Z: capd did not run"},
		{"looked", Pause{now.Add(-time.Hour), now}, now.Add(time.Second), ""},
		{"looked before", Pause{now.Add(-time.Hour), now}, now.Add(-time.Second), "capd did not run"},
	} {
		s := Status{Looked: c.looked, Interfaces: []Interface{{State: Recording}}, Directories: []Directory{{Path: "/x", Pause: c.pause}}}
		level, wrong := s.Judge()
		if (level == Warning) != (c.want != "") || !strings.Contains(strings.Join(wrong, "; "), c.want) {
			t.Errorf("%s: %v, %q", c.name, level, wrong)
		}
	}
}
