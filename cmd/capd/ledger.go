package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"capd/internal/terminal"
	"capd/internal/text"
	"capd/ledger"

	"github.com/spf13/cobra"
)

// A ledgerQuery is what the flags of ledger ask for.
type ledgerQuery struct {
	choice
	asJSON bool
}

func newLedger() *cobra.Command {
	var q ledgerQuery
	cmd := &cobra.Command{
		Use:   "ledger [DIR]",
		Short: "Show what was recorded into a directory, and what is missing",
		Long: `Print the files and gaps of a directory from its ledger, and for each interface
the verdict: complete, or what is missing, when and why. A question mark stands
for what nobody counted. A capd that records into the directory is asked what its
unfinished files have and lack up to now. The exit code is 0 if all is there, 1 if
something is missing, and 3 if nothing is known: of a directory without a ledger,
of an interface that it does not name, or of a file that is still being written by
a capd that does not answer.

` + placeHelp + `

` + timesHelp,
		Example: `  capd ledger /var/lib/capd
  capd ledger --since 'yesterday 14:00' --until 'yesterday 15:30'
  capd ledger --since 24h --interface eth0 /var/lib/capd`,
		Args: oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.check(cmd); err != nil {
				return err
			}
			w, screen := cmd.OutOrStdout(), terminal.NewScreen(cmd.ErrOrStderr())
			return q.each(w, args, !q.asJSON, func(dir string) error { return q.answer(cmd.Context(), w, screen, dir) })
		},
	}
	q.bind(cmd)
	cmd.Flags().BoolVar(&q.asJSON, "json", false, "print a JSON object")
	return cmd
}

func (q *ledgerQuery) answer(ctx context.Context, w io.Writer, screen *terminal.Screen, dir string) error {
	a, err := q.ask(ctx, dir, screen)
	if err != nil {
		return err
	}
	if q.asJSON {
		err = printJSON(w, ledgerJSON{dir, a})
	} else if err = q.print(w, a); err == nil {
		q.bounds.print(w)
	}
	if err != nil {
		return err
	}
	switch {
	case a.Complete == nil:
		return &codedError{exitUnknown, nil}
	case !*a.Complete:
		return errReported
	}
	return nil
}

// ask asks the directory, by the names of the interface until one is known there.
func (q *ledgerQuery) ask(ctx context.Context, dir string, screen *terminal.Screen) (known *ledger.Answer, err error) {
	for _, name := range q.names() {
		question := ledger.Question{Interface: name, Since: q.since.Time, Until: q.until.Time}
		bar := terminal.NewProgress(screen, dir, 0)
		o := ledger.ReadOptions{Begin: bar.Expect, Read: bar.Add}
		if !q.asJSON {
			o.Keep = func(e *ledger.Entry) bool {
				return e.Kind == ledger.KindFile || (e.Kind == ledger.KindGap || e.Kind == ledger.KindXDP) && !e.End.IsZero()
			}
		}
		a, err := askLive(ctx, dir, q.socket(), question, o)
		bar.End()
		if err != nil {
			return nil, err
		}
		if known == nil || len(a.Verdicts) > 0 {
			known = a
		}
		if len(known.Verdicts) > 0 {
			break
		}
	}
	return known, nil
}

// ledgerJSON is the object that ledger --json prints for a directory.
type ledgerJSON struct {
	Directory string `json:"directory"`
	*ledger.Answer
}

func (q *ledgerQuery) print(w io.Writer, all *ledger.Answer) error {
	if len(all.Lines) > 0 {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "BEGIN\tEND\tINTERFACE\tWHAT\tPACKETS\tLOST")
		for i := range all.Lines {
			e := &all.Lines[i]
			what, packets, lost := rowOf(e)
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", text.Time(e.Begin), text.Time(e.End), text.Name(e.Interface), what, packets, lost)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if len(all.Verdicts) == 0 {
		of := "what was recorded"
		if q.iface != "" {
			of += " of " + text.Name(q.iface)
		}
		_, err := fmt.Fprintf(w, "nothing is known of %s: neither a line of a ledger nor a file says anything\n", of)
		return err
	}
	for i := range all.Verdicts {
		if err := printVerdict(w, &all.Verdicts[i]); err != nil {
			return err
		}
	}
	return nil
}

