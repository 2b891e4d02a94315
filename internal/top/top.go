// Package top shows on a terminal, anew each second, how a running capd does,
// and gives it orders at the press of a key.
//
// It is in the manner of Elm, as its library wants it: a model that messages
// change, and a view that is a function of the model alone.
package top

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"capd/internal/control"
	"capd/internal/hint"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
)

// A Capd is asked and given orders: a control.Client, or what finds one.
type Capd interface {
	Status(ctx context.Context, looker string) (*control.Status, error)
	Rotate(ctx context.Context, iface string) ([]string, error)
	Hold(ctx context.Context, s control.Selection) ([]string, error)
}

// ErrTerminal is returned where there is no terminal that could show it.
var ErrTerminal = hint.New("top: it needs a terminal that can move its cursor", "capd status prints the same once, and ssh -t gives a terminal")

// Run shows how capd does on the terminal, until the user quits, the context
// ends, or a signal ends the process. Then the terminal is as it was, after a
// panic too.
func Run(ctx context.Context, capd Capd, terminal *os.File) error {
	if term := os.Getenv("TERM"); term == "" || term == "dumb" {
		return ErrTerminal
	}
	// All of these are orders to quit: a terminal may outlive its hangup.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return show(ctx, newModel(ctx, capd, time.Now(), glyphsFor(os.Getenv)), terminal)
}

// show quits by a message when the context ends. To give the library the
// context would make it close the terminal while it still reads it.
func show(ctx context.Context, m tea.Model, terminal *os.File) error {
	p := tea.NewProgram(m, tea.WithoutSignalHandler(), tea.WithOutput(terminal), tea.WithColorProfile(profile(os.Environ())))
	defer context.AfterFunc(ctx, p.Quit)()
	_, err := p.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tea.ErrProgramPanic):
		return errors.New("top: a mistake in capd top ended it: what is above says where; the terminal is restored")
	}
	return fmt.Errorf("top: %w", err)
}

// profile says which colours the terminal shows. It asks the environment
// alone: the library would run tmux and ask that too.
func profile(env []string) colorprofile.Profile {
	p := min(colorprofile.Env(env), colorprofile.ANSI256)
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "NO_COLOR="); ok && value != "" {
			p = min(p, colorprofile.ASCII)
		}
	}
	return p
}

// glyphs are what sparklines and bars are drawn with.
type glyphs struct {
	levels []rune // of a sparkline: zero, and then from the least to the most
	parts  []rune // of a bar: from its smallest part to a full cell
	empty  rune   // the rest of a bar
	rule   rune
}

// glyphsFor are blocks where the terminal has them, by what the environment
// says, and else ASCII.
func glyphsFor(getenv func(string) string) glyphs {
	locale := getenv("LANG")
	for _, name := range []string{"LC_CTYPE", "LC_ALL"} {
		if v := getenv(name); v != "" {
			locale = v
		}
	}
	locale = strings.ReplaceAll(strings.ToUpper(locale), "-", "")
	if !strings.Contains(locale, "UTF8") || getenv("TERM") == "linux" { // Linux' console has few blocks
		return glyphs{levels: []rune("_.,-=+*#"), parts: []rune("#"), empty: '.', rule: '-'}
	}
	return glyphs{levels: []rune("▁▂▃▄▅▆▇█"), parts: []rune("▏▎▍▌▋▊▉█"), empty: '·', rule: '─'}
}
