package main

import (
	"errors"
	"fmt"
	"os"
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
			screen := newScreen(cmd.ErrOrStderr())
			for _, path := range args {
				to, r, err := salvage(screen, path, inPlace)
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

// salvage salvages a file, shows how far that is, and says where the packets are.
func salvage(screen *screen, path string, inPlace bool) (to string, r writer.SalvageReport, err error) {
	reads := int64(2)
	if inPlace {
		reads = 1
	}
	p := newProgress(screen, filepath.Base(path), reads*sizeOf(path))
	defer p.end()
	if inPlace {
		r, err = writer.SalvageInPlace(path, p.add)
		return path, r, err
	}
	to = salvaged(path)
	r, err = writer.Salvage(path, to, p.add)
	return to, r, err
}

// sizeOf is a file's size as far as it is known: 0 if not.
func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
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
