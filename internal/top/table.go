package top

import (
	"fmt"
	"math"
	"strings"

	"capd/internal/control"
	"capd/internal/text"

	"github.com/charmbracelet/x/ansi"
)

// columns are the widths of the variable columns in cells. The other columns take fixed cells.
type columns struct{ name, rate, loss, bar int }

// fixed is the width of the rest of a row: the mark, the state, the numbers and the spaces between
// columns.
const fixed = 1 + 1 + 9 + 1 + 5 + 1 + 5 + 1 + 1 + 5 + 1 + 1 + 1 + 1 + 5 + 1 + 6

// fit distributes a width over the columns: names first, until they are complete, then the others,
// up to a useful maximum.
func fit(width int) columns {
	c := columns{name: 10, rate: 8, loss: 6, bar: 5}
	spare := width - fixed - c.name - c.rate - c.loss - 2*c.bar
	for _, more := range []struct {
		cells *int
		most  int
	}{{&c.name, 15}, {&c.rate, 15}, {&c.loss, 10}, {&c.bar, 10}, {&c.rate, window}, {&c.loss, window}, {&c.name, 30}} {
		each := 1
		if more.cells == &c.bar {
			each = 2
		}
		n := min(more.most-*more.cells, spare/each)
		n = max(n, 0)
		*more.cells += n
		spare -= n * each
	}
	return c
}

// table returns the header and one row for each interface, at most room lines. It is scrolled so
// that the selected row is visible.
func (m *model) table(rows []*control.Interface, selected, room int) []string {
	c := fit(m.width)
	lines := []string{faint(strings.Join([]string{
		" " + left("INTERFACE", c.name), left("STATE", 9), right("PKT/S", 5), right("BIT/S", 5), left("RATE", c.rate),
		right("LOST", 5), left("LOSS", c.loss), left("RING", c.bar), left("POOL", c.bar), right("WRITE", 5), right("REACH", 6),
	}, " "))}
	first := max(0, selected-room+1)
	for i := first; i < min(len(rows), first+room); i++ {
		line := m.row(rows[i], i == selected, c)
		if m.err != nil { // the table shows the last known state
			line = faint(ansi.Strip(line))
		}
		lines = append(lines, line)
	}
	for len(lines) < room+1 {
		lines = append(lines, "")
	}
	if hidden := len(rows) - room; hidden > 0 {
		lines[0] = left(lines[0], m.width-12) + faint(right(fmt.Sprintf("%d not seen", hidden), 12))
	}
	return lines
}

func (m *model) row(in *control.Interface, selected bool, c columns) string {
	h := m.histories[in.Name]
	mark, name := " ", left(text.Line(in.Name), c.name)
	if selected {
		mark, name = ">", reverse(name)
	}
	lost := right(text.Metric(float64(in.Lost())), 5)
	switch {
	case h.recently(m.second) > 0:
		lost = red(lost)
	case in.Lost() > 0:
		lost = yellow(lost)
	}
	return mark + strings.Join([]string{
		name, stateStyle(in)(left(text.Line(in.State), 9)),
		right(text.Metric(in.Rates.Second.Packets), 5), right(text.Metric(8*in.Rates.Second.Bytes), 5),
		m.sparkline(h.spark(m.second, c.rate, rateOf), cyan),
		lost, m.sparkline(h.spark(m.second, c.loss, lostOf), red),
		m.bar(in.Ring.Now, c.bar), m.bar(in.Pool.Now, c.bar),
		right(text.Latency(in.Writes.Recent().P99), 5), right(in.Kept.Reaches(text.Short), 6),
	}, " ")
}

func stateStyle(in *control.Interface) func(string) string {
	switch in.State {
	case control.Recording:
		if in.XDP != "" {
			return yellow // frames may not reach capd
		}
		return green
	case control.Waiting:
		return yellow
	case control.Ended:
		return faint
	}
	return red
}

// sparkline draws one value per cell. Values above zero are always visible.
func (m *model) sparkline(values []float64, style func(string) string) string {
	top := 0.0
	for _, v := range values {
		top = max(top, zeroed(v))
	}
	var b strings.Builder
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			b.WriteByte(' ')
		case v <= 0:
			b.WriteString(faint(string(m.glyphs.levels[0])))
		default:
			steps := len(m.glyphs.levels) - 1
			level := min(int(math.Ceil(v/top*float64(steps))), steps)
			b.WriteString(style(string(m.glyphs.levels[max(level, 1)])))
		}
	}
	return b.String()
}

// bar draws a value between 0 and 1. Values above zero are always visible.
func (m *model) bar(part float64, cells int) string {
	part = min(max(zeroed(part), 0), 1)
	steps := len(m.glyphs.parts)
	n := int(math.Ceil(part * float64(cells*steps)))
	full := strings.Repeat(string(m.glyphs.parts[steps-1]), n/steps)
	used := n / steps
	if rest := n % steps; rest > 0 {
		full += string(m.glyphs.parts[rest-1])
		used++
	}
	style := green
	switch {
	case part >= 0.8:
		style = red
	case part >= 0.5:
		style = yellow
	}
	return style(full) + faint(strings.Repeat(string(m.glyphs.empty), cells-used))
}
