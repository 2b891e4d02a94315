package main

import (
	"context"
	"errors"
	"fmt"

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
