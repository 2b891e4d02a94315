package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"capd/internal/terminal"
	"capd/internal/text"
	"capd/writer"

	"github.com/spf13/cobra"
)

func newSalvage() *cobra.Command {
	var inPlace, asJSON bool
	cmd := &cobra.Command{
		Use:   "salvage [--in-place] FILE...",
		Short: "Save the whole packets of torn or damaged capture files",
		Long: `Copy the whole packets of each pcap or pcapng file, of any tool, to a new file
beside it, FILE.salvaged.pcap or .pcapng, up to where the file is torn or
damaged. With --in-place a file that is only torn is cut instead; a damaged one
is left alone. run does this by itself for the files of an earlier run.

--json prints an array with an object for each file: file, and into (where the
packets are), packets, cut (bytes) and why, or error. The exit code is 1 if one
has an error.`,
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
				if err != nil {
					failed = errors.Join(failed, err)
					all = append(all, salvageJSON{File: path, Error: err.Error()})
					continue
				}
				all = append(all, salvageJSON{File: path, Into: to, Packets: r.Packets, Cut: r.Cut, Why: r.Why})
				if asJSON {
					continue
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s cut%s\n", text.Name(to), text.Count(r.Packets, "packet"),
					text.Count(r.Cut, "byte"), reason(r.Why)); err != nil {
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

// salvageJSON is one element of the array that salvage --json prints.
type salvageJSON struct {
	File    string `json:"file"`
	Into    string `json:"into,omitempty"` // where the packets are; empty: see Error
	Packets uint64 `json:"packets"`
	Cut     int64  `json:"cut"` // bytes
	Why     string `json:"why,omitempty"`
	Error   string `json:"error,omitempty"`
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
