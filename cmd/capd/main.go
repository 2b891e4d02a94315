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

	"capd/config"
	"capd/internal/hint"
	"capd/internal/service"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2

	exitUnknown    = 3 // of ledger: nothing is known of what was asked for
	exitIncomplete = 3 // of extract: packets may be missing
	exitNotProven  = 3 // of verify: not all is sealed
	exitTampered   = 4 // of verify: something is not as it was sealed
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
	printError(stderr, cmd, args, err)
	switch {
	case coded != nil:
		return coded.code
	case errors.As(err, new(usageError)):
		return exitUsage
	}
	return exitFailed
}

// printError prints an error and its hints: for people, as a line of a log that is of JSON alone, or as an object for who
// asked for JSON.
func printError(w io.Writer, cmd *cobra.Command, args []string, err error) {
	given := func(name, value string) bool {
		f := cmd.Flags().Lookup(name)
		return f != nil && f.Changed && f.Value.String() == value
	}
	hints := hintsOf(cmd, err)
	switch {
	case errors.As(err, new(*loggedError)), given("log-format", config.LogJSON):
		fmt.Fprint(w, service.Failure(err, hints))
	case given("json", "true"), slices.Contains(args, "--json"): // it may stand behind the flag that is wrong
		_ = json.NewEncoder(w).Encode(errorJSON{err.Error(), hints})
	default:
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(w, "capd: %s\n", strings.TrimSuffix(line, "\n"))
		}
		for _, h := range hints {
			fmt.Fprintf(w, "capd: hint: %s\n", h)
		}
	}
}

// errorJSON is what a command with --json prints on standard error.
type errorJSON struct {
	Error string   `json:"error"`
	Hints []string `json:"hints,omitempty"`
}

// A loggedError ends a run whose standard error has a log of JSON alone.
type loggedError struct{ error }

func (e *loggedError) Unwrap() error { return e.error }

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
	root.AddCommand(newRun(confine), newSalvage(), newCheck(), newCompress(), newExtcap(confine), newExtract(), newFilter(), newFlows(), newIndex(confine != nil), newInterfaces(), newLedger(), newList(), newVersion(), newWeb(),
		newStatus(), newTop(), newRotate(), newReload(), newUpgrade(), newHold(), newRelease(), newSeal(), newVerify(), newWatch(confine != nil))
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
