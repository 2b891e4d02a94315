// Package top shows the status of a running capd on a terminal, updated every second, and sends
// commands to it when keys are pressed.
//
// Its structure is the Elm architecture, which its library requires: messages change a model, and
// the view is a function of the model.
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

// A Capd is the source of the status and the receiver of commands: a control.Client, or a function
// that finds one.
type Capd interface {
	Status(ctx context.Context, looker string) (*control.Status, error)
	Rotate(ctx context.Context, iface string) ([]string, error)
	Hold(ctx context.Context, s control.Selection) ([]string, error)
}

// ErrTerminal is returned if the terminal can't display top.
var ErrTerminal = hint.New("top: needs a terminal that can move its cursor", "capd status prints the same once, and ssh -t gives a terminal")

// Run shows capd's status on the terminal until the user quits, the context ends, or a signal
// arrives. Then it restores the terminal, after a panic too.
func Run(ctx context.Context, capd Capd, terminal *os.File) error {
	if term := os.Getenv("TERM"); term == "" || term == "dumb" {
		return ErrTerminal
	}
	// All of these signals end top properly: a terminal may still exist after SIGHUP.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return show(ctx, newModel(ctx, capd, time.Now(), glyphsFor(os.Getenv)), terminal)
}

// show quits with a message when the context ends. If the library had the context, it would close
// the terminal while it still reads from it.
func show(ctx context.Context, m tea.Model, terminal *os.File) error {
	p := tea.NewProgram(m, tea.WithoutSignalHandler(), tea.WithOutput(terminal), tea.WithColorProfile(profile(os.Environ())))
	defer context.AfterFunc(ctx, p.Quit)()
	_, err := p.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tea.ErrProgramPanic):
		return errors.New("top: capd top has a bug, see the stack trace above; the terminal is restored")
	}
	return fmt.Errorf("top: %w", err)
}

// profile returns which colors the terminal supports, from the environment alone. The library would
// also run tmux to find out.
func profile(env []string) colorprofile.Profile {
	p := min(colorprofile.Env(env), colorprofile.ANSI256)
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "NO_COLOR="); ok && value != "" {
			p = min(p, colorprofile.ASCII)
		}
	}
	return p
}

// glyphs are the characters of sparklines and bars.
type glyphs struct {
	levels []rune // of a sparkline: first zero, then increasing values
	parts  []rune // of a bar: from the smallest part to a full cell
	empty  rune   // rest of a bar
	rule   rune
}

// glyphsFor returns block characters if the terminal supports them according to the environment,
// else ASCII characters.
func glyphsFor(getenv func(string) string) glyphs {
	locale := getenv("LANG")
	for _, name := range []string{"LC_CTYPE", "LC_ALL"} {
		if v := getenv(name); v != "" {
			locale = v
		}
	}
	locale = strings.ReplaceAll(strings.ToUpper(locale), "-", "")
	if !strings.Contains(locale, "UTF8") || getenv("TERM") == "linux" { // the Linux console has few block characters
		return glyphs{levels: []rune("_.,-=+*#"), parts: []rune("#"), empty: '.', rule: '-'}
	}
	return glyphs{levels: []rune("▁▂▃▄▅▆▇█"), parts: []rune("▏▎▍▌▋▊▉█"), empty: '·', rule: '─'}
}
