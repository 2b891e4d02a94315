package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"capd/internal/check"
	"capd/internal/daemon"
	"capd/internal/service"
	"capd/internal/text"

	"github.com/spf13/cobra"
)

func newCheck() *cobra.Command {
	var s settings
	var asJSON, selfTest bool
	cmd := &cobra.Command{
		Use:   "check [-c FILE] [-i NAME]... [-d DIR] [EXPRESSION]",
		Short: "Test everything that run needs, without recording",
		Long: `Test whether the configuration works: its keys and values, the directories, the
interfaces and the permissions. check opens the interfaces as run does, with
their filter, direction, link type and fanout. Each line is ok, warn or fail; the
exit code is 1 if one is fail. --json prints an array of objects with level,
subject, text and, if there is one, hint.

With --self-test, test instead whether capturing works on this system: capd sends
datagrams to itself over loopback for two seconds, captures them, and compares
every byte and the counters. This needs the same privilege as recording.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.arguments(cmd, args); err != nil {
				return err
			}
			if selfTest && (len(args) > 0 || len(s.interfaces) > 0 || s.file != "") {
				return usageError{errors.New("check: --self-test uses loopback only: it takes no -i, -c or EXPRESSION")}
			}
			c := &check.Checker{Memory: daemon.Memory, Policy: daemon.Policy, Timers: service.RelaxTimers}
			if len(s.interfaces) == 0 {
				c.Rings = daemon.Rings
			}
			if selfTest {
				c.SelfTest(cmd.Context())
			} else if cfg, err := s.load(cmd); err != nil {
				c.Refuse("configuration", err)
			} else {
				c.Check(cfg)
			}
			var err error
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), c.Findings)
			} else {
				err = printFindings(cmd.OutOrStdout(), c.Findings)
			}
			if err == nil && c.Failed() {
				return errReported
			}
			return err
		},
	}
	s.bind(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.Flags().BoolVar(&selfTest, "self-test", false, "send datagrams over loopback, capture them and compare them")
	return cmd
}

func printFindings(w io.Writer, all []check.Finding) error {
	for _, f := range all {
		if _, err := fmt.Fprintf(w, "%-5s %s: %s\n", f.Level, text.Name(f.Subject), f.Text); err != nil {
			return err
		}
		for line := range strings.Lines(f.Hint) {
			fmt.Fprintf(w, "      hint: %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	return nil
}
