package manual

import "strings"

// Ledger returns the man page capd-ledger(5), made from a document in markdown.
func Ledger(markdown string) string {
	p := newPage("capd-ledger", "5", "what capd recorded and lost, and why")
	_, body, _ := strings.Cut(markdown, "\n") // the page's name replaces the title
	p.section("Description")
	for block := range strings.SplitSeq(body, "\n\n") {
		p.markdown(strings.Trim(block, "\n"))
	}
	p.section("See also")
	p.b.WriteString(seeAlso("capd", 8) + ",\n" + seeAlso("capd.toml", 5) + "\n")
	return p.String()
}

// markdown converts one block of markdown: text between empty lines.
func (p *page) markdown(block string) {
	switch {
	case block == "":
	case strings.HasPrefix(block, "### "):
		p.subsection(block[4:])
	case strings.HasPrefix(block, "## "):
		p.section(block[3:])
	case strings.HasPrefix(block, "    "):
		p.code(block)
	case strings.HasPrefix(block, "- "):
		for item := range strings.SplitSeq(block[2:], "\n- ") {
			p.bullet(item)
		}
	case strings.HasPrefix(block, "|"):
		p.table(block)
	default:
		p.paragraph(block)
	}
}

// table converts a table with two columns to definitions.
func (p *page) table(block string) {
	for i, row := range strings.Split(block, "\n") {
		cells := strings.SplitN(strings.Trim(row, "| "), "|", 2)
		if i < 2 || len(cells) < 2 { // header and separator line
			continue
		}
		p.item([]string{strings.ReplaceAll(strings.TrimSpace(cells[0]), "`", "")}, cells[1])
	}
}
