package main

import (
	"errors"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"capd/crypt"
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
	read     []string
	write    string
	asJSON   bool
	identityFlag
	keys crypt.Identities
}

func newFilter() *cobra.Command {
	var f filterCommand
	cmd := &cobra.Command{
		Use:   "filter [-d|-dd|-ddd] [-O] [-y LINKTYPE] [-s SNAPLEN] [-r FILE... [-w FILE]] [EXPRESSION]",
		Short: "Compile a filter, or apply it to a capture file",
		Long: `Print the program of a filter in the formats of tcpdump: disassembled (-d, the
default), as C (-dd), or in decimal (-ddd), as the bpf match of iptables takes it.

With -r, count the packets of a capture file that match; with -w, also write them
to a file. With -r and -d, print the program for the file's link type. The file may
be compressed with zstd or gzip. Without an EXPRESSION all packets match.

-r may be given several times: capd reads each file whole, in the given order. The
name - is standard input for -r, and standard output for -w; the count then goes to
standard error.

The new file has the format, byte order and units of time of the old file. It keeps
all that the old file has beside packets: interfaces, comments, names, secrets and
statistics; and all that belongs to a packet, such as comment and flags. Only custom
blocks and options that must not be copied are left out. A comment in a pcapng file
names the filter; comments of earlier filters stay. The statistics are still those of
the recording. If the filter matches every packet of every link type, the new file
equals the old file. Several pcapng files become the sections of one. Several pcap
files must have the same byte order, units of time and link type. A time that is unknown or
makes no sense stays as it is in the old file. If there is an error and no packet
matched before it, capd removes the new file. Ctrl-C removes it in any case, unless it
is whole; capd says which.

--json prints an object with the counts of -r: packets, and passed.

` + identityHelp,
		Example: `  capd filter -d 'tcp port 80'
  capd filter -ddd -y RAW 'ip6'
  capd filter -r eth0.pcapng -w web.pcapng 'tcp port 80 or 443'
  ssh host cat eth0.pcapng.zst | capd filter -r - -w - arp | capd watch -r -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			expr := strings.Join(args, " ")
			var err error
			if f.keys, err = f.identityFlag.read(); err != nil {
				return err
			}
			switch {
			case f.dumps > 3:
				return usageError{errors.New("filter: -d may be given three times at the most")}
			case f.write != "" && f.dumps > 0:
				return usageError{errors.New("filter: -d prints the program, -w applies it: one of them")}
			case f.asJSON && (len(f.read) == 0 || f.dumps > 0):
				return usageError{errors.New("filter: --json is for what -r counts")}
			case len(f.read) > 0 && f.dumps == 0:
				return f.apply(cmd, expr)
			case f.write != "":
				return usageError{errors.New("filter: -w needs -r: the file to read packets from")}
			}
			return perhapsFile(f.dump(cmd.InOrStdin(), cmd.OutOrStdout(), expr), args)
		},
	}
	fl := cmd.Flags()
	fl.CountVarP(&f.dumps, "dump", "d", "print the program: ``-d disassembled, -dd as C, -ddd in decimal")
	fl.StringVarP(&f.linkType, "link-type", "y", "ETHERNET", "compile for `LINKTYPE`, a name or number of tcpdump.org's list")
	fl.Uint32VarP(&f.snaplen, "snaplen", "s", filter.DefaultSnaplen, "the program returns `N` for a packet that passes")
	fl.BoolVarP(&f.plain, "no-optimize", "O", false, "print the program without optimization")
	fl.BoolVar(&f.live, "live", false, "compile for a Linux interface, where the kernel keeps the VLAN tag beside the frame")
	fl.StringArrayVarP(&f.read, "read", "r", nil, "read packets from `FILE`, - for standard input; may repeat")
	fl.StringVarP(&f.write, "write", "w", "", "write the packets that match to `FILE`, which must not exist, or - for standard output")
	f.identityFlag.bind(cmd)
	fl.BoolVar(&f.asJSON, "json", false, "with -r: print a JSON object")
	return cmd
}

func (f *filterCommand) dump(stdin io.Reader, w io.Writer, expr string) error {
	link, err := pcap.ParseLinkType(f.linkType)
	if err != nil {
		return usageError{err}
	}
	t := filter.Target{LinkType: filter.LinkType(link)}
	if len(f.read) > 0 {
		src, err := open(f.read[0], stdin, read.Options{Identities: f.keys})
		if err != nil {
			return err
		}
		defer src.Close()
		if t, err = src.Target(); err != nil {
			return err
		}
	}
	t.Snaplen, t.Live, t.Unoptimized = f.snaplen, f.live, f.plain
	p, err := filter.Compile(expr, t)
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

// open opens a file, or standard input by its name.
func open(path string, stdin io.Reader, o read.Options) (*read.File, error) {
	if path == "-" {
		return read.New("-", stdin, o), nil
	}
	return read.Open(path, o)
}

// apply counts the packets of the files that pass, and writes them to another.
func (f *filterCommand) apply(cmd *cobra.Command, expr string) error {
	w := cmd.OutOrStdout()
	c := extract.Copy{Filter: read.NewFilter(expr), Identities: f.keys, Application: "capd " + version()}
	switch f.write {
	case "":
	case "-":
		if _, ok := terminal.Is(w); ok {
			return usageError{errors.New("filter: -w - writes packets to standard output, which is a terminal: redirect it")}
		}
		if err := c.Expect(f.read); err != nil {
			return err
		}
		c.To(w)
		w = cmd.ErrOrStderr()
	default:
		if err := c.Expect(f.read); err != nil {
			return err
		}
		if err := c.Create(f.write); err != nil {
			return err
		}
	}
	if err := f.copy(cmd, &c); err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(w, passedJSON{c.Packets, c.Passed})
	}
	_, err := fmt.Fprintf(w, "%d of %s passed\n", c.Passed, text.Count(c.Packets, "packet"))
	return err
}

// copyPatience is how long a copy that is interrupted may take to its next record.
const copyPatience = 500 * time.Millisecond

// copy copies the files. A signal ends that, and takes away what is not whole.
func (f *filterCommand) copy(cmd *cobra.Command, c *extract.Copy) error {
	if f.write == "" {
		return c.Close(f.add(cmd, c))
	}
	ctx, restore := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
	added := make(chan error, 1)
	go func() { added <- f.add(cmd, c) }()
	var late <-chan time.Time
	for signaled := ctx.Done(); ; signaled = nil {
		select {
		case err := <-added:
			return c.Close(err)
		case <-late:
			return c.Discard(fmt.Errorf("filter: %w", extract.ErrStopped))
		case <-signaled:
			c.Stop()
			late = time.After(copyPatience)
		}
	}
}

// add copies the files in turn.
func (f *filterCommand) add(cmd *cobra.Command, c *extract.Copy) error {
	screen := terminal.NewScreen(cmd.ErrOrStderr())
	for _, path := range f.read {
		bar := terminal.NewProgress(screen, filepath.Base(path), 0)
		through := bar.Reader
		if f.write == "-" {
			through = func(src io.Reader) io.Reader { return c.Promptly(bar.Reader(src)) }
		}
		src, err := open(path, cmd.InOrStdin(), read.Options{Identities: f.keys, Through: through})
		if err != nil {
			return err
		}
		bar.Expect(src.Size())
		err = errors.Join(c.Add(src), src.Close())
		bar.End()
		if err != nil {
			return err
		}
	}
	return nil
}

// passedJSON is what filter -r --json prints.
type passedJSON struct {
	Packets uint64 `json:"packets"`
	Passed  uint64 `json:"passed"`
}
