package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/internal/setup"
	"capd/internal/text"

	"github.com/spf13/cobra"
)

// The flag --take-over, and its value without one: the capd that is found.
const (
	takeOverFlag = "take-over"
	takeOverAny  = "auto"
)

// A takeOver is the flag that says which capd to take over from.
type takeOver struct{ socket string }

func (t *takeOver) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.socket, takeOverFlag, "", "go on with the recording of the running capd, which ends: the one of this configuration, or that on `SOCKET`")
	cmd.Flags().Lookup(takeOverFlag).NoOptDefVal = takeOverAny
}

// client returns what finds that capd; nil without the flag.
func (t *takeOver) client() func(*config.Config) (*control.Client, error) {
	switch t.socket {
	case "":
		return nil
	case takeOverAny:
		return func(cfg *config.Config) (*control.Client, error) {
			f := control.Finder{Socket: cfg.Control.Socket}
			if f.Socket == config.ControlAuto {
				f.Socket = ""
			}
			c, err := f.Client()
			if errors.As(err, new(*control.AmbiguousError)) {
				err = fmt.Errorf("%w: say which: --%s=SOCKET", err, takeOverFlag)
			}
			return c, err
		}
	}
	return func(*config.Config) (*control.Client, error) { return control.NewClient(t.socket), nil }
}

// try returns an error if run would not accept the arguments or the configuration.
func (s *settings) try(cmd *cobra.Command) error {
	cfg, err := s.load(cmd)
	if err == nil && len(cfg.Interfaces) == 0 {
		err = setup.ErrNoInterfaces
	}
	return err
}

// started is how the program was started.
var started, _ = os.Executable()

// again returns the program, as it is found now by the name that it was started by, and its arguments; none if it can't be
// found.
func again() []string {
	program := started
	if named, err := exec.LookPath(os.Args[0]); err == nil && same(named, program) {
		program = named // it may be a link, which will point to another program
	}
	if program, err := filepath.Abs(program); err == nil {
		return append([]string{program}, os.Args[1:]...)
	}
	return nil
}

// same reports whether two paths lead to one file.
func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// upgradeTimeout is how long capd upgrade waits for the new program to answer.
const upgradeTimeout = time.Minute

func newUpgrade() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Make a running capd go on as its new program, without losing a frame",
		Long: `Make a running capd finish its files and go on as its program as it is now, in the
same process, with the arguments that it was started with: call it after the program
was replaced, or to restart. The new program reads the rings that the old one has
left, so that no frame is lost. First it must accept arguments and configuration;
otherwise nothing changes.

Only the user of that capd and root may do that. A capd that systemd runs is upgraded
by systemctl restart.`,
		Example: `  install -m 755 capd.new /usr/local/bin/capd && capd upgrade`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Upgrade(cmd.Context()); err != nil {
				return err
			}
			status, err := answers(cmd.Context(), c)
			if err != nil {
				return fmt.Errorf("the new program does not answer: see the log of capd: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s goes on as process %d\n", text.Name(status.Software), status.PID)
			return err
		},
	}
	t.bind(cmd)
	return cmd
}

// answers waits until the capd answers.
func answers(ctx context.Context, c *control.Client) (status *control.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, upgradeTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if status, err = c.Status(ctx, ""); err == nil {
			return status, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}
