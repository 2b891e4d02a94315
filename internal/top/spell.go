package top

import (
	"context"
	"errors"
	"strings"

	"capd/internal/text"

	"github.com/charmbracelet/x/ansi"
)

// cut shortens text to a number of cells, and marks the cut.
func cut(s string, cells int) string { return ansi.Truncate(s, max(cells, 0), "~") }

// left pads text to a number of cells, aligned to the left.
func left(s string, cells int) string {
	s = cut(s, cells)
	return s + strings.Repeat(" ", max(0, cells-ansi.StringWidth(s)))
}

// right pads text to a number of cells, aligned to the right.
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

// cause returns the innermost error, because the screen has little room.
func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "capd does not answer"
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return text.Line(err.Error())
		}
		err = inner
	}
}
