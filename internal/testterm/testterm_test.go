package testterm

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
)

// TestTerminal: the output of a program is visible, the program reads what is typed, and its exit
// code is checked.
func TestTerminal(t *testing.T) {
	term := New(t, 40, 10, []string{"WORD=hello"}, "sh", "-c", `printf '\033[31m%s\033[m %s\n' "$WORD" "$(stty size)"; read a; stty size; read b; echo "$a$b"; exit 3`)
	term.AwaitText("hello 10 40")
	if s := term.Styled(); !strings.Contains(s, "\x1b[31mhello\x1b[39m") {
		t.Errorf("%q", s)
	}
	term.Resize(50, 12)
	term.Press("o", "n", "Enter")
	term.AwaitText("12 50")
	if err := term.Process().Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process: %v", err)
	}
	term.Press("e", "Enter")
	term.AwaitText("one")
	term.Ended(3)
}

// A recorder counts failures instead of failing the test.
type recorder struct {
	testing.TB
	failures int
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failures++ }

// TestLeft: a program that does not restore the terminal is detected.
func TestLeft(t *testing.T) {
	for _, c := range []string{"stty -echo", `printf '\033[?1049h'`, `printf '\033[?25l'`, `printf '\033[?1000h'`, `printf '\033='`} {
		term := New(t, 40, 10, nil, "sh", "-c", c)
		r := &recorder{TB: t}
		term.tb = r
		term.Ended(0)
		if r.failures != 1 {
			t.Errorf("%s: %d faults", c, r.failures)
		}
	}
}

// TestSVG: a picture is valid XML, and each word and block is at its position.
func TestSVG(t *testing.T) {
	svg := SVG("\x1b[1;7m <a> & \x1b[0m▁█\x1b[31m▌\x1b[39m·──\n\x1b[2mfaint  words in it\x1b[0m\n\n", 30)
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
	}
	for _, want := range []string{
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 264 60"`,
		`<rect x="12" y="12" width="56" height="18" fill="#d4d7dd"/>`,
		`<text x="20" y="25" textLength="40" lengthAdjust="spacingAndGlyphs" fill="#16181d" font-weight="bold">&lt;a&gt; &amp;</text>`,
		`<rect x="68" y="27" width="7" height="2" fill="#d4d7dd"/>`,
		`<rect x="76" y="13" width="7" height="16" fill="#d4d7dd"/>`,
		`<rect x="84" y="15" width="4" height="12" fill="#f2727f"/>`,
		`<text x="12" y="43" textLength="40" lengthAdjust="spacingAndGlyphs" fill="#d4d7dd" opacity="0.55">faint</text>`,
		`<text x="68" y="43" textLength="88" lengthAdjust="spacingAndGlyphs" fill="#d4d7dd" opacity="0.55">words in it</text>`,
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in\n%s", want, svg)
		}
	}
}
