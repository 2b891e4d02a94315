package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"capd/config"
	"capd/internal/text"
	"capd/ledger"
	"capd/store"

	"github.com/spf13/cobra"
)

// placeHelp is in the help of each command that looks at directories of recordings.
const placeHelp = `Without DIR it looks at the directory that it is called in, if that has a ledger
or files of capd's; else, or with -c, at all directories that the configuration
names. It prints their names then; with --json, an object for each, one after
the other.`

// A place is where recordings are looked for.
type place struct{ config string }

func (p *place) bind(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&p.config, "config", "c", "", "without DIR: look at the directories of `FILE` (default "+defaultConfig+")")
}

// oneDirectory takes a directory's path, or nothing.
func oneDirectory(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && cmd.Flags().Changed("config") {
		return usageError{fmt.Errorf("%s: a directory is named, and -c says others", cmd.Name())}
	}
	return noArgs(cmd, args[min(len(args), 1):])
}

// each does it for all directories that are meant, and names them if that is asked for and the arguments don't.
func (p *place) each(w io.Writer, args []string, name bool, do func(dir string) error) error {
	dirs, err := p.directories(args, defaultConfig)
	if err != nil {
		return err
	}
	var failed, missing, unknown error
	for i, dir := range dirs {
		if name && len(args) == 0 {
			space := ""
			if i > 0 {
				space = "\n"
			}
			if _, err := fmt.Fprintf(w, "%s%s:\n", space, text.Name(dir)); err != nil {
				return err
			}
		}
		switch err := do(dir); {
		case errors.Is(err, errReported):
			missing = err
		case errors.As(err, new(*codedError)):
			unknown = err
		default:
			failed = errors.Join(failed, err)
		}
	}
	return cmp.Or(failed, missing, unknown)
}

// directories returns those that are meant: standard is the configuration that need not be there.
func (p *place) directories(args []string, standard string) ([]string, error) {
	switch {
	case len(args) > 0:
		return args, nil
	case p.config == "" && isRecorded("."):
		return []string{"."}, nil
	}
	file := p.config
	if file == "" {
		file = standard
	}
	cfg, err := config.Load(file)
	switch {
	case p.config == "" && errors.Is(err, fs.ErrNotExist):
		return []string{config.Default().Directory}, nil
	case err != nil:
		return nil, fmt.Errorf("read configuration: %w", &configError{err, file})
	}
	var dirs []string
	for i := range cfg.Interfaces {
		if d := cfg.Interfaces[i].Directory; !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return dirs, nil
}

// socket returns control.socket of the configuration.
func (p *place) socket() string {
	cfg, err := config.Load(cmp.Or(p.config, defaultConfig))
	if err != nil {
		return ""
	}
	return cfg.Control.Socket
}

// isRecorded reports whether a directory has a ledger, or files with names of capd's.
func isRecorded(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		if slices.ContainsFunc(names, func(name string) bool {
			_, _, err := store.Parse(name)
			return err == nil || name == ledger.FileName
		}) {
			return true
		}
		if err != nil {
			return false
		}
	}
}
