package top

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/testterm"

	tea "charm.land/bubbletea/v2"
)

// Environment variables that make the test's own binary run top, and panic at the key p.
const (
	socketVar = "CAPD_TEST_TOP"
	panicVar  = "CAPD_TEST_TOP_PANIC"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(socketVar); path != "" {
		if err := showSocket(path); err != nil {
			fmt.Fprintln(os.Stderr, "capd:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func showSocket(path string) error {
	ctx, c := context.Background(), control.NewClient(path)
	defer c.Close()
	if where := os.Getenv(panicVar); where != "" {
		return show(ctx, &saboteur{model: newModel(ctx, c, time.Now(), utf8), where: where}, os.Stdout)
	}
	return Run(ctx, c, os.Stdout)
}

// A saboteur is a model that panics at the key p.
type saboteur struct {
	*model
	where string
	armed bool
}

func (s *saboteur) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	_, cmd := s.model.Update(msg)
	if key, ok := msg.(tea.KeyPressMsg); ok && key.String() == "p" {
		switch s.where {
		case "update":
			panic("in an update")
		case "command":
			return s, func() tea.Msg { panic("in a command") }
		case "view":
			s.armed = true
		}
	}
	return s, cmd
}

func (s *saboteur) View() tea.View {
	if s.armed {
		panic("in a view")
	}
	return s.model.View()
}

// A server is a capd without recording.
type server struct {
	control.Backend
	path     string
	mu       sync.Mutex
	commands []string
	stop     func()
}

func (s *server) Report() control.Status {
	status := scene(90)
	status.Version, status.Time = control.Version, time.Now()
	return *status
}

func (s *server) record(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, fmt.Sprintf(format, args...))
}

func (s *server) RotateFiles(_ context.Context, iface string) ([]string, error) {
	s.record("rotate %s", iface)
	return []string{"/d/" + iface + "-1.pcapng"}, nil
}

func (s *server) Reload(context.Context) error { return nil }

func (s *server) Hold(_ context.Context, which control.Selection) ([]string, error) {
	s.record("hold %+v", which)
	return nil, control.Refused("hold: the disk is full\x1b[2J")
}

func (s *server) Release(context.Context, control.Selection) ([]string, error) { return nil, nil }

// start serves on the socket until stop is called.
func (s *server) start(t *testing.T) {
	t.Helper()
	l, err := control.Listen(s.path, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- control.NewServer(s, nil).Serve(ctx, l) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = l.Close()
	})
	t.Cleanup(func() { s.stop() })
}

func newServer(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "capd") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &server{path: filepath.Join(dir, "s")}
}

func watching(t *testing.T, s *server, env ...string) *testterm.Terminal {
	t.Helper()
	return testterm.New(t, 80, 24, append(env, socketVar+"="+s.path), os.Args[0])
}

// TestTerminal controls top with keys on a real terminal, with a real socket.
func TestTerminal(t *testing.T) {
	s := newServer(t)
	term := watching(t, s)
	term.AwaitText("no answer since ", "trying again: no such file or directory")
	s.start(t)
	screen := term.AwaitText(" capd 1.2.3  up ", "\n>e\\x1b[31m~ down ", "\n wlan0      suspended ", "? help  q quit")
	if strings.Contains(screen, "no answer") {
		t.Errorf("the alert is still shown:\n%s", screen)
	}
	term.Press("Down", "j")
	term.AwaitText("\n>eth0 ", "── eth0: recording since ")
	term.Press("r")
	term.AwaitText("Z rotated eth0: eth0-1.pcapng")
	term.Press("h")
	term.AwaitText(`Z hold: capd says: hold: the disk is full\x1b[2J`)
	term.Press("s")
	term.AwaitText("(by rate)", "LOSS   RING  POOL  WRITE  REACH\n>eth0 ")
	term.Press("Up", "k")
	term.Press("?")
	term.AwaitText("capd top: keys")
	term.Press("Escape")
	term.AwaitText("\n>eth0 ")
	term.Resize(120, 40)
	term.Await("wide screen", func(screen string) bool {
		return strings.Count(screen, "\n") == 40 && strings.Contains(screen, " WRITE  REACH\n>eth0            recording")
	})
	term.Resize(60, 20)
	term.AwaitText("needs 80x24,\nthis is 60x20")
	term.Resize(80, 24)
	term.AwaitText("\n>eth0 ")
	s.stop()
	term.AwaitText("no answer since ", "trying again: ")
	if styled := term.Styled(); !regexp.MustCompile(`\x1b\[1m\x1b\[31m no answer|\x1b\[[0-9;]*31m no answer`).MatchString(styled) {
		t.Errorf("it is not red: %q", styled)
	}
	s.start(t)
	term.Await("screen without the alert", func(screen string) bool {
		return !strings.Contains(screen, "no answer") && strings.Contains(screen, "\n>eth0 ")
	})
	term.Press("q")
	if screen := term.Ended(0); strings.Contains(screen, "eth0") {
		t.Errorf("the alert is still shown:\n%s", screen)
	}
	if want := []string{"rotate eth0", fmt.Sprintf("hold %+v", control.Selection{Last: "10m0s"})}; !slices.Equal(s.commands, want) {
		t.Errorf("commands %q", s.commands)
	}
}

