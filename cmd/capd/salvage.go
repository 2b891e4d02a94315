package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"capd/internal/terminal"
	"capd/internal/text"
	"capd/pcap"
	"capd/writer"

	"github.com/spf13/cobra"
)

func newSalvage() *cobra.Command {
	var inPlace, asJSON bool
	cmd := &cobra.Command{
		Use:   "salvage [--in-place] FILE...",
		Short: "Save the whole packets of torn or damaged capture files",
		Long: `Copy the whole packets of each pcap or pcapng file, of any tool, to a new file
beside it, FILE.salvaged.pcap or .pcapng. What is no whole packet is left out: a
torn packet or zeros at the end, and damage in the middle, behind which packets
go on where several in a row, or all up to the end, prove each other. Nothing is
added, but that the copy of a damaged pcapng file says in a comment what it lacks;
pcap has no place for one. FILE is not changed, and no file is replaced. run does
this by itself for the torn files of an earlier run.

With --in-place nothing is copied: a packet that is torn at the end of the file,
or zeros there, are cut off. A damaged file is left alone, and so is one whose end
may be damage as well: salvage it into a copy.

--json prints an array with an object for each file: file, and into (where the
packets are), packets, cut (bytes that were left out) and why, or error; damaged;
and gaps, what was left out: offset and bytes, records if it is known how many,
and why.

The exit code is 0 if all files are whole now, up to where they are torn; 1 if one
is damaged, whether what is whole of it was copied or it was left alone, or has
another error; 2 if the command line makes no sense.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("salvage: no file named")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var failed error
			all := []salvageJSON{}
			screen := terminal.NewScreen(cmd.ErrOrStderr())
			for _, path := range args {
				to, r, err := salvage(screen, path, inPlace)
				j := salvageJSON{File: path, Damaged: r.Damaged}
				if err != nil {
					failed = errors.Join(failed, err)
					j.Error = err.Error()
				} else {
					j.Into, j.Packets, j.Cut, j.Why, j.Gaps = to, r.Packets, r.Cut, r.Why, gapsJSON(r.Gaps)
					if r.Damaged {
						failed = errors.Join(failed, errors.New(damage(path, to, &r)))
					}
				}
				all = append(all, j)
				if asJSON || err != nil {
					continue
				}
				if err := printSalvaged(cmd.OutOrStdout(), to, &r); err != nil {
					return errors.Join(failed, err)
				}
			}
			if asJSON {
				failed = errors.Join(failed, printJSON(cmd.OutOrStdout(), all))
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&inPlace, "in-place", false, "cut the files themselves")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// maxGapLines is how many places of a file are named in text.
const maxGapLines = 10

// printSalvaged says what is in the file, and where something was left out in
// the middle.
func printSalvaged(out io.Writer, to string, r *writer.SalvageReport) error {
	b := fmt.Appendf(nil, "%s: %s, %s cut%s\n", text.Name(to), text.Count(r.Packets, "packet"), text.Count(r.Cut, "byte"), reason(r.Why))
	if r.Damaged {
		for i, g := range r.Gaps {
			if i == maxGapLines {
				b = fmt.Appendf(b, "  and %d more\n", len(r.Gaps)-i)
				break
			}
			records := ""
			if g.Records > 0 {
				records = ", " + text.Count(g.Records, "record")
			}
			b = fmt.Appendf(b, "  %s left out at byte %d%s: %s\n", text.Count(g.Bytes, "byte"), g.Offset, records, g.Reason)
		}
	}
	_, err := out.Write(b)
	return err
}

// damage is what is said of a damaged file that was copied.
func damage(path, to string, r *writer.SalvageReport) string {
	comment := "which can't say so itself"
	if r.Commented {
		comment = "as a comment in it says"
	}
	return fmt.Sprintf("salvage: %s is damaged: %s of it are not in %s, %s", path, text.Count(r.Cut, "byte"), to, comment)
}

// salvageJSON is one element of the array that salvage --json prints.
type salvageJSON struct {
	File    string    `json:"file"`
	Into    string    `json:"into,omitempty"` // where the packets are; empty: see Error
	Packets uint64    `json:"packets"`
	Cut     int64     `json:"cut"` // bytes
	Why     string    `json:"why,omitempty"`
	Damaged bool      `json:"damaged,omitempty"`
	Gaps    []gapJSON `json:"gaps,omitempty"`
	Error   string    `json:"error,omitempty"`
}

// A gapJSON is what was left out at a place.
type gapJSON struct {
	Offset  int64  `json:"offset"`
	Bytes   int64  `json:"bytes"`
	Records int    `json:"records,omitempty"` // 0: unknown
	Why     string `json:"why"`
}

func gapsJSON(gaps []pcap.Gap) []gapJSON {
	var all []gapJSON
	for _, g := range gaps {
		all = append(all, gapJSON{g.Offset, g.Bytes, g.Records, g.Reason})
	}
	return all
}

// salvage salvages a file, shows how far that is, and says where the packets are.
func salvage(screen *terminal.Screen, path string, inPlace bool) (to string, r writer.SalvageReport, err error) {
	reads := int64(2)
	if inPlace {
		reads = 1
	}
	p := terminal.NewProgress(screen, filepath.Base(path), 0)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		p.Expect(reads * info.Size())
	}
	defer p.End()
	if inPlace {
		r, err = writer.SalvageInPlace(path, p.Add)
		return path, r, err
	}
	to = writer.SalvagedPath(path)
	r, err = writer.Salvage(path, to, p.Add)
	return to, r, err
}

func reason(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}
