package top

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/text"

	"github.com/charmbracelet/x/ansi"
)

// TestWidths: at every size from the smallest, a row fills the terminal, until all columns have
// their useful maximum.
func TestWidths(t *testing.T) {
	for width := minWidth; width < 400; width++ {
		m, _ := shown(width, 30, utf8)
		m.watch(3)
		rows, _ := m.rows()
		c := fit(width)
		used := fixed + c.name + c.rate + c.loss + 2*c.bar
		if used > width || used < width-1 && c.loss < window {
			t.Errorf("%d of %d cells used: %+v", used, width, c)
		}
		for _, in := range rows {
			if got := ansi.StringWidth(m.row(in, true, c)); got != used {
				t.Errorf("at %d the row of %q has %d cells, not %d", width, in.Name, got, used)
			}
		}
	}
}

// TestScroll: the selected row is always visible.
func TestScroll(t *testing.T) {
	m, _ := shown(80, 24, utf8)
	s := scene(0)
	s.Interfaces = nil
	for i := range 50 {
		s.Interfaces = append(s.Interfaces, control.Interface{Name: fmt.Sprintf("v%02d", i)})
	}
	m.Update(answer{at: born, status: s})
	for i := range 60 {
		lines := checkFrame(t, m)
		want := fmt.Sprintf(">v%02d", min(i, 49))
		if text := strings.Join(lines, "\n"); !strings.Contains(text, want) || len(lines) != 24 || !strings.Contains(text, " not seen\n") {
			t.Fatalf("no %s in\n%s", want, text)
		}
		m.keys("j")
	}
}

// TestDisappears: when the selected interface disappears, another one is selected and the old
// history is deleted.
func TestDisappears(t *testing.T) {
	m, l := shown(80, 24, utf8)
	m.watch(5)
	m.keys("jjj")
	s := scene(5)
	s.Interfaces = s.Interfaces[:1]
	m.Update(answer{at: born.Add(5 * time.Second), status: s})
	m.keys("r")
	if len(l.commands) != 1 || l.commands[0] != "rotate eth0" || len(m.histories) != 1 {
		t.Errorf("commands %q, %d histories", l.commands, len(m.histories))
	}
	s.Interfaces = nil
	m.Update(answer{at: born.Add(6 * time.Second), status: s})
	m.keys("rjk")
	checkFrame(t, m)
}

// TestLosses: each lost frame is counted in exactly one second's sample. After a restart of capd,
// counting starts again.
func TestLosses(t *testing.T) {
	var h history
	in := control.Interface{}
	add := func(second int64, lost uint64, known bool) {
		in.KernelDropped = lost
		h.add(second, &in, known)
	}
	add(1000, 500, false)
	add(1001, 500, true)
	add(1002, 503, true)
	add(1005, 510, true)
	add(1006, 4, false)
	add(1007, 6, true)
	if got := h.recently(1007); got != 3+7+2 {
		t.Errorf("%v lost in the minute", got)
	}
	if got := h.recently(1065); got != 2 {
		t.Errorf("%v lost a minute later", got)
	}
	var got strings.Builder
	for _, v := range h.spark(1007, window, lostOf)[window-9:] {
		fmt.Fprint(&got, v, " ")
	}
	if got.String() != "NaN 0 0 3 NaN NaN 7 0 2 " {
		t.Errorf("seconds: %s", &got)
	}
}

