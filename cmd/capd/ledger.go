package main

import (
	"capd/config"
	"capd/ledger"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// A ledgerQuery is what the flags of ledger ask for.
type ledgerQuery struct {
	choice
	asJSON bool
}

// ledgerJSON is what ledger --json prints.
type ledgerJSON struct {
	Complete bool             `json:"complete"`
	Verdicts []ledger.Verdict `json:"verdicts"`
	Lines    []ledger.Entry   `json:"lines"`
}

func newLedger() *cobra.Command {
	var q ledgerQuery
	cmd := &cobra.Command{
		Use:   "ledger [DIR]",
		Short: "Say what was recorded into a directory, and what is missing",
		Long: `Print the files and gaps of a directory from its ledger, and for each interface
the verdict: complete, or what is missing, when and why. The exit code is 1 if
something is missing, or --interface names one of which nothing was recorded.

Times are RFC 3339, as 2026-01-02T15:04:05Z, or how long ago, as 90m or 7d.`,
		Example: `  capd ledger /var/lib/capd
  capd ledger --since 24h --interface eth0 /var/lib/capd`,
		Args: oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			return q.answer(cmd.OutOrStdout(), newScreen(cmd.ErrOrStderr()), directoryOf(args))
		},
	}
	q.bind(cmd)
	cmd.Flags().BoolVar(&q.asJSON, "json", false, "print a JSON object")
	return cmd
}

// oneDirectory takes a directory's path, or nothing.
func oneDirectory(cmd *cobra.Command, args []string) error {
	return noArgs(cmd, args[min(len(args), 1):])
}

// directoryOf is the one that is named, or where capd records by default.
func directoryOf(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return config.Default().Directory
}

// A choice is which recordings of a directory are meant.
type choice struct{ since, until, iface string }

func (c *choice) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.since, "since", "", "look at what was recorded from `TIME` on")
	f.StringVar(&c.until, "until", "", "and up to `TIME`")
	f.StringVar(&c.iface, "interface", "", "of `NAME` only")
}

// times returns the bounds; one that is not given is zero.
func (c *choice) times() (since, until time.Time, err error) {
	if since, err = moment("since", c.since); err == nil {
		until, err = moment("until", c.until)
	}
	return since, until, err
}

// A readError is returned for a directory that can't be read.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

func (e *readError) hints() []string {
	switch {
	case errors.Is(e.err, fs.ErrNotExist), errors.Is(e.err, syscall.ENOTDIR):
		return []string{"name the directory that capd records into: directory in capd.toml, -d of capd run"}
	case errors.Is(e.err, fs.ErrPermission):
		return []string{fmt.Sprintf("this is user %d: recordings are for capd's user and group", os.Geteuid())}
	}
	return nil
}

// moment parses a time, or how long ago it was.
func moment(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	var ago config.Duration
	if err := ago.Set(s); err != nil {
		return time.Time{}, usageError{fmt.Errorf("--%s %q: neither a time, as 2026-01-02T15:04:05Z, nor how long ago, as 90m", flag, s)}
	}
	return time.Now().Add(-time.Duration(ago)), nil
}

func (q *ledgerQuery) answer(w io.Writer, screen *screen, dir string) error {
	question := ledger.Question{Interface: q.iface}
	var err error
	if question.Since, question.Until, err = q.times(); err != nil {
		return err
	}
	if question.Names, err = fileNames(dir); err != nil {
		return &readError{err}
	}
	lines, err := q.lines(dir, question, newProgress(screen, dir, 0))
	if err != nil {
		return &readError{err}
	}
	later, err := fileNames(dir) // what was finished while we read
	if err != nil {
		return err
	}
	question.Names = append(question.Names, later...)
	bar := newProgress(screen, dir, 0)
	verdicts, err := ledger.Judge(ledger.ReadWith(dir, bar.ledger()), question)
	bar.end()
	if err != nil {
		return fmt.Errorf("read ledger: %w", err)
	}
	verdicts = append([]ledger.Verdict{}, slices.DeleteFunc(verdicts, ofNothing)...) // empty, but not nil
	complete := q.iface == "" || len(verdicts) > 0
	for i := range verdicts {
		complete = complete && verdicts[i].Complete()
	}
	if err := q.print(w, ledgerJSON{complete, verdicts, lines}); err != nil {
		return err
	}
	if !complete {
		return errReported
	}
	return nil
}

