package journal

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func say(h slog.Handler) {
	log := slog.New(h)
	log.With("interface", "v1").Warn("interface is down", "for", "a while")
	log.Info("two\nlines", "error", "a\nb")
	log.Debug("nobody hears")
	log.WithGroup("g").Error("failed", "interface", "not one", "msg", "kept")
}

func TestEntries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	ear, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var back bytes.Buffer
	say(newHandler(conn, &back, slog.LevelInfo))
	for _, want := range []string{
		"PRIORITY=4\nSYSLOG_IDENTIFIER=capd\nMESSAGE=interface is down interface=v1 for=\"a while\"\nINTERFACE=v1\n",
		"PRIORITY=6\nSYSLOG_IDENTIFIER=capd\nMESSAGE=two lines error=\"a\\nb\"\n",
		"PRIORITY=3\nSYSLOG_IDENTIFIER=capd\nMESSAGE=failed g.interface=\"not one\" g.msg=kept\n",
	} {
		buf := make([]byte, 4096)
		_ = ear.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := ear.Read(buf)
		if got := string(buf[:n]); err != nil || got != want {
			t.Errorf("%v\n%q, want\n%q", err, got, want)
		}
	}
	if back.Len() > 0 {
		t.Errorf("and besides %q", &back)
	}
}

// TestLines: without the socket, the journal receives lines with priorities.
func TestLines(t *testing.T) {
	var back bytes.Buffer
	say(newHandler(nil, &back, slog.LevelInfo))
	want := "<4>interface is down interface=v1 for=\"a while\"\n<6>two lines error=\"a\\nb\"\n<3>failed g.interface=\"not one\" g.msg=kept\n"
	if got := back.String(); got != want {
		t.Errorf("%q, want\n%q", got, want)
	}
}

// TestTakes: after a redirection, JOURNAL_STREAM names another stream than the file's.
func TestTakes(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Setenv("JOURNAL_STREAM", "8:12345")
	if Takes(f) {
		t.Error("another stream is taken for the journal's")
	}
	for _, bad := range []string{"", "8", ":"} {
		t.Setenv("JOURNAL_STREAM", bad)
		if Takes(f) {
			t.Errorf("JOURNAL_STREAM=%q", bad)
		}
	}
	t.Setenv("JOURNAL_STREAM", identity(t, f))
	if !Takes(f) {
		t.Error("the stream is not found")
	}
}

func identity(t *testing.T, f *os.File) string {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", s.Dev, s.Ino)
}
