package main

import (
	"context"
	"errors"
	"io"
	"os"

	"capd/internal/control"
	"capd/internal/top"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newTop() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show and control a running capd on a terminal",
		Long: `Show on a terminal a row for each interface, once a second: its state, its rate
and losses now and over the last minute, how full ring and memory are, how long
writes take, and how far back the files will reach. Below are all details of the
selected interface.

Keys: s sorts by name, rate or loss; arrows or j and k select; r begins a new file
of the selected interface; h holds the files of the last 10 minutes; ? explains
the columns; q quits. The terminal must have 80x24 characters or more. top uses
colours unless NO_COLOR is set, and block characters if the locale is UTF-8. If no
capd answers, it says so and tries again.`,
		Example: `  capd top
  ssh -t recorder capd top`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			capd, err := t.finder()
			if err != nil {
				return err
			}
			return show(cmd.Context(), capd, cmd.OutOrStdout())
		},
	}
	t.bind(cmd)
	return cmd
}

func show(ctx context.Context, capd *control.Finder, w io.Writer) error {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return top.ErrTerminal
	}
	// It must be clear which capd to ask. If there is none now, one may start.
	if _, err := capd.Client(); errors.As(err, new(*control.AmbiguousError)) {
		return err
	}
	return top.Run(ctx, capd, f)
}
