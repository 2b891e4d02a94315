package terminal

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"capd/ledger"
)

// fakeTerminal is a screen of the width that keeps what is drawn.
func fakeTerminal(width int) (*Screen, *bytes.Buffer) {
	var b bytes.Buffer
	return &Screen{w: &b, width: func() int { return width }}, &b
}

// pictures are the living lines in the order in which they were drawn.
func pictures(t *testing.T, drawn string) []string {
	t.Helper()
	const wipe = "\r\x1b[K"
	if drawn != "" && !strings.HasSuffix(drawn, wipe) {
		t.Errorf("a line is left: %q", drawn)
	}
	return strings.Split(strings.TrimSuffix(drawn, wipe), wipe)
}

func TestProgressDraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := fakeTerminal(120)
		p := NewProgress(s, "eth0.pcapng", 1000<<20)
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			p.Add(1 << 20)
		}
		p.End()
		lines := pictures(t, b.String())
		if len(lines) != 100 {
			t.Errorf("%d pictures in 10 s", len(lines))
		}
		for at, want := range map[int]string{
			0:  "eth0.pcapng [------------------------------]   1% of 1000 MiB, 100 MiB/s, 10s left",
			49: "eth0.pcapng [###############---------------]  50% of 1000 MiB, 100 MiB/s, 5s left",
			99: "eth0.pcapng [##############################] 100% of 1000 MiB, 100 MiB/s, 0s left",
		} {
			if lines[at] != want {
				t.Errorf("%q, want %q", lines[at], want)
			}
		}
	})
}

// TestProgressWidth: a line never wraps, whatever the name, and the numbers go
// last.
func TestProgressWidth(t *testing.T) {
	for _, name := range []string{"a", strings.Repeat("long", 20), "\x1b]0;evil\a", "überall"} {
		for width := range 200 {
			synctest.Test(t, func(t *testing.T) {
				s, b := fakeTerminal(width)
				p := NewProgress(s, name, 4<<30)
				time.Sleep(time.Second)
				p.Add(1 << 30)
				p.End()
				line := pictures(t, b.String())[0]
				switch {
				case width > 0 && len(line) >= width:
					t.Errorf("%d columns: %q", width, line)
				case width > 45 && !strings.Contains(line, " 25% of 4 GiB, 1 GiB/s, 3s left"):
					t.Errorf("%d columns: %q", width, line)
				case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }):
					t.Errorf("%q", line)
				}
			})
		}
	}
}

// TestProgressUnknown: without a total there is no bar, and without a terminal
// nothing.
func TestProgressUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := fakeTerminal(80)
		p := NewProgress(s, "-", 0)
		time.Sleep(2 * time.Second)
		p.Add(4 << 20)
		p.End()
		if got := pictures(t, b.String())[0]; got != "-: 4 MiB, 2 MiB/s" {
			t.Errorf("%q", got)
		}
		var pipe bytes.Buffer
		p = NewProgress(NewScreen(&pipe), "x", 10)
		time.Sleep(2 * time.Second)
		p.Add(10)
		p.End()
		if pipe.Len() > 0 {
			t.Errorf("in a pipe: %q", &pipe)
		}
	})
}

// slowReader takes a while for each read.
type slowReader struct{ src io.Reader }

func (r slowReader) Read(b []byte) (int, error) {
	time.Sleep(time.Second)
	return r.src.Read(b[:min(len(b), 100)])
}

func TestProgressReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := fakeTerminal(80)
		p := NewProgress(s, "x", 1000)
		if n, err := io.Copy(io.Discard, p.Reader(slowReader{strings.NewReader(strings.Repeat("x", 1000))})); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
		p.End()
		if lines := pictures(t, b.String()); len(lines) != 11 || !strings.Contains(lines[9], "100% of 1000 B, 100 B/s") {
			t.Errorf("%q", lines)
		}
	})
}

// TestProgressLedger: a ledger is read to its end, and told so.
func TestProgressLedger(t *testing.T) {
	dir := t.TempDir()
	l, err := ledger.Open(dir, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err := l.Append(ledger.Entry{Kind: ledger.KindQuiet, Interface: "eth0"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ := fakeTerminal(80)
	p := NewProgress(s, dir, 0)
	n := 0
	for _, err := range ledger.ReadWith(dir, ledger.ReadOptions{Begin: p.Expect, Read: p.Add}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if info, err := os.Stat(filepath.Join(dir, ledger.FileName)); err != nil || n != 1000 || p.done != info.Size() || p.total != p.done {
		t.Errorf("%d lines, %d of %d bytes, %v", n, p.done, p.total, err)
	}
}