// TestSparkline: parts keep their values while they move, the highest value has full height, and
// small values are visible.
func TestSparkline(t *testing.T) {
	var h history
	in := control.Interface{}
	peaks := map[string]bool{}
	for second := int64(6000); second < 6120; second++ {
		in.Rates.Second.Bytes = 1
		if second == 6061 {
			in.Rates.Second.Bytes = 1000
		}
		h.add(second, &in, true)
		for cells := 1; cells <= 70; cells++ {
			if n := len(h.spark(second, cells, rateOf)); n != cells {
				t.Fatalf("%d parts, not %d", n, cells)
			}
		}
		m := model{glyphs: utf8}
		line := m.sparkline(h.spark(second, 10, rateOf), plain)
		if second >= 6061 && strings.Count(line, "█") != 1 || second >= 6060 && second < 6061 && strings.Contains(line, "▁") {
			t.Errorf("second %d: %s", second, line)
		}
		peaks[line] = true
	}
	if len(peaks) < 10 {
		t.Errorf("%d lines in two minutes", len(peaks))
	}
	m := model{glyphs: ascii}
	if got := ansi.Strip(m.sparkline([]float64{math.NaN(), 0, 1e-9, 1, 2, 4, 7}, plain)); got != " _..,=#" {
		t.Errorf("%q", got)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		part float64
		want string
	}{
		{0, "·····"}, {-1, "·····"}, {math.NaN(), "·····"}, {1e-6, "▏····"}, {0.5, "██▌··"}, {0.2, "█····"}, {0.999, "█████"}, {1, "█████"}, {7, "█████"},
	} {
		m := model{glyphs: utf8}
		if got := ansi.Strip(m.bar(c.part, 5)); got != c.want {
			t.Errorf("%v: %s, not %s", c.part, got, c.want)
		}
	}
}

// TestSpell: formatted numbers fit their columns for every value.
func TestSpell(t *testing.T) {
	for f := 1e-9; f < 1e18; f *= 1.01 {
		if s := text.Metric(f); len(s) > 4 {
			t.Errorf("%v is %s", f, s)
		}
		if s := text.Latency(f); len(s) > 5 {
			t.Errorf("%v s is %s", f, s)
		}
		if s := text.Short(text.Seconds(f)); len(s) > 6 {
			t.Errorf("%v s is %s", f, s)
		}
		if s := text.Size(f); len(s) > 8 && f < 1e15 {
			t.Errorf("%v bytes are %s", f, s)
		}
	}
	for got, want := range map[string]string{
		cause(fmt.Errorf("a: %w", fs.ErrPermission)):                    "permission denied",
		cause(&control.UnreachableError{Err: context.DeadlineExceeded}): "capd does not answer",
		cause(errors.New("capd says: \n")):                              `capd says: \n`,
	} {
		if got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// FuzzFrame: for any status and terminal size, the frame fits the terminal and contains no other
// escape sequences than colors.
func FuzzFrame(f *testing.F) {
	f.Add("eth0", "recording", "/d/eth0.pcapng", "bytes", 0.5, uint64(7), uint16(80), uint16(24))
	f.Add("e\x1b]0;title\x07", "\x9b31m", "/\u202e/\r\n", "\x1b", math.Inf(1), uint64(math.MaxUint64), uint16(120), uint16(40))
	f.Add("東京東京東京東京東京", "e\u0301\u0301\u0301", "👩‍👩‍👧", "\xff\xfe", -1.0, uint64(0), uint16(81), uint16(25))
	f.Fuzz(func(t *testing.T, name, state, file, text string, number float64, count uint64, width, height uint16) {
		m, l := shown(int(width%500), int(height%200), utf8)
		in := control.Interface{
			Name: name, State: state, Directory: file, Files: []string{file, text}, Since: time.Unix(int64(count), 0),
			Counters: control.Counters{Received: count, CapdDropped: count, NICDropped: count, Failures: count, Bytes: count},
			Rates:    control.Rates{Second: control.Rate{Packets: number, Bytes: number, Lost: number}},
			Ring:     control.Fill{Now: number, High: number, Size: int64(count)}, Pool: control.Fill{Now: -number},
			Writes: control.Latency{Summary: control.Summary{P99: number, Median: number}, Max: number},
			Kept:   control.Kept{Files: int(count), Bytes: int64(count), Oldest: time.Unix(-int64(count), 0), Reach: number, Rate: number, Limit: text},
		}
		s := &control.Status{Software: text, Interfaces: []control.Interface{in, in}, Directories: []control.Directory{{Path: file, Free: count, Total: 1}, {Total: count}}}
		for i := range 3 {
			m.Update(answer{at: time.Unix(int64(count%1e12)+int64(i), 0), status: s})
		}
		l.err = errors.New(text)
		m.keys("jrs")
		checkFrame(t, m)
		m.Update(answer{at: born, err: l.err})
		checkFrame(t, m)
		m.keys("?")
		checkFrame(t, m)
	})
}