// ofNothing tells a verdict on an interface that the ledger does not know, or on
// a time before its first line.
func ofNothing(v ledger.Verdict) bool {
	return v.Files == 0 && len(v.Missing) == 0 && !v.Since.Before(v.Until)
}

func fileNames(dir string) ([]string, error) {
	h, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	names, err := h.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", dir, err)
	}
	return append([]string{}, names...), nil // empty, but not nil
}

// lines returns the entries on files and gaps within the time asked for.
func (q *ledgerQuery) lines(dir string, question ledger.Question, bar *progress) ([]ledger.Entry, error) {
	defer bar.end()
	lines := []ledger.Entry{}
	var damage *ledger.LineError
	for e, err := range ledger.ReadWith(dir, bar.ledger()) {
		switch {
		case errors.As(err, &damage): // the verdict tells
		case err != nil:
			return nil, fmt.Errorf("read ledger: %w", err)
		case q.iface != "" && e.Interface != "" && e.Interface != q.iface:
		case !question.Since.IsZero() && !e.End.IsZero() && e.End.Before(question.Since):
		case !question.Until.IsZero() && !e.Begin.Before(question.Until):
		case q.asJSON || e.Kind == ledger.KindFile || e.Kind == ledger.KindGap && !e.End.IsZero():
			lines = append(lines, e)
		}
	}
	return lines, nil
}

func (q *ledgerQuery) print(w io.Writer, all ledgerJSON) error {
	if q.asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	if len(all.Lines) > 0 {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "BEGIN\tEND\tINTERFACE\tWHAT\tPACKETS\tLOST")
		for i := range all.Lines {
			e := &all.Lines[i]
			what, lost := e.Name, e.KernelDropped+e.CapdDropped
			if e.Kind == ledger.KindGap {
				what, lost = "gap: "+string(e.Cause), e.Frames
			} else if !e.Clean {
				what += " (not finished in order)"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\n", clock(e.Begin), clock(e.End), quoted(e.Interface), what, e.Packets, lost)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if len(all.Verdicts) == 0 {
		of := ""
		if q.iface != "" {
			of = " of " + quoted(q.iface)
		}
		_, err := fmt.Fprintf(w, "nothing was recorded%s\n", of)
		return err
	}
	for i := range all.Verdicts {
		if err := printVerdict(w, &all.Verdicts[i]); err != nil {
			return err
		}
	}
	return nil
}

func printVerdict(w io.Writer, v *ledger.Verdict) error {
	word := "complete"
	if !v.Complete() {
		word = "INCOMPLETE"
	}
	fmt.Fprintf(w, "%s: %s from %s to %s: %s in %s", quoted(v.Interface), word, clock(v.Since), clock(v.Until),
		plural(v.Total.Packets, "packet"), plural(uint64(v.Files), "file"))
	if v.Deleted.Files > 0 {
		fmt.Fprintf(w, "; %s deleted by limits", plural(uint64(v.Deleted.Files), "older file"))
	}
	fmt.Fprintln(w)
	for _, f := range v.Filters {
		fmt.Fprintf(w, "  filter %q: how much it left out is unknown\n", f)
	}
	for _, m := range v.Missing {
		frames := ""
		if m.Frames > 0 {
			frames = ", " + plural(m.Frames, "frame")
		}
		where := ""
		if m.Where != "" {
			where = ", " + m.Where
		}
		if _, err := fmt.Fprintf(w, "  missing %s to %s: %s%s%s\n", clock(m.Begin), clock(m.End), m.Cause, frames, where); err != nil {
			return err
		}
	}
	return nil
}

// clock spells a time to the millisecond, in UTC as the names of files do.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
