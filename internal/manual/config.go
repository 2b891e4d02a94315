package manual

import (
	"regexp"
	"strings"
)

// Config returns the man page capd.toml(5), made from the example configuration: its comments
// become the descriptions, its values the defaults.
func Config(example string) string {
	p := newPage("capd.toml", "5", "what capd records, and how")
	intro, rest, _ := strings.Cut(example, "\n\n")
	_, intro, _ = strings.Cut(uncomment(intro), "\n\n") // the page's name replaces the title
	p.section("Description")
	p.prose(intro)
	p.section("Keys")
	for part := range strings.SplitSeq(rest, "\n\n") {
		p.entry(strings.Trim(part, "\n"))
	}
	p.section("See also")
	p.b.WriteString(seeAlso("capd", 8) + ",\n" + seeAlso("pcap-filter", 7) + "\n")
	return p.String()
}

// example matches a setting inside a comment.
var example = regexp.MustCompile(`^[a-z_]+ = `)

// entry converts a part of the example between empty lines: a heading, or a comment and the keys or
// the table that it describes.
func (p *page) entry(part string) {
	var comment, tags []string
	for line := range strings.Lines(part) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "## "):
			p.subsection(strings.TrimPrefix(line, "## "))
		case strings.HasPrefix(line, "#"):
			comment = append(comment, line)
		default:
			tags = append(tags, line)
		}
	}
	text := uncomment(strings.Join(comment, "\n"))
	switch {
	case len(tags) == 0 && text != "":
		p.remark(text)
	case len(tags) > 0 && strings.HasPrefix(tags[0], "["):
		p.subsection(tags[0])
		if text != "" {
			p.paragraph(text)
		}
		if len(tags) > 1 {
			p.item(tags[1:], "")
		}
	case len(tags) > 0:
		p.item(tags, text)
	}
}

// remark converts a comment that describes no key and may end with examples.
func (p *page) remark(text string) {
	var words, code []string
	for line := range strings.Lines(text) {
		if example.MatchString(line) {
			code = append(code, line)
		} else {
			words = append(words, line)
		}
	}
	p.paragraph(strings.Join(words, ""))
	if len(code) > 0 {
		p.code(strings.Join(code, ""))
	}
}

// uncomment removes the # from each line.
func uncomment(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimPrefix(l, "#"), " ")
	}
	return strings.Join(lines, "\n")
}
