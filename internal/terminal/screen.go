// Package terminal writes to standard error: messages, and below them a last line that changes, where it is a terminal.
package terminal

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// A Screen is standard error, with a last line that changes when it is a terminal.
type Screen struct {
	mu    sync.Mutex // guards shown, and makes each message whole
	w     io.Writer
	width func() int // columns of the terminal, 0 if that is not known; nil when it is none
	shown bool       // there is a last line
}

// NewScreen returns a screen on w.
func NewScreen(w io.Writer) *Screen {
	s := &Screen{w: w}
	if fd, ok := Is(w); ok {
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

// Is reports whether w is a terminal that takes escape sequences, and its descriptor.
func Is(w io.Writer) (fd int, ok bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return -1, false
	}
	return int(f.Fd()), true
}

// IsTerminal reports whether the screen has a last line.
func (s *Screen) IsTerminal() bool { return s.width != nil }

// File returns the file behind the screen; nil: there is none.
func (s *Screen) File() *os.File {
	f, _ := s.w.(*os.File)
	return f
}

// Refresh says when to show the last line again: never where there is none.
func (s *Screen) Refresh() *time.Ticker {
	if s.IsTerminal() {
		return time.NewTicker(500 * time.Millisecond)
	}
	t := time.NewTicker(time.Hour)
	t.Stop()
	return t
}

// Write prints above the last line.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	return s.w.Write(p)
}

// Clear takes the last line away.
func (s *Screen) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
}

func (s *Screen) wipe() {
	if s.shown {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.shown = false
	}
}

// Show replaces the last line of a terminal. The line is ASCII.
func (s *Screen) Show(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if width := s.width(); width > 0 && len(line) >= width {
		line = line[:max(width-1, 0)]
	}
	s.wipe()
	fmt.Fprint(s.w, line)
	s.shown = true
}
