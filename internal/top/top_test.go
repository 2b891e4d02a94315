package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"capd/internal/control"
	"capd/internal/text"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
)

var update = flag.Bool("update", false, "update the frames in testdata")

// A fakeCapd is a Capd that records commands.
type fakeCapd struct {
	commands []string
	err      error
}

func (l *fakeCapd) Status(context.Context, string) (*control.Status, error) { return nil, l.err }

func (l *fakeCapd) Rotate(_ context.Context, iface string) ([]string, error) {
	l.commands = append(l.commands, "rotate "+iface)
	return []string{"/d/" + iface + "-1.pcapng"}, l.err
}

func (l *fakeCapd) Hold(_ context.Context, s control.Selection) ([]string, error) {
	l.commands = append(l.commands, "hold "+s.Last+s.Interface)
	return []string{"/d/a", "/d/b"}, l.err
}

var (
	born  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	utf8  = glyphsFor(func(string) string { return "C.UTF-8" })
	ascii = glyphsFor(func(string) string { return "C" })
)

func shown(width, height int, g glyphs) (*model, *fakeCapd) {
	l := new(fakeCapd)
	m := newModel(context.Background(), l, born, g)
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	return m, l
}

// scene returns a status at a number of seconds after the start.
func scene(second int) *control.Status {
	at := born.Add(time.Duration(second) * time.Second)
	s := &control.Status{Software: "capd 1.2.3", Time: at, Start: born.Add(-50 * time.Hour)}
	latency := control.Latency{Max: 1.25, Summary: control.Summary{Count: 9, Median: 0.00042, P99: 0.0123}}
	latency.Minute = latency.Summary
	wave := float64(second%20) * 50_000
	lost := uint64(max(0, second-40) / 10 * 7)
	s.Interfaces = []control.Interface{
		{
			Name: "eth0", State: control.Recording, Since: s.Start, Directory: "/var/lib/capd",
			Files:    []string{"/var/lib/capd/eth0-20260102T030405Z-000017.pcapng.partial"},
			Counters: control.Counters{Received: 123_456_789, Written: 123_450_000, Pending: 6789 - lost, KernelDropped: lost, Bytes: 98_765_432_100, Finished: 17, Waits: 2, Freezes: 1},
			Rates:    control.Rates{Second: control.Rate{Packets: wave, Bytes: 800 * wave}, Minute: control.Rate{Lost: float64(lost) / 60}},
			Ring:     control.Fill{Now: 0.43, High: 1, Size: 128 << 20}, Pool: control.Fill{Now: 0.87, High: 0.9, Size: 32 << 20},
			Writes: latency, Syncs: latency,
			Kept: control.Kept{Files: 16, Bytes: 17 << 30, Held: 2, Oldest: s.Start, Rate: 4e6, Reach: 3.1e5, Limit: "bytes"},
		},
		{Name: "enp0s31f6.1000", State: control.Waiting, Since: born, Directory: "/var/lib/capd"},
		{
			Name: "wlan0", State: control.Suspended, Since: born, Directory: "/srv/disk", Files: []string{"/srv/disk/a", "/srv/disk/b", "/srv/disk/c"},
			Counters: control.Counters{Received: 1000, Written: 10, CapdDropped: 990, NICDiscarded: 12, Bytes: 64_000, Failures: 2}, LastLoss: at,
			Rates: control.Rates{Second: control.Rate{Packets: 100, Bytes: 6400, Lost: 99}, Minute: control.Rate{Lost: 99}},
			Ring:  control.Fill{Now: 0.01, Size: 4096},
			Kept:  control.Kept{Rate: 100}, XDP: "XDP program 7 drop\n_all, native",
		},
		{Name: "e\x1b[31m\u202e0", State: control.Down, Since: born, Directory: "/var/\x07lib\n", Files: []string{"/var/\x1b]0;x\x07"}},
	}
	if lost > 0 {
		s.Interfaces[0].LastLoss = at
	}
	s.Directories = []control.Directory{
		{Path: "/var/lib/capd", Files: 16, Bytes: 17 << 30, Held: 2, Free: 50 << 30, Total: 100 << 30},
		{Path: "/srv/disk", Free: 1 << 20, Total: 10 << 30},
	}
	return s
}

// watch simulates a number of seconds. capd does not answer in the seconds 20 to 25.
func (m *model) watch(seconds int) {
	for s := range seconds {
		a := answer{at: born.Add(time.Duration(s) * time.Second), status: scene(s)}
		if s >= 20 && s < 25 {
			a.status, a.err = nil, errors.New("nobody")
		}
		m.Update(a)
	}
}

// keys presses keys, processes the resulting messages, and returns the last command.
func (m *model) keys(all string) tea.Cmd {
	var cmd tea.Cmd
	for _, r := range all {
		if _, cmd = m.Update(tea.KeyPressMsg{Code: r, Text: string(r)}); cmd != nil {
			m.Update(cmd())
		}
	}
	return cmd
}

