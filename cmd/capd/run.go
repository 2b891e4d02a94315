package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"capd/config"
	"capd/internal/daemon"
	"capd/internal/finish"
	"capd/internal/service"
	"capd/internal/terminal"
	"capd/internal/text"

	"github.com/spf13/cobra"
)

func newRun(confine service.Confiner) *cobra.Command {
	var s settings
	var count uint64
	var duration config.Duration
	var takeover takeOver
	var try bool
	cmd := &cobra.Command{
		Use:   "run [-c FILE] [-i NAME]... [-d DIR] [EXPRESSION]",
		Short: "Record until a signal stops it",
		Long: `Record the interfaces into rotated files until SIGINT or SIGTERM. Then finish the
files and print how many packets were received, written and lost. A second signal
ends capd at once, and files stay NAME.partial. SIGUSR1 begins new files now.
SIGHUP reads the configuration file again; with -i, which uses none, it ends capd.

With --take-over another running capd leaves its rings, and this one goes on to
record from them: no frame is lost. capd upgrade does the same in the running
process.

The EXPRESSION is a filter in the language of pcap-filter(7), as for tcpdump: only
frames that match are recorded.`,
		SuggestFor: []string{"capture", "dump", "record", "start"},
		Example: `  capd run -i eth0 -d .                            # until Ctrl-C
  capd run -i eth0 -d . --rotate-size 100MiB --keep 20 --compress
  capd run -i 'eth*' -d /data --rotate-size 100MiB --rotate-interval 10m
  capd run -i eth0 -d . not port 22
  capd run -i any -d /tmp/x --count 1000 --duration 30s`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.arguments(cmd, args); err != nil {
				return err
			}
			if duration < 0 {
				return usageError{fmt.Errorf("invalid argument %q for \"--duration\" flag: must not be negative", duration)}
			}
			if try {
				return s.try(cmd)
			}
			screen := terminal.NewScreen(cmd.ErrOrStderr())
			log := config.Log{Format: s.log.format} // until a configuration says more
			read := false
			load := func() (*config.Config, error) {
				cfg, err := s.load(cmd)
				if cfg != nil && !read {
					log, read = cfg.Log, true
				}
				return cfg, err
			}
			err := service.Run(cmd.Context(), service.Options{
				Load:    load,
				File:    s.file,
				Fixed:   len(s.interfaces) > 0,
				Daemon:  daemon.Options{Application: "capd " + version(), Count: count, Duration: time.Duration(duration), Self: self()},
				Confine: confine,
				Screen:  screen,
				Line:    statusLine,
				Summary: summary,
				Totals:  totals,

				Command:  again(),
				TakeOver: takeover.client(),
			})
			if err != nil && service.OnlyJSON(log, screen) {
				return &loggedError{err}
			}
			return err
		},
	}
	s.bind(cmd)
	cmd.Flags().Uint64Var(&count, "count", 0, "stop after `N` frames; 0: never")
	cmd.Flags().Var(&duration, "duration", "stop after `TIME`, as 90s or 7d; 0: never")
	takeover.bind(cmd)
	cmd.Flags().BoolVar(&try, strings.TrimPrefix(service.TryFlag, "--"), false, "check arguments and configuration, and end")
	_ = cmd.Flags().MarkHidden(strings.TrimPrefix(service.TryFlag, "--"))
	return cmd
}

// compressVerb is the hidden command that compresses a file or makes its flow table, in a
// process of its own. The name stays: after an upgrade, a process of an older version may call it.
const compressVerb = "compress-one"

// self returns the command that runs compressVerb; none where the program can't
// be found.
func self() []string {
	path, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{path, compressVerb}
}

func newCompress() *cobra.Command {
	return &cobra.Command{
		Use:    compressVerb,
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return finish.Main(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// statusLine is one line on how it goes. It is ASCII: names in it are escaped.
func statusLine(all []daemon.Status) string {
	t := daemon.Sum(all)
	line := fmt.Sprintf("%d packets, %s, %d dropped", t.Received, text.Size(t.Bytes), t.KernelDropped+t.Dropped)
	var files, others []string
	for _, s := range all {
		if s.State != daemon.Recording && s.State != daemon.Ended {
			others = append(others, fmt.Sprintf("%q %s", s.Interface, s.State))
		} else if s.Writer.File != "" {
			files = append(files, filepath.Base(s.Writer.File))
		}
	}
	for _, more := range [][]string{others, files} {
		if len(more) > 0 {
			line += ", " + strings.Join(more, " ")
		}
	}
	return line
}

// summary is the counts at the end, each apart, as tcpdump prints them.
func summary(all []daemon.Status, took time.Duration) string {
	t := daemon.Sum(all)
	var b strings.Builder
	fmt.Fprintf(&b, "%d packets received\n", t.Received)
	fmt.Fprintf(&b, "%d packets written to %s, %s, in %s\n", t.Written, text.Count(t.Writer.Files, "file"),
		text.Size(t.Writer.FileBytes), took.Round(time.Second/10))
	fmt.Fprintf(&b, "%d packets dropped by the kernel\n", t.KernelDropped)
	fmt.Fprintf(&b, "%d packets dropped by capd\n", t.Dropped)
	if slices.ContainsFunc(all, func(s daemon.Status) bool { return s.Filter != "" }) {
		b.WriteString("an unknown number of packets filtered: received are those that passed\n")
	}
	if t.NICDropped > 0 {
		fmt.Fprintf(&b, "%d packets dropped by the interface\n", t.NICDropped)
	}
	if n := t.Writer.Truncated - t.Writer.Oversized; n > 0 {
		fmt.Fprintf(&b, "%d packets cut by the snaplen\n", n)
	}
	if t.Writer.Oversized > 0 {
		fmt.Fprintf(&b, "%d packets cut, as they were too large to be kept whole\n", t.Writer.Oversized)
	}
	if len(all) > 1 {
		for _, i := range all {
			fmt.Fprintf(&b, "%s: %d received, %d written, %d dropped by the kernel, %d dropped by capd\n",
				text.Name(i.Interface), i.Received, i.Written, i.KernelDropped, i.Dropped)
		}
	}
	return b.String()
}

// totals are the counts of summary, for a log that programs read.
func totals(all []daemon.Status, took time.Duration) []any {
	t := daemon.Sum(all)
	args := []any{
		"received", t.Received, "written", t.Written, "files", t.Writer.Files, "file_bytes", t.Writer.FileBytes, "seconds", took.Seconds(),
		"kernel_dropped", t.KernelDropped, "capd_dropped", t.Dropped, "nic_dropped", t.NICDropped, "truncated", t.Writer.Truncated,
		"filtered", slices.ContainsFunc(all, func(s daemon.Status) bool { return s.Filter != "" }),
	}
	var each []any
	for _, i := range all {
		each = append(each, slog.Group(i.Interface, "received", i.Received, "written", i.Written, "kernel_dropped", i.KernelDropped, "capd_dropped", i.Dropped))
	}
	return append(args, slog.Group("interfaces", each...))
}
