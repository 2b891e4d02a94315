package notify

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// manager listens like systemd. The returned function returns the next message.
func manager(t *testing.T) (*Manager, func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ear, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ear.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	m, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return m, func() string {
		buf := make([]byte, 4096)
		_ = ear.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := ear.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestMessages(t *testing.T) {
	m, received := manager(t)
	for _, c := range []struct {
		say  func()
		want string
	}{
		{m.Ready, "READY=1"},
		{m.Alive, "WATCHDOG=1"},
		{m.Stopping, "STOPPING=1"},
		{func() { m.Status("two\nlines") }, "STATUS=two lines"},
		{func() { m.Extend(3 * time.Second) }, "EXTEND_TIMEOUT_USEC=3000000"},
	} {
		c.say()
		if got := received(); got != c.want {
			t.Errorf("received %q, want %q", got, c.want)
		}
	}
}

// TestReload: the manager receives the time of the start by the monotonic clock, and the end,
// whether it succeeded or failed.
func TestReload(t *testing.T) {
	m, received := manager(t)
	before := monotonic()
	if err := m.Reload(func() error { return nil }); err != nil {
		t.Error(err)
	}
	began, ok := strings.CutPrefix(received(), "RELOADING=1\nMONOTONIC_USEC=")
	n, err := strconv.ParseInt(began, 10, 64)
	if at := time.Duration(n) * time.Microsecond; !ok || err != nil || at < before.Truncate(time.Microsecond) || at > monotonic() {
		t.Errorf("began %q, %v", began, err)
	}
	if got := received(); got != "READY=1" {
		t.Errorf("received %q", got)
	}
	bad := errors.New("capd.toml:1: bad\ncapd.toml:2: worse")
	if err := m.Reload(func() error { return bad }); err != bad {
		t.Error(err)
	}
	_ = received()
	if got := received(); got != "READY=1\nSTATUS=Not reloaded: capd.toml:1: bad; capd.toml:2: worse" {
		t.Errorf("received %q", got)
	}
}

func TestWatchdog(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"30000000", own, 30 * time.Second},
		{"30000000", "", 30 * time.Second},
		{"30000000", "1", 0},
		{"", own, 0},
		{"-5", own, 0},
		{"9223372036854775807", own, 0},
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		m, _ := manager(t)
		if got := m.Watchdog(); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestNobodyListens: without a manager in the environment, nothing is sent.
func TestNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	m, err := Open()
	if m != nil || err != nil {
		t.Fatal(m, err)
	}
	m.Ready()
	if m.Watchdog() != 0 || m.Reload(func() error { return nil }) != nil {
		t.Error("none is something")
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if m, err := Open(); m != nil || err == nil {
		t.Error("connected to nothing")
	}
}