// checkFrame checks that the frame fits the terminal, and that its only escape sequences are
// colors.
func checkFrame(t *testing.T, m *model) []string {
	t.Helper()
	frame := m.frame()
	lines := strings.Split(frame, "\n")
	if len(lines) > max(m.height, 1) { // an empty frame is one line
		t.Errorf("%d lines on a terminal of %d", len(lines), m.height)
	}
	for i, line := range lines {
		bare := ansi.Strip(line)
		if w := ansi.StringWidth(line); w > m.width {
			t.Errorf("line %d is %d cells wide, not %d: %q", i, w, m.width, bare)
		}
		if bare != text.Line(bare) {
			t.Errorf("line %d: %q", i, bare)
		}
		lines[i] = strings.TrimRight(bare, " ")
	}
	for _, part := range strings.Split(frame, "\x1b")[1:] {
		if !strings.HasPrefix(part, "[") || strings.Trim(part[1:strings.IndexByte(part, 'm')+1], "0123456789;m") != "" {
			t.Errorf("the frame contains %q", part)
		}
	}
	return lines
}

// TestHidden: what is said of an interface in capd status is in its details, and an XDP program is seen in the table.
func TestHidden(t *testing.T) {
	m, _ := shown(minWidth, minHeight, utf8)
	m.watch(1)
	rows, _ := m.rows()
	m.selected = "wlan0"
	frame := strings.Join(checkFrame(t, m), "\n")
	for _, want := range []string{"12 that the interface's statistics call dropped, recorded or not", `XDP program 7 drop\n_all, native: frames that it takes do not reach capd`} {
		if !strings.Contains(frame, want) {
			t.Errorf("no %q in\n%s", want, frame)
		}
	}
	in := rows[slices.IndexFunc(rows, func(in *control.Interface) bool { return in.Name == "eth0" })]
	before := stateStyle(in)("recording")
	in.XDP = "XDP program 7"
	if stateStyle(in)("recording") == before {
		t.Error("it looks as if all were well")
	}
}

// TestFrames compares frames with those in testdata.
func TestFrames(t *testing.T) {
	for name, c := range map[string]struct {
		width, height int
		glyphs        glyphs
		seconds       int
		keys          string
		away          error
	}{
		"80x24":    {80, 24, utf8, 90, "j", nil},
		"120x40":   {120, 40, utf8, 90, "jjj", nil},
		"200x50":   {200, 50, utf8, 90, "ss", nil},
		"ascii":    {80, 24, ascii, 90, "jj", nil},
		"tiny":     {40, 10, utf8, 90, "", errors.New("nobody")},
		"help":     {80, 24, utf8, 90, "?", nil},
		"away":     {80, 24, utf8, 90, "", fmt.Errorf("ask: %w", errors.New("connection refused"))},
		"starting": {80, 24, utf8, 0, "", nil},
		"nobody":   {80, 24, utf8, 0, "rh", errors.New("no running capd is found")},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := shown(c.width, c.height, c.glyphs)
			m.watch(c.seconds)
			m.keys(c.keys)
			if c.away != nil {
				m.Update(answer{at: born.Add(200 * time.Second), err: c.away})
			}
			m.note.at = born
			got := strings.Join(checkFrame(t, m), "\n") + "\n"
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(path); err != nil || string(want) != got {
				t.Errorf("%v, not %s:\n%s", err, path, got)
			}
		})
	}
}

// TestKeys: each key does what the help says.
func TestKeys(t *testing.T) {
	m, l := shown(80, 24, utf8)
	m.keys("jkrs") // nothing can be selected yet
	m.sorting = byName
	m.watch(90)
	order := func() (names []string) {
		rows, _ := m.rows()
		for _, r := range rows {
			names = append(names, r.Name)
		}
		return names
	}
	evil := "e\x1b[31m\u202e0"
	for _, c := range []struct {
		key  string
		want []string
	}{
		{"", []string{evil, "enp0s31f6.1000", "eth0", "wlan0"}},
		{"s", []string{"eth0", "wlan0", evil, "enp0s31f6.1000"}},
		{"s", []string{"wlan0", "eth0", evil, "enp0s31f6.1000"}},
		{"s", []string{evil, "enp0s31f6.1000", "eth0", "wlan0"}},
	} {
		if m.keys(c.key); !slices.Equal(order(), c.want) {
			t.Errorf("by %s: %q", m.sorting, order())
		}
	}
	m.keys("jjr") // eth0
	m.keys("s")   // the selection stays on that interface
	m.keys("rkkkkr")
	m.keys("jjjjjjr")
	m.keys("h?rh?") // while the help is shown, keys change nothing
	m.Update(tea.WindowSizeMsg{Width: 79, Height: 24})
	m.keys("rhs")
	want := []string{"rotate eth0", "rotate eth0", "rotate eth0", "rotate enp0s31f6.1000", "hold 10m0s"}
	if !slices.Equal(l.commands, want) {
		t.Errorf("commands %q", l.commands)
	}
	for _, key := range []tea.KeyPressMsg{{Code: 'q', Text: "q"}, {Code: 'c', Mod: tea.ModCtrl}} {
		_, cmd := m.Update(key)
		if cmd == nil || cmd() != tea.Quit() {
			t.Errorf("%s does not quit", key)
		}
	}
	_, cmd := m.Update(tea.KeyPressMsg{Code: 'z', Mod: tea.ModCtrl})
	if cmd == nil || cmd() != tea.Suspend() {
		t.Error("ctrl-z does not suspend")
	}
}

