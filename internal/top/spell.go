package top

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// clean spells text of others so that a terminal takes none of it as an order.
func clean(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// cut shortens text to a number of cells, and says that it did.
func cut(s string, cells int) string { return ansi.Truncate(s, max(cells, 0), "~") }

// left fills cells with text at their left.
func left(s string, cells int) string {
	s = cut(s, cells)
	return s + strings.Repeat(" ", max(0, cells-ansi.StringWidth(s)))
}

// right fills cells with text at their right.
func right(s string, cells int) string {
	s = cut(s, cells)
	return strings.Repeat(" ", max(0, cells-ansi.StringWidth(s))) + s
}

func faint(s string) string   { return ansi.NewStyle().Faint().Styled(s) }
func reverse(s string) string { return ansi.NewStyle().Bold().Reverse(true).Styled(s) }
func red(s string) string     { return ansi.NewStyle().Bold().ForegroundColor(ansi.Red).Styled(s) }
func green(s string) string   { return ansi.NewStyle().ForegroundColor(ansi.Green).Styled(s) }
func yellow(s string) string  { return ansi.NewStyle().ForegroundColor(ansi.Yellow).Styled(s) }
func cyan(s string) string    { return ansi.NewStyle().ForegroundColor(ansi.Cyan).Styled(s) }
func plain(s string) string   { return s }

// metric spells a number in four characters.
func metric(f float64) string {
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		if f < 999.5 {
			if f < 9.95 && unit != "" {
				return fmt.Sprintf("%.1f%s", f, unit)
			}
			return fmt.Sprintf("%.0f%s", f, unit)
		}
		f /= 1000
	}
	return "999T"
}

// took spells seconds of an operation in five characters.
func took(seconds float64) string {
	switch {
	case seconds <= 0:
		return "-"
	case seconds < 0.9995e-3:
		return fmt.Sprintf("%.0fus", 1e6*seconds)
	case seconds < 9.95e-3:
		return fmt.Sprintf("%.1fms", 1e3*seconds)
	case seconds < 0.9995:
		return fmt.Sprintf("%.0fms", 1e3*seconds)
	case seconds < 9.95:
		return fmt.Sprintf("%.1fs", seconds)
	}
	return fmt.Sprintf("%.0fs", min(seconds, 9999))
}

// size spells bytes.
func size(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for n >= 1023.5 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	if i == 0 || n >= 99.95 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

// span spells a time in its two largest units.
func span(d time.Duration) string {
	d = max(d, 0)
	day := 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd %dh", d/day, d%day/time.Hour)
}

// short spells a time in six characters.
func short(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", min(d/(24*time.Hour), 99999))
}

// duration makes one of seconds, however many there are.
func duration(seconds float64) time.Duration {
	return time.Duration(min(max(zeroed(seconds), 0), math.MaxInt64/1e9-1) * 1e9)
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05Z") }

func date(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func percent(part float64) string { return fmt.Sprintf("%.0f%%", 100*min(max(part, 0), 1)) }

func plural[N int | uint64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// cause is the innermost error: the screen has no room for how it came.
func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "capd is silent"
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return clean(err.Error())
		}
		err = inner
	}
}
