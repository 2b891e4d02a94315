// Command capd records every frame of network interfaces into rotated capture
// files.
package main

import (
	"capd/capture"
	"capd/config"
	"capd/filter"
	"capd/internal/control"
	"capd/internal/daemon"
	"capd/internal/sandbox"
	"capd/internal/selftest"
	"capd/internal/top"
	"capd/pcap"
	"capd/store"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr, confine))
}

// run is the whole program: it prints what went wrong and returns the exit
// code. It is not confined without a confiner.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, confine confiner) int {
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

func newRoot(confine confiner) *cobra.Command {
	root := &cobra.Command{
		Use:   "capd",
		Short: "Record every frame of network interfaces into rotated capture files",
		Long: `capd records every frame of the interfaces it is told to watch into pcap or
pcapng files, rotates them by size and time, and counts every loss.`,
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
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{plainly(err)} })
	root.AddCommand(newRun(confine), newSalvage(), newCheck(), newCompress(), newFilter(), newInterfaces(), newLedger(), newList(), newVersion(),
		newStatus(), newTop(), newRotate(), newReload(), newHold(), newRelease(), newWatch())
	root.SetHelpCommand(newHelp(root))
	addVersionFlag(root)
	return root
}

// noArgs refuses arguments as a mistake of usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s: unexpected argument %q", strings.TrimPrefix(cmd.CommandPath(), "capd "), args[0])}
	}
	return nil
}

// hinted is an error that says itself what to do about it.
type hinted interface {
	error
	hints() []string
}

// hints says what to do about an error, a line each.
func hints(err error) []string {
	var missing *daemon.MissingError
	var own hinted
	switch {
	case errors.Is(err, capture.ErrPermission) && runtime.GOOS != "linux":
		return []string{"sudo capd run ..., or access to /dev/bpf* for the user"}
	case errors.Is(err, capture.ErrPermission):
		return []string{
			"recording needs the capability CAP_NET_RAW. Any one of these gives it:",
			"  sudo capd run ...",
			"  sudo setcap cap_net_raw+ep /path/to/capd",
			"  AmbientCapabilities=CAP_NET_RAW in a systemd unit with User=",
		}
	case errors.As(err, &own):
		return own.hints()
	case errors.As(err, &missing):
		return []string{
			"there are: " + strings.Join(append(missing.There, everything()...), ", "),
			"--wait, or wait = true in the configuration, waits for one that comes later",
		}
	case errors.Is(err, capture.ErrLinkType), errors.Is(err, pcap.ErrLinkType):
		return []string{"capd interfaces lists the link types of each interface"}
	case errors.Is(err, capture.ErrNoInterface):
		return []string{"capd interfaces lists what can be recorded"}
	case errors.Is(err, selftest.ErrNoLoopback):
		return []string{"ip link set lo up, or ifconfig lo0 127.0.0.1 up, brings it up"}
	case errors.Is(err, daemon.ErrNoInterfaces):
		return []string{"name one with -i; capd interfaces lists them", "or in an [[interface]] of " + defaultConfig + ", or of the file that -c names"}
	case errors.Is(err, store.ErrInUse):
		return []string{"two recorders need two directories"}
	case errors.Is(err, top.ErrTerminal):
		return []string{"capd status prints the same once, and ssh -t gives a terminal"}
	case errors.Is(err, errNoCapd):
		return []string{
			"start one with capd run, or name its socket with --socket PATH (control.socket in capd.toml)",
			"one that another user started by hand is found in this way only: its log says where its socket is",
		}
	case errors.As(err, new(*ambiguousError)):
		return ambiguous(err)
	case errors.As(err, new(*control.UnreachableError)):
		return unreachable(err)
	case errors.Is(err, control.ErrInUse):
		return []string{"two capds need two sockets: control.socket in capd.toml; \"auto\" finds a free one"}
	case errors.As(err, new(*filter.SyntaxError)):
		return []string{"docs/filters.md and pcap-filter(7) have the language; quote what the shell would take"}
	case errors.Is(err, sandbox.ErrUnsupported):
		return []string{`sandbox = "auto" does without what the system lacks`}
	case errors.As(err, new(config.Errors)):
		return []string{"capd.toml(5) and capd.toml.example have every key with its unit and default"}
	}
	return directoryHints(err)
}

// everything is what stands for all interfaces, where there is such.
func everything() []string {
	if runtime.GOOS == "linux" {
		return []string{capture.Any}
	}
	return nil
}

// hintsOf says what to do about the error of a command.
func hintsOf(cmd *cobra.Command, err error) []string {
	if errors.As(err, new(usageError)) {
		if cmd.Name() == "help" {
			cmd = cmd.Root()
		}
		return []string{"see " + cmd.CommandPath() + " --help"}
	}
	return hints(err)
}

// directoryHints says what to do about a directory that can't be recorded into.
func directoryHints(err error) []string {
	var path *fs.PathError
	switch {
	case errors.Is(err, syscall.EROFS):
		return []string{"the file system is mounted read-only"}
	case strings.HasPrefix(err.Error(), "log.file"):
		return []string{fmt.Sprintf("this is user %d: it must be able to write the file, and to make files beside it", os.Geteuid())}
	case errors.Is(err, syscall.ENOTDIR):
		return []string{"-d and directory = name a directory, not a file"}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return []string{"the file system, or your share of it, is full"}
	case errors.Is(err, fs.ErrPermission):
		return []string{fmt.Sprintf("this is user %d: the directory must be writable for it", os.Geteuid())}
	case errors.As(err, &path) && path.Op == "mkdir" && errors.Is(err, fs.ErrNotExist):
		return []string{"create the directory above it first: capd makes only the last one of a path"}
	}
	return nil
}
