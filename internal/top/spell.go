package top

import (
	"context"
	"errors"
	"strings"

	"capd/internal/text"

	"github.com/charmbracelet/x/ansi"
)

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

// cause is the innermost error: the screen has no room for how it came.
func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "capd is silent"
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return text.Line(err.Error())
		}
		err = inner
	}
}
