package main

import (
	"capd/store"
	"capd/writer"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

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
			screen := newScreen(cmd.ErrOrStderr())
			for _, path := range args {
				to, r, err := salvage(screen, path, inPlace)
				if err != nil {
					failed = errors.Join(failed, &salvageError{err, path})
					all = append(all, salvageJSON{File: path, Error: err.Error()})
					continue
				}
				all = append(all, salvageJSON{File: path, Into: to, Packets: r.Packets, Cut: r.Cut, Why: r.Why})
				if asJSON {
					continue
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s cut%s\n", quoted(to), plural(r.Packets, "packet"),
					plural(uint64(r.Cut), "byte"), reason(r.Why)); err != nil {
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

// A salvageError says why a file could not be salvaged.
type salvageError struct {
	error
	path string
}

func (e *salvageError) Unwrap() error { return e.error }

func (e *salvageError) hints() []string {
	var p *fs.PathError
	switch {
	case errors.Is(e, fs.ErrExist) && errors.As(e, &p):
		return []string{"no file is replaced: move " + quoted(p.Path) + " away first"}
	case errors.Is(e, fs.ErrPermission) && errors.As(e, &p):
		return []string{fmt.Sprintf("this is user %d: FILE must be readable for it, and its directory writable, as the copy is made there", os.Geteuid())}
	case errors.Is(e, fs.ErrNotExist), errors.Is(e, syscall.ENOSPC), errors.Is(e, syscall.EDQUOT):
		return directoryHints(e)
	case slices.Contains([]string{store.Gzip.Ext(), store.Zstd.Ext()}, filepath.Ext(e.path)):
		return []string{"it seems to be compressed: decompress it first, as with gzip -d or zstd -d"}
	}
	return nil
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
	base := strings.TrimSuffix(strings.TrimSuffix(path, store.Partial), store.DamagedExt)
	ext := filepath.Ext(base)
	return strings.TrimSuffix(base, ext) + ".salvaged" + ext
}
