package manual

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A Term is a word and what it means.
type Term struct{ Word, Meaning string }

// Command returns the man page capd(8): the commands below root with their help, and sections that
// no command's help has.
func Command(root *cobra.Command, exits, files []Term) string {
	p := newPage(root.Name(), "8", lower(root.Short))
	all := commands(root)
	p.section("Synopsis")
	for i, c := range all {
		if i > 0 {
			p.b.WriteString(".br\n")
		}
		p.b.WriteString(`\fB` + escape(c.CommandPath()) + `\fR` + escape(arguments(c)) + "\n")
	}
	p.section("Description")
	p.prose(root.Long)
	p.options(root)
	p.section("Commands")
	for _, c := range all {
		p.command(c)
	}
	p.section("Examples")
	p.code(root.Example)
	p.terms("Files", files)
	p.terms("Exit status", exits)
	p.section("See also")
	p.b.WriteString(strings.Join([]string{
		seeAlso("capd.toml", 5), seeAlso("capd-ledger", 5), seeAlso("pcap-filter", 7), seeAlso("tshark", 1), seeAlso("tcpdump", 8),
	}, ",\n") + "\n")
	return p.String()
}

// commands returns the public commands, in the order of the help.
func commands(c *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, sub := range c.Commands() {
		if !sub.IsAvailableCommand() || sub.Name() == "completion" || sub.Name() == "help" {
			continue
		}
		if sub.Runnable() {
			all = append(all, sub)
		}
		all = append(all, commands(sub)...)
	}
	return all
}

func (p *page) command(c *cobra.Command) {
	p.subsection(c.CommandPath() + arguments(c))
	if c.Long != "" {
		p.prose(c.Long)
	} else {
		p.paragraph(c.Short + ".")
	}
	p.options(c)
	if c.Example != "" {
		p.code(c.Example)
	}
}

// arguments returns the usage line after the command's name.
func arguments(c *cobra.Command) string {
	_, args, _ := strings.Cut(c.Use, " ")
	if args == "" {
		return ""
	}
	return " " + args
}

func (p *page) options(c *cobra.Command) {
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		tag := "--" + f.Name
		if f.Shorthand != "" {
			tag = "-" + f.Shorthand + ", " + tag
		}
		if value != "" {
			tag += " " + value
		}
		if !slices.Contains([]string{"", "0", "false", "[]", "0s", "0B"}, f.DefValue) && !strings.Contains(usage, "(default") {
			usage += " (default " + f.DefValue + ")"
		}
		p.item([]string{tag}, usage)
	})
}

func (p *page) terms(title string, terms []Term) {
	p.section(title)
	for _, t := range terms {
		p.item([]string{t.Word}, t.Meaning)
	}
}

func seeAlso(name string, section int) string {
	return `\fB` + escape(name) + `\fR(` + string(rune('0'+section)) + ")"
}

func lower(s string) string { return strings.ToLower(s[:1]) + s[1:] }
