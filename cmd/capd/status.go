package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"capd/internal/control"
	"capd/internal/text"

	"github.com/spf13/cobra"
)

// A statusQuery is what the flags of status ask for.
type statusQuery struct {
	target
	asJSON, check bool
	looker        string
}

func newStatus() *cobra.Command {
	var q statusQuery
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of a running capd",
		Long: `Print for each interface of a running capd its rates and losses, its files, and
the state of ring, memory and disk. --check prints one line for monitoring instead.

The exit code is 0 if everything is recorded. It is 1 if frames were lost or capd
did not run since the last status, an XDP program may keep frames from capd, an
interface was removed before all its frames were read, an interface is missing, or
limits yield to a step that fails (see keep_until in capd.toml(5)). It is 2 if an
interface is down or can't be opened, its disk fails or is not at its path, or no
capd answers. "Since the last status" is counted for each user and each --looker
alone.`,
		Example: `  capd status
  capd status --check --looker nagios
  capd status --json | jq '.interfaces[] | {interface, state, rates}'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.asJSON && q.check {
				return usageError{errors.New("status: --json and --check are two ways to print")}
			}
			return q.answer(cmd.Context(), cmd.OutOrStdout())
		},
	}
	q.bind(cmd)
	cmd.Flags().BoolVar(&q.asJSON, "json", false, "print the JSON object of docs/control.md")
	cmd.Flags().BoolVar(&q.check, "check", false, "print one line, as plugins of Nagios do")
	cmd.Flags().StringVar(&q.looker, "looker", "", "count losses since the last status of `NAME` (default: of this user)")
	return cmd
}

func (q *statusQuery) answer(ctx context.Context, w io.Writer) error {
	s, err := q.ask(ctx)
	switch {
	case err != nil && q.check:
		fmt.Fprintf(w, "CAPD %s - %s\n", control.Critical, oneLine(err.Error()))
		return &codedError{int(control.Critical), nil}
	case err != nil:
		return &codedError{int(control.Critical), err}
	}
	level, wrong := s.Judge()
	switch {
	case q.check:
		_, err = fmt.Fprintln(w, checkLine(s, level, wrong))
	case q.asJSON:
		err = printJSON(w, s)
	default:
		err = printStatus(w, s, wrong)
	}
	if err != nil || level == control.OK {
		return err
	}
	return &codedError{int(level), nil}
}

func (q *statusQuery) ask(ctx context.Context) (*control.Status, error) {
	c, err := q.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	looker := q.looker
	if looker == "" {
		looker = fmt.Sprintf("%d check=%t", os.Geteuid(), q.check)
	}
	return c.Status(ctx, looker)
}

func oneLine(s string) string { return strings.NewReplacer("\n", "; ", "|", "/").Replace(s) }

// checkLine is what a plugin of Nagios prints: a word, why, and numbers.
func checkLine(s *control.Status, level control.Level, wrong []string) string {
	why := fmt.Sprintf("%s recorded, nothing lost", text.Count(len(s.Interfaces), "interface"))
	if len(wrong) > 0 {
		why = strings.Join(wrong, "; ")
	}
	var numbers []string
	for i := range s.Interfaces {
		in := &s.Interfaces[i]
		label := func(what string) string {
			return "'" + strings.NewReplacer("'", "''", "=", "_").Replace(oneLine(in.Name+" "+what)) + "'"
		}
		numbers = append(numbers,
			fmt.Sprintf("%s=%dc", label("packets"), in.Received), fmt.Sprintf("%s=%dc", label("lost"), in.Lost()),
			fmt.Sprintf("%s=%.0f%%;;;0;100", label("ring"), 100*in.Ring.Now), fmt.Sprintf("%s=%.0f%%;;;0;100", label("pool"), 100*in.Pool.Now))
	}
	return fmt.Sprintf("CAPD %s - %s | %s", level, oneLine(why), strings.Join(numbers, " "))
}

func printStatus(w io.Writer, s *control.Status, wrong []string) error {
	fmt.Fprintf(w, "%s, process %d, up %s%s\n\n", s.Software, s.PID, text.Duration(s.Time.Sub(s.Start)), restartText(&s.Restart))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "INTERFACE\tSTATE\tPACKETS/S\tBIT/S\tLOST\tRING\tPOOL\tWRITES\tREACH")
	for i := range s.Interfaces {
		in := &s.Interfaces[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", text.Name(in.Name), in.State, text.Metric(in.Rates.Second.Packets),
			text.Metric(8*in.Rates.Second.Bytes), in.Lost(), text.Percent(in.Ring.Now), text.Percent(in.Pool.Now), text.Latency(in.Writes.Recent().P99), in.Kept.Reaches(text.Duration))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range s.Interfaces {
		printInterface(w, s.Time, &s.Interfaces[i])
	}
	for _, d := range s.Directories {
		fmt.Fprintf(w, "\n%s: %s, %s, %d held; %s deleted by limits", text.Name(d.Path), text.Count(d.Files, "file"),
			text.Size(d.Bytes), d.Held, text.Count(d.Deleted, "file"))
		for _, wait := range d.Waiting {
			fmt.Fprintf(w, "; %d wait for %s", wait.Files, wait.Step)
		}
		if d.Total > 0 {
			fmt.Fprintf(w, "; %s of %s", text.Size(d.Free), text.Size(d.Total))
			if d.Inodes > 0 {
				fmt.Fprintf(w, " and %d of %d inodes", d.FreeInodes, d.Inodes)
			}
			fmt.Fprint(w, " free")
		}
	}
	fmt.Fprintln(w)
	for i := range s.Directories {
		if d := &s.Directories[i]; d.Holds.Warning() != "" {
			fmt.Fprintf(w, "%s: %s\n", text.Name(d.Path), d.Holds.Warning())
		}
	}
	for _, what := range wrong {
		fmt.Fprintln(w, "!", what)
	}
	return nil
}

// restartText says what a restart costs, in a line of its own; nothing if the capd that was asked does not say it.
func restartText(r *control.Restart) string {
	switch r.Loses {
	case control.Nothing:
		return "\na restart loses no frame"
	case control.Frames:
		return "\na restart loses frames: " + r.Why
	case control.Unknown:
		return "\nit is not known whether a restart loses frames: " + r.Why
	}
	return ""
}

func printInterface(w io.Writer, now time.Time, in *control.Interface) {
	fmt.Fprintf(w, "\n%s: %s since %s (%s)\n", text.Name(in.Name), in.State, text.Time(in.Since), text.Duration(now.Sub(in.Since)))
	line := func(what, format string, args ...any) {
		fmt.Fprintf(w, "  %-10s", what)
		fmt.Fprintf(w, format+"\n", args...)
	}
	if len(in.Others) > 0 {
		line("also", "%s", nameList(in.Others))
	}
	for _, f := range in.Files {
		line("file", "%s", text.Name(f))
	}
	if in.Filter != "" {
		line("filter", "%q: how much it leaves out is unknown; received are frames that pass", in.Filter)
	}
	line("frames", "%d received, %d written, %d on their way; %s", in.Received, in.Written, in.Pending, text.Size(in.Bytes))
	line("lost", "%d by the kernel, %d by capd, %d by the interface; last: %s",
		in.KernelDropped, in.CapdDropped, in.NICDropped, text.Ago(now, in.LastLoss))
	if !in.Unread.IsZero() {
		line("lost too", "? with the interface, which was removed before all frames were read; last: %s", text.Ago(now, in.Unread))
	}
	if in.NICDiscarded > 0 {
		line("no loss", "%d that the interface's statistics call dropped: they may be recorded all the same", in.NICDiscarded)
	}
	if in.Truncated > 0 {
		line("cut", "%d, of these %d too large for any snaplen", in.Truncated, in.Oversized)
	}
	if in.XDP != "" {
		line("XDP", "%s: frames that it takes do not reach capd", in.XDP)
	}
	r := &in.Rates
	line("packets/s", "%s now, %s over a minute, %s since the start", text.Metric(r.Second.Packets), text.Metric(r.Minute.Packets), text.Metric(r.Start.Packets))
	line("bit/s", "%s now, %s over a minute, %s since the start", text.Metric(8*r.Second.Bytes), text.Metric(8*r.Minute.Bytes), text.Metric(8*r.Start.Bytes))
	line("lost/s", "%s now, %s over a minute, %s since the start", text.Metric(r.Second.Lost), text.Metric(r.Minute.Lost), text.Metric(r.Start.Lost))
	line("ring", "%s full, at most %s, of %s; full %s", text.Percent(in.Ring.Now), text.Percent(in.Ring.High), text.Size(in.Ring.Size), text.Count(in.Freezes, "time"))
	line("pool", "%s full, at most %s, of %s; waited %s", text.Percent(in.Pool.Now), text.Percent(in.Pool.High), text.Size(in.Pool.Size), text.Count(in.Waits, "time"))
	line("writes", "%s", latencyText(&in.Writes))
	line("syncs", "%s", latencyText(&in.Syncs))
	line("finished", "%s, %s, %d failed", text.Count(in.Finished, "file"), text.Size(in.FileBytes), in.Failures)
	k := &in.Kept
	line("kept", "%s, %s, %d held; from %s", text.Count(k.Files, "file"), text.Size(k.Bytes), k.Held, text.Time(k.Oldest))
	forecast := k.Forecast()
	if k.Rate > 0 {
		forecast += ", as they grow by " + text.Size(k.Rate) + "/s"
	}
	line("forecast", "%s", forecast)
}

func latencyText(l *control.Latency) string {
	return fmt.Sprintf("median %s, p99 %s, at most %s (%d); in the last minute %s, %s (%d)", text.Latency(l.Median), text.Latency(l.P99), text.Latency(l.Max), l.Count,
		text.Latency(l.Minute.Median), text.Latency(l.Minute.P99), l.Minute.Count)
}
