package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"capd/internal/daemon"

	"golang.org/x/term"
)

// A screen is standard error, with a living last line when it is a terminal.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	width func() int // columns of the terminal, 0 if it does not tell; nil when it is none
	shown bool
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if fd, ok := terminal(w); ok {
		s.width = func() int {
			width, _, err := term.GetSize(fd)
			if err != nil {
				return 0
			}
			return width
		}
	}
	return s
}

// terminal returns the descriptor of a terminal that takes escape sequences.
func terminal(w io.Writer) (fd int, ok bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return -1, false
	}
	return int(f.Fd()), true
}

func (s *screen) terminal() bool { return s.width != nil }

// refresh says when to show the line again.
func (s *screen) refresh() *time.Ticker {
	if s.terminal() {
		return time.NewTicker(500 * time.Millisecond)
	}
	t := time.NewTicker(time.Hour)
	t.Stop()
	return t
}

// Write prints, above the living line.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	return s.w.Write(p)
}

func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
}

func (s *screen) wipe() {
	if s.shown {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.shown = false
	}
}

// show renews the living line, which is ASCII.
func (s *screen) show(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if width := s.width(); width > 0 && len(line) >= width {
		line = line[:max(width-1, 0)]
	}
	s.wipe()
	fmt.Fprint(s.w, line)
	s.shown = true
}

// living is one line on how it goes. It is ASCII: names in it are escaped.
func living(all []daemon.Status) string {
	t := daemon.Sum(all)
	line := fmt.Sprintf("%d packets, %s, %d dropped", t.Received, bytesText(t.Bytes), t.KernelDropped+t.Dropped)
	var files, others []string
	for _, s := range all {
		if s.State != daemon.Recording && s.State != daemon.Ended {
			others = append(others, fmt.Sprintf("%q %s", s.Interface, s.State))
		} else if s.Writer.File != "" {
			files = append(files, filepath.Base(s.Writer.File))
		}
	}
	for _, more := range [][]string{others, files} {
		if len(more) > 0 {
			line += ", " + strings.Join(more, " ")
		}
	}
	return line
}

// bytesText is a size to be read, not to be reckoned with.
func bytesText(n uint64) string {
	f, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// summary prints the counts at the end, each apart, as tcpdump does.
func (s *screen) summary(all []daemon.Status, took time.Duration) {
	t := daemon.Sum(all)
	var b strings.Builder
	fmt.Fprintf(&b, "%d packets received\n", t.Received)
	fmt.Fprintf(&b, "%d packets written to %s, %s, in %s\n", t.Written, plural(t.Writer.Files, "file"),
		bytesText(uint64(t.Writer.FileBytes)), took.Round(time.Second/10))
	fmt.Fprintf(&b, "%d packets dropped by the kernel\n", t.KernelDropped)
	fmt.Fprintf(&b, "%d packets dropped by capd\n", t.Dropped)
	if slices.ContainsFunc(all, func(s daemon.Status) bool { return s.Filter != "" }) {
		b.WriteString("an unknown number of packets filtered: received are those that passed\n")
	}
	if t.NICDropped > 0 {
		fmt.Fprintf(&b, "%d packets dropped by the interface\n", t.NICDropped)
	}
	if t.Writer.Truncated > 0 {
		fmt.Fprintf(&b, "%d packets cut by the snaplen\n", t.Writer.Truncated)
	}
	if len(all) > 1 {
		for _, i := range all {
			fmt.Fprintf(&b, "%s: %d received, %d written, %d dropped by the kernel, %d dropped by capd\n",
				quoted(i.Interface), i.Received, i.Written, i.KernelDropped, i.Dropped)
		}
	}
	_, _ = io.WriteString(s, b.String())
}

// quoted quotes names that a terminal could take amiss.
func quoted(name string) string {
	if q := fmt.Sprintf("%q", name); q != `"`+name+`"` {
		return q
	}
	return name
}

func plural(n uint64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
