// Command capd records every frame of network interfaces into rotated capture
// files.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"capd/internal/hint"
	"capd/internal/service"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2

	exitUnknown = 3 // of ledger: nothing is known of what was asked for
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr, service.Confine))
}

// run is the whole program: it prints what went wrong and returns the exit
// code. Without a Confiner it gives up nothing.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, confine service.Confiner) int {
	root := newRoot(confine)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	strictCompletion(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitFine
	}
	if errors.Is(err, errReported) {
		return exitFailed
	}
	var coded *codedError
	if errors.As(err, &coded) {
		if err = coded.err; err == nil {
			return coded.code
		}
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "capd: %s\n", strings.TrimSuffix(line, "\n"))
	}
	for _, h := range hintsOf(cmd, err) {
		fmt.Fprintf(stderr, "capd: hint: %s\n", h)
	}
	switch {
	case coded != nil:
		return coded.code
	case errors.As(err, new(usageError)):
		return exitUsage
	}
	return exitFailed
}

// errReported is returned by a command that has printed what is wrong.
var errReported = errors.New("reported")

// A codedError is returned by a command whose exit code says more. Without err
// the command has printed all.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return fmt.Sprintf("exit code %d: %v", e.code, e.err) }

// A usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func newRoot(confine service.Confiner) *cobra.Command {
	root := &cobra.Command{
		Use:   "capd",
		Short: "Record every frame of network interfaces into rotated capture files",
		Long: `capd records every frame of network interfaces into pcap or pcapng files,
rotates them by size and time, and counts every loss.`,
		Example: `  capd run -i eth0 -d /var/lib/capd
  capd run -c /etc/capd/capd.toml
  capd check -c /etc/capd/capd.toml`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newRun(confine), newSalvage(), newCheck(), newCompress(), newFilter(), newInterfaces(), newLedger(), newList(), newVersion(),
		newStatus(), newTop(), newRotate(), newReload(), newHold(), newRelease(), newWatch())
	root.SetHelpCommand(newHelp(root))
	addVersionFlag(root)
	complete(root)
	return root
}

// noArgs refuses arguments as a mistake of usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s: unexpected argument %q", strings.TrimPrefix(cmd.CommandPath(), "capd "), args[0])}
	}
	return nil
}

// hintsOf says what to do about the error of a command, a line each.
func hintsOf(cmd *cobra.Command, err error) []string {
	if errors.As(err, new(usageError)) {
		if cmd.Name() == "help" {
			cmd = cmd.Root()
		}
		return append(slices.Clone(hint.Of(err)), "see "+cmd.CommandPath()+" --help")
	}
	return hint.Of(err)
}

// printJSON prints a value for programs.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