// TestRestores: the terminal is restored, however top ends.
func TestRestores(t *testing.T) {
	s := newServer(t)
	s.start(t)
	for name, c := range map[string]struct {
		key    string
		signal os.Signal
		env    string
		code   int
		want   string
	}{
		"key":              {key: "q"},
		"ctrl-c":           {key: "C-c"},
		"terminated":       {signal: syscall.SIGTERM},
		"interrupted":      {signal: syscall.SIGINT},
		"hung up":          {signal: syscall.SIGHUP},
		"panic in update":  {key: "p", env: panicVar + "=update", code: 1, want: "in an update"},
		"panic in view":    {key: "p", env: panicVar + "=view", code: 1, want: "in a view"},
		"panic in command": {key: "p", env: panicVar + "=command", code: 1, want: "capd: top: capd top has a bug"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var env []string
			if c.env != "" {
				// After a panic, the library closes the terminal while it still reads from it. The
				// race detector would report that and change the exit code.
				env = []string{c.env, "GORACE=exitcode=1"}
			}
			term := watching(t, s, env...)
			term.AwaitText("\n>e\\x1b[31m~ down ")
			if c.key != "" {
				term.Press(c.key)
			} else if err := term.Process().Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if c.want != "" {
				term.Resize(200, 100) // room for the stack trace
				term.AwaitText(c.want)
			}
			term.Ended(c.code)
		})
	}
}

// TestNoColour: with NO_COLOR there are no colors, and all information is still shown. Otherwise
// only the sixteen colors are used that every terminal has.
func TestNoColour(t *testing.T) {
	s := newServer(t)
	s.start(t)
	for env, coloured := range map[string]bool{"NO_COLOR=1": false, "COLORTERM=truecolor": true} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			term := watching(t, s, env)
			term.AwaitText("suspended", "down", "waiting", "990")
			styled := term.Styled()
			if got := regexp.MustCompile(`\x1b\[([0-9;]*;)?[349][0-7](;[0-9;]*)?m`).MatchString(styled); got != coloured {
				t.Errorf("coloured: %t: %q", got, styled)
			}
			if regexp.MustCompile(`[34]8[;:][25]`).MatchString(styled) || !strings.Contains(styled, "\x1b[1;7m") && !strings.Contains(styled, "\x1b[7m") {
				t.Errorf("%q", styled)
			}
			term.Press("q")
			term.Ended(0)
		})
	}
}

// TestASCII: top uses no block characters on a terminal whose locale lacks them.
func TestASCII(t *testing.T) {
	s := newServer(t)
	s.start(t)
	term := watching(t, s, "LC_ALL=C")
	screen := term.AwaitText("suspended", "#")
	for _, r := range screen {
		if r > '~' {
			t.Fatalf("%c in\n%s", r, screen)
		}
	}
	term.Press("q")
	term.Ended(0)
}

// TestNoTerminal: without a terminal, the error says what top needs.
func TestNoTerminal(t *testing.T) {
	for _, name := range []string{"", "dumb"} {
		t.Setenv("TERM", name)
		if err := Run(context.Background(), nil, os.Stdout); err != ErrTerminal {
			t.Errorf("TERM=%q: %v", name, err)
		}
	}
}