// TestOrders: the result of a command is shown, and only one command runs at a time.
func TestOrders(t *testing.T) {
	m, l := shown(120, 40, utf8)
	m.watch(5)
	m.Update(tea.KeyPressMsg{Code: tea.KeyDown})
	m.Update(tea.KeyPressMsg{Code: tea.KeyDown})
	_, first := m.Update(tea.KeyPressMsg{Code: 'r', Text: "r"})
	if text := ansi.Strip(m.frame()); !strings.Contains(text, "rotate eth0 ...") {
		t.Errorf("no running command in\n%s", text)
	}
	if _, second := m.Update(tea.KeyPressMsg{Code: 'h', Text: "h"}); second != nil {
		t.Error("a second order at once")
	}
	m.Update(first())
	if text := ansi.Strip(m.frame()); !strings.Contains(text, "Z rotated eth0: eth0-1.pcapng") {
		t.Errorf("no answer in\n%s", text)
	}
	m.keys("h")
	if text := ansi.Strip(m.frame()); !strings.Contains(text, "Z held until capd release: 2 files: a b") {
		t.Errorf("no answer in\n%s", text)
	}
	l.err = errors.New("capd says: \x1b[2Jno")
	m.keys("h")
	if text := strings.Join(checkFrame(t, m), "\n"); !strings.Contains(text, `hold: capd says: \x1b[2Jno`) {
		t.Errorf("no error in\n%s", text)
	}
}

// TestAsks: each answer, also an error, is followed by the next request.
func TestAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := shown(80, 24, utf8)
		l.err = errors.New("away")
		a, ok := m.Init()().(answer)
		if !ok || !errors.Is(a.err, l.err) {
			t.Fatalf("%+v", a)
		}
		time.Sleep(300 * time.Millisecond)
		for _, a := range []answer{a, {at: born, status: scene(0)}} {
			_, cmd := m.Update(a)
			if cmd == nil {
				t.Fatal("nothing follows an answer")
			}
			next, ok := cmd().(tick)
			if !ok || time.Now().Nanosecond() != 0 {
				t.Fatalf("%T follows at %v, not at a second's begin", next, time.Now())
			}
			if _, cmd = m.Update(next); cmd == nil {
				t.Fatal("nothing follows a tick")
			}
		}
	})
}

// TestColours: problems are shown in red. On terminals without colors they are visible too.
func TestColours(t *testing.T) {
	m, _ := shown(80, 24, utf8)
	m.watch(90)
	frame := m.frame()
	for _, want := range []string{red("suspended"), red("down     "), yellow("waiting  "), green("recording"), red("   28"), red("99 lost/s")} {
		if !strings.Contains(frame, want) {
			t.Errorf("no %q", want)
		}
	}
	m.Update(answer{at: born.Add(100 * time.Second), err: errors.New("nobody")})
	alert := m.alert()
	if !strings.Contains(m.frame(), alert) || alert != red(ansi.Strip(alert)) || !strings.Contains(alert, "no answer since 03:05:34Z (11s), trying again: nobody") {
		t.Errorf("%q", alert)
	}
	for _, c := range []struct {
		env  string
		want colorprofile.Profile
	}{
		{"TERM=xterm-256color", colorprofile.ANSI256},
		{"TERM=xterm-256color COLORTERM=truecolor", colorprofile.ANSI256},
		{"TERM=xterm-256color NO_COLOR=", colorprofile.ANSI256},
		{"TERM=xterm-256color NO_COLOR=1", colorprofile.ASCII},
		{"TERM=xterm-256color COLORTERM=truecolor NO_COLOR=please CLICOLOR_FORCE=1", colorprofile.ASCII},
	} {
		if got := profile(strings.Fields(c.env)); got != c.want {
			t.Errorf("%s: %s", c.env, got)
		}
	}
}

// TestGlyphs: block characters are used only on terminals that support them.
func TestGlyphs(t *testing.T) {
	for env, blocks := range map[string]bool{
		"": false, "LANG=C": false, "LANG=en_GB.utf8": true, "LANG=de_DE.UTF-8 LC_ALL=C": false,
		"LC_CTYPE=C.UTF-8": true, "LANG=de_DE.UTF-8 LC_CTYPE=C": false, "LANG=C.UTF-8 TERM=linux": false,
	} {
		g := glyphsFor(func(name string) string {
			for _, e := range strings.Fields(env) {
				if v, ok := strings.CutPrefix(e, name+"="); ok {
					return v
				}
			}
			return ""
		})
		if (g.rule == '─') != blocks {
			t.Errorf("%q: %c", env, g.rule)
		}
	}
}
