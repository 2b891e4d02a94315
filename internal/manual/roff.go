// Package manual makes capd's man pages from existing texts: the help of the commands, the example
// configuration and the document about the ledger.
package manual

import (
	"fmt"
	"regexp"
	"strings"
)

// A page is a man page under construction, in the man(7) language.
type page struct {
	b     strings.Builder
	fresh bool // right after a heading, where .PP is not allowed
}

// newPage begins the page name(section). It has no date, which would change even when the text does
// not.
func newPage(name, section, about string) *page {
	p := &page{}
	p.macro("TH", strings.ToUpper(name), section, "", "capd", "capd manual")
	p.section("Name")
	p.b.WriteString(escape(name) + ` \- ` + escape(about) + "\n")
	return p
}

func (p *page) String() string { return p.b.String() }

func (p *page) section(title string)    { p.macro("SH", strings.ToUpper(title)); p.fresh = true }
func (p *page) subsection(title string) { p.macro("SS", title); p.fresh = true }

// macro writes a macro call with quoted arguments.
func (p *page) macro(name string, args ...string) {
	p.b.WriteString("." + name)
	for _, a := range args {
		p.b.WriteString(` "` + strings.ReplaceAll(escape(a), `"`, `\(dq`) + `"`)
	}
	p.b.WriteByte('\n')
}

// text writes text to be filled. It keeps the line breaks of the source, so that a change of the
// source changes as few lines of the page.
func (p *page) text(s string) {
	for line := range strings.Lines(strings.TrimSpace(s)) {
		p.b.WriteString(shield(inline(strings.TrimSpace(line))) + "\n")
	}
}

func (p *page) paragraph(s string) {
	p.begin()
	p.text(s)
}

// begin begins a paragraph, except after a heading.
func (p *page) begin() {
	if !p.fresh {
		p.b.WriteString(".PP\n")
	}
	p.fresh = false
}

// prose writes paragraphs, which are separated by empty lines. Indented ones are code.
func (p *page) prose(s string) {
	for part := range strings.SplitSeq(strings.Trim(s, "\n"), "\n\n") {
		if strings.HasPrefix(part, "  ") {
			p.code(part)
		} else {
			p.paragraph(part)
		}
	}
}

// item writes a definition with one tag, or several.
func (p *page) item(tags []string, text string) {
	p.fresh = false
	for i, tag := range tags {
		p.b.WriteString([]string{".TP\n", ".TQ\n"}[min(i, 1)])
		p.b.WriteString(`\fB` + escape(tag) + "\\fR\n")
	}
	first, rest, more := strings.Cut(text, "\n\n")
	p.text(first)
	if more {
		p.b.WriteString(".IP\n")
		p.text(rest)
	}
}

// bullet writes an item of a list.
func (p *page) bullet(text string) {
	p.fresh = false
	p.b.WriteString(".IP \\(bu 2\n")
	p.text(text)
}

// code writes indented lines without filling.
func (p *page) code(s string) {
	p.begin()
	p.b.WriteString(".RS 4\n.nf\n")
	for line := range strings.Lines(unindent(s)) {
		p.b.WriteString(shield(escape(strings.TrimRight(line, "\n"))) + "\n")
	}
	p.b.WriteString(".fi\n.RE\n")
}

// unindent removes the indentation that all lines have in common.
func unindent(s string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	least := len(s)
	for _, l := range lines {
		if body := strings.TrimLeft(l, " "); body != "" {
			least = min(least, len(l)-len(body))
		}
	}
	for i, l := range lines {
		lines[i] = l[min(least, len(l)):]
	}
	return strings.Join(lines, "\n")
}

// escape escapes special characters. Hyphens are written such that they can be copied to a shell.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
}

// shield escapes a line that begins with a control character.
func shield(s string) string {
	if strings.HasPrefix(s, ".") {
		return `\&` + s
	}
	return s
}

// marks matches inline markdown: code, strong text and links.
var marks = regexp.MustCompile("`[^`]+`|\\*\\*[^*]+\\*\\*|\\[[^]]+\\]\\([^)]+\\)")

// inline converts inline markdown.
func inline(s string) string {
	var b strings.Builder
	for {
		at := marks.FindStringIndex(s)
		if at == nil {
			b.WriteString(escape(s))
			return b.String()
		}
		b.WriteString(escape(s[:at[0]]))
		mark := s[at[0]:at[1]]
		s = s[at[1]:]
		if text, target, link := strings.Cut(mark, "]("); link {
			fmt.Fprintf(&b, "%s <%s>", escape(text[1:]), escape(strings.TrimSuffix(target, ")")))
			continue
		}
		fmt.Fprintf(&b, `\fB%s\fR`, escape(strings.Trim(mark, "`*")))
	}
}
