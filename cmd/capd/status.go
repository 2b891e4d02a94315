package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"capd/internal/control"

	"github.com/spf13/cobra"
)

// A statusQuery is what the flags of status ask for.
type statusQuery struct {
	asker
	asJSON, check bool
	looker        string
}

func newStatus() *cobra.Command {
	var q statusQuery
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how a running capd does",
		Long: `Print for each interface what a running capd records, loses, keeps, and how its
ring, memory and disk do. --check prints one line for monitoring instead.

The exit code is 0 if everything is recorded; 1 if frames were lost since the
last look, an interface is waited for, or limits yield to a step that fails (see
keep_until in capd.toml(5)); 2 if an interface is down, its disk fails, or no
capd answers. Each user's looks, and each --looker's, count apart.`,
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
	cmd.Flags().BoolVar(&q.check, "check", false, "print a line as plugins of Nagios do")
	cmd.Flags().StringVar(&q.looker, "looker", "", "count losses since `NAME` looked last (default: since this user did)")
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
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		err = enc.Encode(s)
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
	why := fmt.Sprintf("%s recorded, nothing lost", plural(uint64(len(s.Interfaces)), "interface"))
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
	fmt.Fprintf(w, "%s, process %d, up %s\n\n", s.Software, s.PID, lasting(s.Time.Sub(s.Start)))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "INTERFACE\tSTATE\tPACKETS/S\tBIT/S\tLOST\tRING\tPOOL\tWRITES\tREACH")
	for i := range s.Interfaces {
		in := &s.Interfaces[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", quoted(in.Name), in.State, metric(in.Rates.Second.Packets),
			metric(8*in.Rates.Second.Bytes), in.Lost(), percent(in.Ring.Now), percent(in.Pool.Now), took(recent(&in.Writes).P99), reach(&in.Kept))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range s.Interfaces {
		printInterface(w, s.Time, &s.Interfaces[i])
	}
	for _, d := range s.Directories {
		fmt.Fprintf(w, "\n%s: %s, %s, %d held; %s deleted by limits", quoted(d.Path), plural(uint64(d.Files), "file"),
			bytesText(uint64(d.Bytes)), d.Held, plural(d.Deleted, "file"))
		for _, wait := range d.Waiting {
			fmt.Fprintf(w, "; %d wait for %s", wait.Files, wait.Step)
		}
		if d.Total > 0 {
			fmt.Fprintf(w, "; %s of %s free", bytesText(d.Free), bytesText(d.Total))
		}
	}
	fmt.Fprintln(w)
	for _, what := range wrong {
		fmt.Fprintln(w, "!", what)
	}
	return nil
}

func printInterface(w io.Writer, now time.Time, in *control.Interface) {
	fmt.Fprintf(w, "\n%s: %s since %s (%s)\n", quoted(in.Name), in.State, clock(in.Since), lasting(now.Sub(in.Since)))
	line := func(what, format string, args ...any) {
		fmt.Fprintf(w, "  %-10s", what)
		fmt.Fprintf(w, format+"\n", args...)
	}
	for _, f := range in.Files {
		line("file", "%s", quoted(f))
	}
	if in.Filter != "" {
		line("filter", "%q: how much it leaves out is unknown; received are frames that pass", in.Filter)
	}
	line("frames", "%d received, %d written, %d on their way; %s", in.Received, in.Written, in.Pending, bytesText(in.Bytes))
	line("lost", "%d by the kernel, %d by capd, %d by the interface; last: %s",
		in.KernelDropped, in.CapdDropped, in.NICDropped, ago(now, in.LastLoss))
	r := &in.Rates
	line("packets/s", "%s now, %s over a minute, %s since the start", metric(r.Second.Packets), metric(r.Minute.Packets), metric(r.Start.Packets))
	line("bit/s", "%s now, %s over a minute, %s since the start", metric(8*r.Second.Bytes), metric(8*r.Minute.Bytes), metric(8*r.Start.Bytes))
	line("lost/s", "%s now, %s over a minute, %s since the start", metric(r.Second.Lost), metric(r.Minute.Lost), metric(r.Start.Lost))
	line("ring", "%s full, at most %s, of %s; full %s", percent(in.Ring.Now), percent(in.Ring.High), bytesText(uint64(in.Ring.Size)), plural(in.Freezes, "time"))
	line("pool", "%s full, at most %s, of %s; waited %s", percent(in.Pool.Now), percent(in.Pool.High), bytesText(uint64(in.Pool.Size)), plural(in.Waits, "time"))
	line("writes", "%s", latencyText(&in.Writes))
	line("syncs", "%s", latencyText(&in.Syncs))
	line("finished", "%s, %s, %d failed", plural(in.Finished, "file"), bytesText(uint64(in.FileBytes)), in.Failures)
	k := &in.Kept
	line("kept", "%s, %s, %d held; from %s", plural(uint64(k.Files), "file"), bytesText(uint64(k.Bytes)), k.Held, clock(k.Oldest))
	line("forecast", "%s", forecast(k))
}

func latencyText(l *control.Latency) string {
	return fmt.Sprintf("median %s, p99 %s, at most %s (%d); in the last minute %s, %s (%d)", took(l.Median), took(l.P99), took(l.Max), l.Count,
		took(l.Minute.Median), took(l.Minute.P99), l.Minute.Count)
}

// recent is the last minute, or all when nothing was done in it.
func recent(l *control.Latency) control.Summary {
	if l.Minute.Count > 0 {
		return l.Minute
	}
	return l.Summary
}

func forecast(k *control.Kept) string {
	if k.Limit == "" {
		return fmt.Sprintf("grows by %s/s; no limit", bytesText(uint64(k.Rate)))
	}
	return fmt.Sprintf("files reach back %s at %s/s (limit: %s)", reach(k), bytesText(uint64(k.Rate)), k.Limit)
}

func reach(k *control.Kept) string {
	if k.Limit == "" {
		return "-"
	}
	return lasting(time.Duration(min(k.Reach, math.MaxInt64/1e9-1) * 1e9))
}

func percent(part float64) string { return fmt.Sprintf("%.0f%%", 100*part) }

// took spells seconds of an operation.
func took(seconds float64) string {
	switch {
	case seconds == 0:
		return "-"
	case seconds < 0.001:
		return fmt.Sprintf("%.0fus", 1e6*seconds)
	case seconds < 1:
		return fmt.Sprintf("%.1fms", 1e3*seconds)
	}
	return fmt.Sprintf("%.1fs", seconds)
}

// metric spells a rate with three digits at most.
func metric(f float64) string {
	for _, unit := range []string{"", "k", "M", "G"} {
		if f < 999.5 {
			if f < 10 && f > 0 && unit != "" {
				return fmt.Sprintf("%.1f%s", f, unit)
			}
			return fmt.Sprintf("%.0f%s", f, unit)
		}
		f /= 1000
	}
	return fmt.Sprintf("%.0fT", f)
}
