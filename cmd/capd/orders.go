package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"capd/config"
	"capd/internal/control"
	"capd/internal/text"

	"github.com/spf13/cobra"
)

// A target is the flags that say which capd a command asks.
type target struct{ socket, config string }

func (t *target) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.socket, "socket", "", "use the capd that listens on `PATH` (default: the one on this machine)")
	cmd.Flags().StringVarP(&t.config, "config", "c", "", "use the capd whose configuration is `FILE`, by its control.socket")
}

// finder finds that capd.
func (t *target) finder() (*control.Finder, error) {
	switch {
	case t.config != "" && t.socket != "":
		return nil, usageError{errors.New("--socket and -c are two ways to say which capd")}
	case t.config != "":
		return t.configured()
	}
	return &control.Finder{Socket: t.socket, Configured: func() string {
		cfg, err := config.Load(defaultConfig)
		if err != nil {
			return ""
		}
		return cfg.Control.Socket
	}}, nil
}

// configured finds the capd of the configuration that is named.
func (t *target) configured() (*control.Finder, error) {
	cfg, err := config.Load(t.config)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read configuration: %w", &configError{err, t.config})
	case cfg.Control.Socket == "":
		return nil, fmt.Errorf("control.socket of %s is empty: its capd takes no orders", text.Name(t.config))
	case cfg.Control.Socket == config.ControlAuto:
		return &control.Finder{}, nil
	}
	return &control.Finder{Socket: cfg.Control.Socket}, nil
}

// client connects to that capd.
func (t *target) client() (*control.Client, error) {
	f, err := t.finder()
	if err != nil {
		return nil, err
	}
	return f.Client()
}

// An order is a command that a running capd follows and answers with files.
type order struct {
	target
	asJSON  bool
	nothing string // printed on standard error if the answer has no file; empty: nothing
}

func (o *order) bind(cmd *cobra.Command) {
	o.target.bind(cmd)
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print a JSON object")
}

// give gives the order and prints the files, a line each.
func (o *order) give(cmd *cobra.Command, do func(context.Context, *control.Client) ([]string, error)) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	defer c.Close()
	files, err := do(cmd.Context(), c)
	if err != nil {
		return err
	}
	if o.asJSON {
		return printJSON(cmd.OutOrStdout(), control.Answer{Files: append([]string{}, files...)})
	}
	if len(files) == 0 && o.nothing != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "capd: %s\n", o.nothing)
	}
	for _, f := range files {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), text.Name(f)); err != nil {
			return err
		}
	}
	return nil
}

func newRotate() *cobra.Command {
	var o order
	cmd := &cobra.Command{
		Use:   "rotate [IF]",
		Short: "Begin new files now, and print the finished ones",
		Long: `Make a running capd finish its current files, of one interface or of all. Wait
until they are finished, and print their paths, one on each line. An interface
without frames has no file. The next files begin with the next frame.`,
		Example: `  capd rotate
  capd rotate eth0 | xargs -r capinfos`,
		Args: func(cmd *cobra.Command, args []string) error { return noArgs(cmd, args[min(len(args), 1):]) },
		RunE: func(cmd *cobra.Command, args []string) error {
			iface := ""
			if len(args) > 0 {
				iface = args[0]
			}
			return o.give(cmd, func(ctx context.Context, c *control.Client) ([]string, error) { return c.Rotate(ctx, iface) })
		},
	}
	o.bind(cmd)
	return cmd
}

func newReload() *cobra.Command {
	var o order
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make a running capd read its configuration again",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.give(cmd, func(ctx context.Context, c *control.Client) ([]string, error) { return nil, c.Reload(ctx) })
		},
	}
	o.target.bind(cmd)
	return cmd
}

func newHold() *cobra.Command {
	o := order{nothing: "no file has such frames: nothing is held"}
	var last config.Duration
	var when bounds
	var iface string
	cmd := &cobra.Command{
		Use:   "hold FILE... | --last TIME | [--since TIME] [--until TIME]",
		Short: "Keep files from being deleted by limits",
		Long: `Forbid the limits of a running capd to delete files, until capd release. A hold
is a file NAME.hold beside the file, so it survives restarts. The ledger says when
it began and ended. Held files count for the limits, so other files are deleted
sooner.

--last holds all files with frames of the last TIME, also those that are being
written; --since and --until hold those with frames between two times. hold prints
the paths that the files have now, one on each line. --json prints an object with
the array files instead, as capd rotate and capd release do. FILE is a path, or
the name of a file in any directory that capd records into.

` + timesHelp,
		Example: `  capd hold --last 10m
  capd hold --since 'yesterday 14:00' --until 'yesterday 15:30'
  capd hold --last 1h --interface eth0
  capd hold eth0-20260102T030405Z-000017.pcapng`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := when.check(cmd); err != nil {
				return err
			}
			s := control.Selection{Files: absolute(args), Interface: iface, Since: when.since.Time, Until: when.until.Time}
			if cmd.Flags().Changed("last") {
				s.Last = last.String()
			}
			if err := checkSelection(cmd, args, s); err != nil {
				return err
			}
			if asked := when.String(); asked != "" && !o.asJSON {
				fmt.Fprintf(cmd.ErrOrStderr(), "capd: %s\n", asked)
			}
			return o.give(cmd, func(ctx context.Context, c *control.Client) ([]string, error) { return c.Hold(ctx, s) })
		},
	}
	o.bind(cmd)
	cmd.Flags().Var(&last, "last", "hold the files with frames of the last `TIME`, as 10m")
	when.bind(cmd, "hold the files with frames from `TIME` on")
	cmd.Flags().StringVar(&iface, "interface", "", "with a time: only files of `NAME`")
	return cmd
}

func newRelease() *cobra.Command {
	o := order{nothing: "no such file was held"}
	var all bool
	var iface string
	cmd := &cobra.Command{
		Use:   "release FILE... | --all",
		Short: "Let limits delete held files again",
		Example: `  capd release eth0-20260102T030405Z-000017.pcapng
  capd release --all --interface eth0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s := control.Selection{Files: absolute(args), All: all, Interface: iface}
			if err := checkSelection(cmd, args, s); err != nil {
				return err
			}
			return o.give(cmd, func(ctx context.Context, c *control.Client) ([]string, error) { return c.Release(ctx, s) })
		},
	}
	o.bind(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "release all held files")
	cmd.Flags().StringVar(&iface, "interface", "", "with --all: only files of `NAME`")
	return cmd
}

// checkSelection refuses what would not be clear.
func checkSelection(cmd *cobra.Command, args []string, s control.Selection) error {
	wide := s.Last != "" || s.All || s.Bounded()
	switch {
	case s.Last != "" && s.Bounded():
		return usageError{fmt.Errorf("%s: --last and --since or --until are two ways to say when", cmd.Name())}
	case len(args) == 0 && !wide:
		return usageError{fmt.Errorf("%s: which files? None is named", cmd.Name())}
	case len(args) > 0 && wide:
		return usageError{fmt.Errorf("%s: files are named, and a time or --all says others", cmd.Name())}
	case len(args) > 0 && s.Interface != "":
		return usageError{fmt.Errorf("%s: --interface does not go with files", cmd.Name())}
	}
	return nil
}

// absolute spells paths as the daemon understands them, which is in another
// directory. A bare name may be of any directory that it records into.
func absolute(paths []string) []string {
	var all []string
	for _, p := range paths {
		if filepath.Base(p) != p {
			if abs, err := filepath.Abs(p); err == nil {
				p = abs
			}
		}
		all = append(all, p)
	}
	return all
}
