package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"capd/internal/inventory"
	"capd/internal/terminal"
	"capd/internal/text"
	"capd/ledger"

	"github.com/spf13/cobra"
)

// A listQuery is what the flags of list ask for.
type listQuery struct {
	choice
	asJSON, print0 bool
}

func newList() *cobra.Command {
	var q listQuery
	cmd := &cobra.Command{
		Use:   "list [DIR]",
		Short: "List the files of a directory, and what is in them",
		Long: `Print the files of a directory in order of time: what they hold, what they lack,
and their state. A file is finished, compressed, recording, unfinished (its
recorder ended; capd's next start makes it whole) or damaged; it may be held,
and salvaged or unclean: not finished in order. Files are not opened: the ledger
tells what is in them, and a question mark stands for what it does not. Only files with
names of capd's are listed.

--print0 prints only the paths of whole files, each with a zero byte after it, for
xargs -0. Use -x and a large -n: then xargs fails if the files are too many for one
command. Without them it runs several, and with -w each one overwrites the file of
the one before.

` + placeHelp + `

` + timesHelp,
		Example: `  capd list /var/lib/capd
  capd list --since 24h --interface eth0
  capd list --print0 --since 10m | xargs -0 -x -n 100000 mergecap -w out.pcapng`,
		Args: oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.asJSON && q.print0 {
				return usageError{errors.New("list: --json and --print0 are two ways to print")}
			}
			if err := q.check(cmd); err != nil {
				return err
			}
			w, screen := cmd.OutOrStdout(), terminal.NewScreen(cmd.ErrOrStderr())
			return q.each(w, args, !q.asJSON && !q.print0, func(dir string) error { return q.list(w, screen, dir) })
		},
	}
	q.bind(cmd)
	cmd.Flags().BoolVar(&q.asJSON, "json", false, "print a JSON object")
	cmd.Flags().BoolVar(&q.print0, "print0", false, "print only the paths of whole files, with a zero byte after each")
	return cmd
}

func (q *listQuery) list(w io.Writer, screen *terminal.Screen, dir string) error {
	var l *inventory.Listing
	for _, name := range q.names() {
		bar := terminal.NewProgress(screen, dir, 0)
		query := inventory.Query{
			Interface: name, Since: q.since.Time, Until: q.until.Time,
			Ledger: ledger.ReadOptions{Begin: bar.Expect, Read: bar.Add},
		}
		found, err := inventory.Read(dir, query)
		bar.End()
		if err != nil {
			return err
		}
		if l == nil || len(found.Files) > 0 {
			l = found
		}
		if len(l.Files) > 0 {
			break
		}
	}
	var err error
	out := bufio.NewWriter(w)
	switch {
	case q.asJSON:
		err = printJSON(out, l)
	case q.print0:
		printPaths(out, l)
	default:
		err = printListing(out, l)
		q.bounds.print(out)
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// printPaths prints the paths of the whole files. None looks like an option.
func printPaths(w io.Writer, l *inventory.Listing) {
	dir := l.Directory
	if strings.HasPrefix(dir, "-") {
		dir = "./" + dir
	}
	for _, f := range l.Files {
		if f.Whole() {
			fmt.Fprintf(w, "%s\x00", dir+string(filepath.Separator)+f.Name)
		}
	}
}

func printListing(w io.Writer, l *inventory.Listing) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(l.Files) > 0 {
		fmt.Fprintln(t, "BEGIN\tEND\tINTERFACE\tPACKETS\tLOST\tSIZE\tSTATE\tNAME")
	}
	var packets, lost total
	var size uint64
	for _, f := range l.Files {
		var in, missing *uint64
		if f.Contents != nil {
			in, missing = &f.Packets, f.Lost
		}
		size += uint64(f.Size)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			text.Time(f.Begin), text.Time(f.End), text.Name(f.Interface), packets.add(in), lost.add(missing), text.Size(f.Size), stateText(f), f.Name)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s, %s, %s lost, %s\n", text.Count(len(l.Files), "file"), packets.of("packet"), lost, text.Size(size))
	if l.Missing > 0 {
		fmt.Fprintf(w, "%s of the ledger not there, deleted by none of capd's limits; capd ledger names them\n", text.Count(l.Missing, "file"))
	}
	if l.Broken > 0 {
		fmt.Fprintf(w, "%s of the ledger can't be read\n", text.Count(l.Broken, "line"))
	}
	return nil
}

// A total is a sum of numbers, some of which may be unknown.
type total struct {
	known   uint64
	some    bool // a number was known
	unknown bool // a number was not
}

// add adds a number, which is nil if it is unknown, and spells it.
func (t *total) add(n *uint64) string {
	if n == nil {
		t.unknown = true
		return "?"
	}
	t.known, t.some = t.known+*n, true
	return fmt.Sprint(*n)
}

// String spells the sum: "?" if nothing is known, and "7+?" if not all is.
func (t total) String() string {
	switch {
	case !t.unknown:
		return fmt.Sprint(t.known)
	case t.some:
		return fmt.Sprintf("%d+?", t.known)
	}
	return "?"
}

// of spells the sum and of what things it is one.
func (t total) of(one string) string {
	if !t.unknown {
		return text.Count(t.known, one)
	}
	return t.String() + " " + one + "s"
}

// stateText is all that is to be said about how a file is there.
func stateText(f *inventory.File) string {
	s := string(f.State)
	if f.Held {
		s += ", held"
	}
	switch {
	case f.Contents == nil, f.Clean, f.State == inventory.Damaged:
	case f.Reason == ledger.ReasonSalvaged:
		s += ", salvaged"
	default:
		s += ", unclean"
	}
	return s
}
