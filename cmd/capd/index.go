package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"capd/internal/index"
	"capd/internal/terminal"
	"capd/internal/text"

	"github.com/spf13/cobra"
)

// An indexCommand is what the flags of index ask for.
type indexCommand struct {
	place
	force, asJSON bool
	lower         bool
}

// newIndex makes the command. own says that the process is there for it alone, and may get the lowest priority.
func newIndex(own bool) *cobra.Command {
	x := indexCommand{lower: own}
	cmd := &cobra.Command{
		Use:   "index [--force] [DIR|FILE...]",
		Short: "Make the flow tables of capture files, from which flows are found quickly",
		Long: `Make a table of the flows of each finished capture file, of any tool: pcap or pcapng,
also compressed with zstd or gzip. The table of NAME, NAME.zst or NAME.gz is
NAME.flows.parquet: a row for each flow and its packets and bytes in both directions,
and where in the file they are. capd flows reads it, and so do DuckDB and other
programs that know Parquet. Files that have a table that fits them are left out, unless
--force is given; a table that is damaged or of another file is made anew.

Tables take about 0.3 % of the bytes of capture files, and never more than 2 %, or 256
KiB of small files. Limits count them, and they are deleted with their files.

It works at the lowest priority, and may be interrupted at any time: no table is left that
is not whole, and those that are made stay. If a capture file is torn or damaged, the
table has what is before that, and says so.

A capd that records makes the tables of its finished files by itself if "enabled" is true
in [index] of its configuration.

Without DIR or FILE it takes the directory that it is called in, if that has a ledger or
files of capd's; else, or with -c, all directories that the configuration names.

--json prints an array with an object for each file: file, table, size (bytes of the
table), made (false: it was there), rows, packets, and error.`,
		Example: `  capd index /var/lib/capd
  capd index dump.pcap.gz
  capd flows /var/lib/capd`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.Flags().Changed("config") {
				return usageError{errors.New("index: directories or files are named, and -c says others")}
			}
			if len(args) == 0 {
				var err error
				if args, err = x.directories(args, defaultConfig); err != nil {
					return err
				}
			}
			return x.run(cmd, args)
		},
	}
	x.bind(cmd)
	cmd.Flags().BoolVar(&x.force, "force", false, "make tables anew that are there")
	cmd.Flags().BoolVar(&x.asJSON, "json", false, "print a JSON array")
	return cmd
}

// indexJSON is one element of the array that index --json prints.
type indexJSON struct {
	index.Built
	Rows    uint64 `json:"rows"`
	Packets uint64 `json:"packets"`
	Error   string `json:"error,omitempty"`
}

// run makes the tables of files, and of those in directories, and brings the catalogue of each directory up to date.
func (x *indexCommand) run(cmd *cobra.Command, args []string) error {
	ctx, restore := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
	var failed error
	var paths []string
	for _, arg := range args {
		if info, err := os.Stat(arg); err != nil || !info.IsDir() {
			paths = append(paths, arg)
			continue
		}
		files, err := index.Files(arg)
		failed = errors.Join(failed, err)
		paths = append(paths, files...)
	}
	if x.lower {
		index.Lower()
	}
	all, built := []indexJSON{}, make(map[string][]index.Built)
	for i, path := range paths {
		j, err := x.one(ctx, cmd, path, i, len(paths))
		if ctx.Err() != nil {
			failed = errors.Join(failed, errors.New("index: interrupted: the tables that are made stay"))
			break
		}
		all = append(all, j)
		failed = errors.Join(failed, err)
		if err == nil {
			dir := filepath.Dir(path)
			built[dir] = append(built[dir], j.Built)
		}
	}
	for dir, tables := range built {
		failed = errors.Join(failed, index.Catalogue(dir, tables))
	}
	if x.asJSON {
		return errors.Join(failed, printJSON(cmd.OutOrStdout(), all))
	}
	return failed
}

// one makes the table of a file, and says so.
func (x *indexCommand) one(ctx context.Context, cmd *cobra.Command, path string, i, of int) (j indexJSON, err error) {
	screen := terminal.NewScreen(cmd.ErrOrStderr())
	bar := terminal.NewProgress(screen, fmt.Sprintf("%s (%d of %d)", filepath.Base(path), i+1, of), 0)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		bar.Expect(info.Size())
	}
	j.Built, err = index.Build(ctx, path, x.force, bar.Add)
	bar.End()
	if err != nil {
		j.Error = err.Error()
		return j, err
	}
	s := &j.Source
	j.Rows, j.Packets = s.Totals.Rows, s.Totals.Packets
	if x.asJSON {
		j.Error = s.Error
		return j, nil
	}
	note := ""
	if !j.Made {
		note = ", was there"
	}
	if s.Error != "" {
		note += ": " + s.Error
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s of %s, %s%s\n", text.Name(j.Table), text.Count(s.Totals.Rows, "row"),
		text.Count(s.Totals.Packets, "packet"), text.Size(j.Size), note)
	return j, err
}
