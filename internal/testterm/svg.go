package testterm

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Dimensions of a picture, in its units.
const (
	cellWidth  = 8
	cellHeight = 18
	baseline   = 13
	margin     = 12
)

const (
	background = "#16181d"
	foreground = "#d4d7dd"
)

// palette returns the sixteen colors of terminals.
func palette(n int) string {
	return [...]string{
		"#16181d", "#f2727f", "#8cc570", "#e0b35a", "#6aa9f0", "#c98ae0", "#56bcc4", "#d4d7dd",
		"#5c6370", "#f2727f", "#8cc570", "#e0b35a", "#6aa9f0", "#c98ae0", "#56bcc4", "#ffffff",
	}[n]
}

// A pen holds the attributes with which a cell is drawn.
type pen struct {
	fg, bg               string
	bold, faint, reverse bool
}

func (p *pen) colours() (fg, bg string) {
	fg, bg = p.fg, p.bg
	if fg == "" {
		fg = foreground
	}
	if p.reverse {
		if bg == "" {
			bg = background
		}
		return bg, fg
	}
	return fg, bg
}

// set applies the parameters of an SGR sequence.
func (p *pen) set(numbers string) {
	for n := range strings.SplitSeq(numbers, ";") {
		switch n, _ := strconv.Atoi(n); {
		case n == 0:
			*p = pen{}
		case n == 1:
			p.bold = true
		case n == 2:
			p.faint = true
		case n == 7:
			p.reverse = true
		case n == 22:
			p.bold, p.faint = false, false
		case n == 27:
			p.reverse = false
		case n >= 30 && n <= 37:
			p.fg = palette(n - 30)
		case n >= 90 && n <= 97:
			p.fg = palette(n - 90 + 8)
		case n == 39:
			p.fg = ""
		case n >= 40 && n <= 47:
			p.bg = palette(n - 40)
		case n == 49:
			p.bg = ""
		}
	}
}

// SVG draws a screen from Terminal.Styled that is width cells wide. All characters must be one cell
// wide. Block characters are drawn as rectangles, because fonts differ in them; text is stretched
// to the width of its cells.
func SVG(screen string, width int) string {
	lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
	w, h := width*cellWidth+2*margin, len(lines)*cellHeight+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d"`, w, h, w, h)
	fmt.Fprint(&b, ` font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="13" xml:space="preserve">`+"\n")
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="%s"/>`+"\n", w, h, background)
	sgr := regexp.MustCompile(`\x1b\[([0-9;]*)m`)
	var p pen
	for y, line := range lines {
		x := 0
		for line != "" {
			text, rest := line, ""
			if at := sgr.FindStringSubmatchIndex(line); at != nil {
				text, rest = line[:at[0]], line[at[1]:]
				x += p.draw(&b, x, y, text)
				p.set(line[at[2]:at[3]])
			} else {
				x += p.draw(&b, x, y, text)
			}
			line = rest
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// draw draws text at a cell, and returns its width in cells.
func (p *pen) draw(b *strings.Builder, x, y int, text string) int {
	runes := []rune(text)
	fg, bg := p.colours()
	left, top := margin+x*cellWidth, margin+y*cellHeight
	if bg != "" && len(runes) > 0 {
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", left, top, len(runes)*cellWidth, cellHeight, bg)
	}
	style := fmt.Sprintf(`fill="%s"`, fg)
	if p.bold {
		style += ` font-weight="bold"`
	}
	if p.faint {
		style += ` opacity="0.55"`
	}
	for i := 0; i < len(runes); {
		at := left + i*cellWidth
		if w, dx, dy, h := block(runes[i]); w > 0 {
			fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" %s/>`+"\n", at+dx, top+dy, w, h, style)
			i++
			continue
		}
		end := i
		for end < len(runes) && !drawn(runes[end]) {
			end++
		}
		p.write(b, at, top+baseline, string(runes[i:end]), style)
		i = end
	}
	return len(runes)
}

func drawn(r rune) bool { w, _, _, _ := block(r); return w > 0 }

// write places words at their cells, and omits the spaces between.
func (p *pen) write(b *strings.Builder, x, y int, text, style string) {
	for _, at := range regexp.MustCompile(`\S+( \S+)*`).FindAllStringIndex(text, -1) {
		words := text[at[0]:at[1]]
		before, cells := len([]rune(text[:at[0]])), len([]rune(words))
		fmt.Fprintf(b, `<text x="%d" y="%d" textLength="%d" lengthAdjust="spacingAndGlyphs" %s>`, x+before*cellWidth, y, cells*cellWidth, style)
		_ = xml.EscapeText(b, []byte(words)) // a strings.Builder returns no errors
		b.WriteString("</text>\n")
	}
}

// block returns the rectangle of a block character in its cell. Other characters have width 0.
func block(r rune) (width, x, y, height int) {
	const ink = cellHeight - 2 // adjacent lines do not touch
	switch {
	case r >= '▁' && r <= '█':
		height = ink * int(r-'▁'+1) / 8
		return cellWidth - 1, 0, 1 + ink - height, height
	case r >= '▉' && r <= '▏':
		return cellWidth * int('▏'-r+1) / 8, 0, 3, ink - 4
	case r == '·':
		return 2, 3, cellHeight/2 - 1, 2
	case r == '─':
		return cellWidth, 0, cellHeight / 2, 1
	}
	return 0, 0, 0, 0
}