// rowOf says what a line of the ledger is about, and how many packets were
// recorded and lost; a question mark stands for a number that nobody knows.
func rowOf(e *ledger.Entry) (what, packets, lost string) {
	const unknown = "?"
	what, packets, lost = e.Name, fmt.Sprint(e.Packets), fmt.Sprint(e.KernelDropped+e.CapdDropped+e.NICDropped)
	switch {
	case e.Kind == ledger.KindGap:
		what, packets, lost = "gap: "+string(e.Cause), "-", unknown
		if e.Counted() {
			lost = fmt.Sprint(e.Frames)
		}
	case e.Kind == ledger.KindXDP:
		what, packets, lost = e.Program, "-", unknown
	case !e.Clean:
		what, lost = what+" (not finished in order)", unknown
	}
	return what, packets, lost
}

func printVerdict(w io.Writer, v *ledger.Verdict) error {
	if v.Files == 0 && len(v.Missing) == 0 && len(v.Recording) > 0 && !v.Since.Before(v.Until) {
		_, err := fmt.Fprintf(w, "%s: UNKNOWN: %s since %s, and nothing has ended yet\n", text.Name(v.Interface), ledger.CauseLive, text.Time(v.Since))
		return err
	}
	word := map[ledger.Outcome]string{ledger.Complete: "complete", ledger.Incomplete: "INCOMPLETE", ledger.Unknown: "UNKNOWN"}[v.Outcome()]
	fmt.Fprintf(w, "%s: %s from %s to %s: %s in %s", text.Name(v.Interface), word, text.Time(v.Since), text.Time(v.Until),
		text.Count(v.Total.Packets, "packet"), text.Count(v.Files, "file"))
	if v.Deleted.Files > 0 {
		fmt.Fprintf(w, "; %s deleted by limits", text.Count(v.Deleted.Files, "older file"))
	}
	fmt.Fprintln(w)
	for _, f := range v.Filters {
		fmt.Fprintf(w, "  filter %q: how much it left out is unknown\n", f)
	}
	if n := v.Total.Truncated - min(v.Total.Truncated, v.Total.Oversized); n > 0 {
		fmt.Fprintf(w, "  %s cut by snaplen%s, as configured: nothing else of them is missing\n", text.Count(n, "packet"), numbers(v.Snaplens))
	}
	printGrowing(w, v)
	for _, m := range v.Missing {
		frames := ""
		if m.Frames > 0 {
			frames = ", " + text.Count(m.Frames, "frame")
		}
		where := ""
		if m.Where != "" {
			where = ", " + text.Line(m.Where)
		}
		if _, err := fmt.Fprintf(w, "  missing %s to %s: %s%s%s\n", text.Time(m.Begin), text.Time(m.End), m.Cause, frames, where); err != nil {
			return err
		}
	}
	return nil
}

// printGrowing says what is being recorded.
func printGrowing(w io.Writer, v *ledger.Verdict) {
	g := v.Growing
	if g == nil {
		for _, f := range v.Recording {
			fmt.Fprintf(w, "  being recorded into %s: what it lacks is not known yet\n", f)
		}
		return
	}
	lost := "nothing lost"
	if n := g.KernelDropped + g.CapdDropped + g.NICDropped; n > 0 {
		lost = text.Count(n, "frame") + " lost"
	}
	into := ""
	if len(v.Recording) > 0 {
		into = " into " + strings.Join(v.Recording, ", ")
	}
	fmt.Fprintf(w, "  being recorded%s: %s and %s up to now\n", into, text.Count(g.Packets, "packet"), lost)
}

// numbers spells numbers, each behind a space.
func numbers(all []uint64) string {
	s := ""
	for _, n := range all {
		s += fmt.Sprintf(" %d", n)
	}
	return s
}
