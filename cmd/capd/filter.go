package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"capd/filter"
	"capd/internal/extract"
	"capd/internal/read"
	"capd/internal/terminal"
	"capd/internal/text"
	"capd/pcap"

	"github.com/spf13/cobra"
)

// A filterCommand is what the flags of filter ask for.
type filterCommand struct {
	dumps    int // how often -d was given
	linkType string
	snaplen  uint32
	plain    bool
	live     bool
	read     string
	write    string
	asJSON   bool
}

func newFilter() *cobra.Command {
	var f filterCommand
	cmd := &cobra.Command{
		Use:   "filter [-d|-dd|-ddd] [-O] [-y LINKTYPE] [-s SNAPLEN] [-r FILE [-w FILE]] [EXPRESSION]",
		Short: "Compile a filter, or apply it to a capture file",
		Long: `Print the program of a filter in the formats of tcpdump: disassembled (-d, the
default), as C (-dd), or in decimal (-ddd), as the bpf match of iptables takes it.

With -r, count the packets of a capture file that match; with -w, also write them
to a file. With -r and -d, print the program for the file's link type. The file may
be compressed with zstd or gzip. Without an EXPRESSION all packets match.

--json prints an object with the counts of -r: packets, and passed.`,
		Example: `  capd filter -d 'tcp port 80'
  capd filter -ddd -y RAW 'ip6'
  capd filter -r eth0.pcapng -w web.pcapng 'tcp port 80 or 443'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			expr := strings.Join(args, " ")
			switch {
			case f.dumps > 3:
				return usageError{errors.New("filter: -d may be given three times at the most")}
			case f.write != "" && f.dumps > 0:
				return usageError{errors.New("filter: -d prints the program, -w applies it: one of them")}
			case f.asJSON && (f.read == "" || f.dumps > 0):
				return usageError{errors.New("filter: --json is for what -r counts")}
			case f.read != "" && f.dumps == 0:
				return f.apply(cmd.OutOrStdout(), terminal.NewScreen(cmd.ErrOrStderr()), expr)
			case f.write != "":
				return usageError{errors.New("filter: -w needs -r: the file to read packets from")}
			}
			return perhapsFile(f.dump(cmd.OutOrStdout(), expr), args)
		},
	}
	fl := cmd.Flags()
	fl.CountVarP(&f.dumps, "dump", "d", "print the program: ``-d disassembled, -dd as C, -ddd in decimal")
	fl.StringVarP(&f.linkType, "link-type", "y", "ETHERNET", "compile for `LINKTYPE`, a name or number of tcpdump.org's list")
	fl.Uint32VarP(&f.snaplen, "snaplen", "s", filter.DefaultSnaplen, "the program returns `N` for a packet that passes")
	fl.BoolVarP(&f.plain, "no-optimize", "O", false, "print the program without optimization")
	fl.BoolVar(&f.live, "live", false, "compile for a Linux interface, where the kernel keeps the VLAN tag beside the frame")
	fl.StringVarP(&f.read, "read", "r", "", "read packets from `FILE`")
	fl.StringVarP(&f.write, "write", "w", "", "write the packets that match to `FILE`, which must not exist")
	fl.BoolVar(&f.asJSON, "json", false, "with -r: print a JSON object")
	return cmd
}

func (f *filterCommand) dump(w io.Writer, expr string) error {
	link, err := pcap.ParseLinkType(f.linkType)
	if err != nil {
		return usageError{err}
	}
	if f.read != "" {
		if link, err = read.LinkType(f.read); err != nil {
			return err
		}
	}
	p, err := filter.Compile(expr, filter.Target{LinkType: filter.LinkType(link), Snaplen: f.snaplen, Live: f.live, Unoptimized: f.plain})
	if err != nil {
		return err
	}
	text := p.String
	switch f.dumps {
	case 2:
		text = p.C
	case 3:
		text = p.Decimal
	}
	_, err = io.WriteString(w, text())
	return err
}

// apply counts the packets of a file that pass, and writes them to another.
func (f *filterCommand) apply(w io.Writer, screen *terminal.Screen, expr string) error {
	bar := terminal.NewProgress(screen, filepath.Base(f.read), 0)
	defer bar.End()
	src, err := read.Open(f.read, read.Options{Through: bar.Reader})
	if err != nil {
		return err
	}
	defer src.Close()
	bar.Expect(src.Size())
	c := extract.Copy{Filter: read.NewFilter(expr), Application: "capd " + version()}
	if f.write != "" {
		if err := c.Create(f.write); err != nil {
			return err
		}
	}
	err = c.Run(src)
	bar.End()
	if err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(w, passedJSON{c.Packets, c.Passed})
	}
	_, err = fmt.Fprintf(w, "%d of %s passed\n", c.Passed, text.Count(c.Packets, "packet"))
	return err
}

// passedJSON is what filter -r --json prints.
type passedJSON struct {
	Packets uint64 `json:"packets"`
	Passed  uint64 `json:"passed"`
}
