// Package testterm gives tests a real terminal: a pane of tmux.
package testterm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for a screen.
const patience = 30 * time.Second

// script runs a program like a shell, and records the terminal's settings before and after.
const script = `dir=$1
shift
stty -g >"$dir/before"
dir=$dir sh -c 'echo $$ >"$dir/pid"; exec "$@"' sh "$@"
code=$?
stty -g >"$dir/after"
echo "ended $code"
exec cat`

// A Terminal runs one program.
type Terminal struct {
	tb  testing.TB
	dir string // for tmux's socket and the script's files
	env []string
}

// New starts a program on a new terminal with that many columns and lines. env is added to the
// test's environment. If tmux is missing, the test is skipped.
func New(tb testing.TB, width, height int, env []string, program ...string) *Terminal {
	tb.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		tb.Skipf("needs tmux: %v", err)
	}
	dir, err := os.MkdirTemp("", "term") // tb.TempDir is too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	t := &Terminal{tb: tb, dir: dir}
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); name != "TMUX" && name != "NO_COLOR" && name != "COLORTERM" {
			t.env = append(t.env, e)
		}
	}
	t.env = append(t.env, "LC_ALL=C.UTF-8", "SHELL=/bin/sh", "TERM=xterm-256color")
	t.env = append(t.env, env...)
	args := []string{"-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height), "sh", "-c", script, "sh", dir}
	tb.Cleanup(func() { _ = t.command("kill-server").Run() })
	t.tmux(append(args, program...)...)
	return t
}

func (t *Terminal) command(args ...string) *exec.Cmd {
	c := exec.Command("tmux", append([]string{"-u", "-S", filepath.Join(t.dir, "s")}, args...)...)
	c.Env = t.env
	return c
}

func (t *Terminal) tmux(args ...string) string {
	t.tb.Helper()
	out, err := t.command(args...).CombinedOutput()
	if err != nil {
		t.tb.Fatalf("tmux %s: %v: %s", args[0], err, out)
	}
	return string(out)
}

// Screen returns the text on the screen.
func (t *Terminal) Screen() string {
	t.tb.Helper()
	return t.tmux("capture-pane", "-p")
}

// Styled returns the text on the screen with its colors as escape sequences.
func (t *Terminal) Styled() string {
	t.tb.Helper()
	return t.tmux("capture-pane", "-p", "-e")
}

// Press presses keys, given by tmux's names.
func (t *Terminal) Press(keys ...string) {
	t.tb.Helper()
	t.tmux(append([]string{"send-keys"}, keys...)...)
}

// Resize changes the size of the screen.
func (t *Terminal) Resize(width, height int) {
	t.tb.Helper()
	t.tmux("resize-window", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
}

// Await waits until the screen satisfies a condition, and returns it.
func (t *Terminal) Await(what string, ok func(screen string) bool) string {
	t.tb.Helper()
	var screen string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if screen = t.Screen(); ok(screen) {
			return screen
		}
	}
	t.tb.Fatalf("no %s on the screen:\n%s", what, screen)
	return ""
}

// AwaitText waits until the screen contains all the texts.
func (t *Terminal) AwaitText(texts ...string) string {
	t.tb.Helper()
	return t.Await(fmt.Sprintf("%q", texts), func(screen string) bool {
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	})
}

// Process returns the program's process.
func (t *Terminal) Process() *os.Process {
	t.tb.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(t.read("pid")))
	if err != nil {
		t.tb.Fatal(err)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.tb.Fatal(err)
	}
	return p
}

func (t *Terminal) read(name string) string {
	t.tb.Helper()
	b, err := os.ReadFile(filepath.Join(t.dir, name))
	if err != nil {
		t.tb.Fatal(err)
	}
	return string(b)
}

// Ended waits until the program has ended with an exit code, and fails the test if the terminal was
// not restored. It returns the screen.
func (t *Terminal) Ended(code int) string {
	t.tb.Helper()
	screen := t.AwaitText(fmt.Sprintf("ended %d\n", code))
	if before, after := t.read("before"), t.read("after"); before != after || before == "" {
		t.tb.Errorf("the terminal was left with settings\n%s, not\n%s", after, before)
	}
	const modes = "screen #{alternate_on} cursor #{cursor_flag} mouse #{mouse_any_flag} keys #{keypad_flag}#{keypad_cursor_flag} region #{scroll_region_upper}"
	if got := strings.TrimSpace(t.tmux("display-message", "-p", modes)); got != "screen 0 cursor 1 mouse 0 keys 00 region 0" {
		t.tb.Errorf("the terminal was left with %s", got)
	}
	return screen
}
