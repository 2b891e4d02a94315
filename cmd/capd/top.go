package main

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"capd/internal/control"
	"capd/internal/top"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newTop() *cobra.Command {
	var s seeker
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show on a terminal how a running capd does, and give it orders",
		Long: `Show on a terminal, anew each second, a row for each interface: its state, its
rate and losses now and over the last minute, how full ring and memory are, how
long writes take, and how far back files will reach. Below are all details of
the selected one.

Keys: s sorts by name, rate or loss; arrows or j and k select; r rotates the
selected interface; h holds the files of the last 10 minutes; ? explains; q
quits. It takes 80x24 characters or more, colours unless NO_COLOR is set, and
blocks where the locale is UTF-8. While no capd answers it says so, and goes on
asking.`,
		Example: `  capd top
  ssh -t recorder capd top`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.show(cmd.Context(), cmd.OutOrStdout()) },
	}
	s.bind(cmd)
	return cmd
}

// A seeker asks the capd that runs here, which may be another one each time.
type seeker struct {
	asker
	mu    sync.Mutex
	found *control.Client // nil: it is to be found
}

func (s *seeker) show(ctx context.Context, w io.Writer) error {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return top.ErrTerminal
	}
	// Whom to ask must be clear. That nobody is there may change.
	if _, err := s.current(); errors.As(err, new(*ambiguousError)) {
		return err
	}
	return top.Run(ctx, s, f)
}

// current returns the client of the one that answered last, or finds one.
func (s *seeker) current() (*control.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found != nil {
		return s.found, nil
	}
	var err error
	s.found, err = s.client()
	return s.found, err
}

// ask asks, and looks for another capd the next time if none answers.
func (s *seeker) ask(do func(*control.Client) error) error {
	c, err := s.current()
	if err != nil {
		return err
	}
	err = do(c)
	if errors.As(err, new(*control.UnreachableError)) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.found == c {
			s.found = nil
		}
		c.Close()
	}
	return err
}

// Status is for top.Capd.
func (s *seeker) Status(ctx context.Context, looker string) (status *control.Status, err error) {
	err = s.ask(func(c *control.Client) error {
		status, err = c.Status(ctx, looker)
		return err
	})
	return status, err
}

// Rotate is for top.Capd.
func (s *seeker) Rotate(ctx context.Context, iface string) (files []string, err error) {
	err = s.ask(func(c *control.Client) error {
		files, err = c.Rotate(ctx, iface)
		return err
	})
	return files, err
}

// Hold is for top.Capd.
func (s *seeker) Hold(ctx context.Context, which control.Selection) (files []string, err error) {
	err = s.ask(func(c *control.Client) error {
		files, err = c.Hold(ctx, which)
		return err
	})
	return files, err
}
