package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"capd/writer"

	"github.com/spf13/cobra"
)

func newSalvage() *cobra.Command {
	var inPlace bool
	cmd := &cobra.Command{
		Use:   "salvage [--in-place] FILE...",
		Short: "Save the whole packets of torn or damaged capture files",
		Long: `Copy the whole packets of each pcap or pcapng file, of any tool, to a new file
beside it, FILE.salvaged.pcap or .pcapng, up to where the file is torn or
damaged. With --in-place a file that is only torn is cut instead; a damaged one
is left alone. run does this by itself for the files of an earlier run.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("salvage: no file named")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var failed error
			for _, path := range args {
				var r writer.SalvageReport
				var err error
				to := path
				if inPlace {
					r, err = writer.SalvageInPlace(path)
				} else {
					to = salvaged(path)
					r, err = writer.Salvage(path, to)
				}
				if err != nil {
					failed = errors.Join(failed, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %d packets, %s cut%s\n", to, r.Packets, plural(uint64(r.Cut), "byte"), reason(r.Why))
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&inPlace, "in-place", false, "cut the files themselves")
	return cmd
}

func reason(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// salvaged is the name of the copy: tools go by its end.
func salvaged(path string) string {
	base := strings.TrimSuffix(strings.TrimSuffix(path, writer.Partial), writer.DamagedExt)
	ext := filepath.Ext(base)
	return strings.TrimSuffix(base, ext) + ".salvaged" + ext
}
