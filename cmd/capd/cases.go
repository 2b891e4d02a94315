package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"capd/internal/control"
	"capd/internal/extract"
	"capd/internal/holds"
	"capd/internal/text"
	"capd/ledger"
	"capd/store"

	"github.com/spf13/cobra"
)

// mostHeldAtOnce is how many files one order holds, so that it is followed within the time that an order may take.
const mostHeldAtOnce = 500

// planLease is how long limits leave the files of a question, if nobody says that it is answered.
const planLease = "5m"

// holdJSON is the object that hold --case --json prints.
type holdJSON struct {
	Case     string   `json:"case"`
	Note     string   `json:"note,omitempty"`
	Question string   `json:"question"`
	Files    []string `json:"files"`
	Bytes    int64    `json:"bytes"`   // of the files
	Growing  int      `json:"growing"` // files that are being written

	NotHeld []extract.Missing `json:"not_held,omitempty"` // what was deleted before, or can't be read
}

// holdFor holds the files that the question touches.
func (h *holdCommand) holdFor(cmd *cobra.Command, args []string) error {
	if err := store.CheckCase(h.held.name); err != nil {
		return usageError{fmt.Errorf("hold: %w", err)}
	}
	if len(h.held.note) > store.MaxNote {
		return usageError{fmt.Errorf("hold: --note has at most %d bytes", store.MaxNote)}
	}
	x := &h.asked
	q, err := x.question(cmd, args)
	if err != nil {
		return err
	}
	for i, dir := range q.Directories { // the question is kept, and asked again elsewhere
		if q.Directories[i], err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	q.Text = x.text(&q)
	if q.Since.IsZero() && q.Until.IsZero() && q.Expression == "" && len(q.Flows) == 0 && len(q.Interfaces) == 0 {
		return usageError{errors.New("hold: which packets? Give a time, an EXPRESSION, a flow or an interface; --since 1970-01-01 holds all files")}
	}
	ctx, by := cmd.Context(), recorders{cmp.Or(h.socket, x.socket())}
	defer by.unlease(context.WithoutCancel(ctx), &q)
	if err := by.lease(ctx, &q); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	plan, err := q.Plan(ctx, by)
	if err != nil {
		return err
	}
	out := holdJSON{Case: h.held.name, Note: h.held.note, Question: q.Text, Files: []string{}}
	lost := 0
	for _, dir := range q.Directories {
		names := out.add(plan, dir)
		held, err := by.hold(ctx, dir, names, control.Case{Name: out.Case, Note: out.Note, Question: out.Question})
		out.Files, lost = append(out.Files, held...), lost+len(names)-len(held)
		if err != nil {
			return err
		}
	}
	unread := false
	for i := range plan.Answer.Missing {
		if m := &plan.Answer.Missing[i]; m.Cause == extract.CauseRetired || m.Cause == extract.CauseUnreadable {
			out.NotHeld, unread = append(out.NotHeld, *m), unread || m.Cause == extract.CauseUnreadable
		}
	}
	switch err := h.print(cmd, &out); {
	case err != nil:
		return err
	case lost > 0:
		return &codedError{exitIncomplete, fmt.Errorf("hold: %s deleted before it could be held", text.Count(lost, "file"))}
	case unread:
		return &codedError{exitIncomplete, nil}
	}
	return nil
}

// add counts the files of a directory that may have packets of the question, and returns their names.
func (j *holdJSON) add(plan *extract.Plan, dir string) (names []string) {
	for _, s := range plan.Sources {
		name, state, err := store.Parse(s.Name)
		if s.Directory != dir || s.Excluded() || err != nil {
			continue
		}
		names = append(names, name.String())
		j.Bytes += s.Size
		if state == store.Recording {
			j.Growing++
		}
	}
	slices.Sort(names)
	return names
}

// print prints what is held now.
func (h *holdCommand) print(cmd *cobra.Command, j *holdJSON) error {
	w, errs := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if h.asJSON {
		return printJSON(w, j)
	}
	for _, path := range j.Files {
		if _, err := fmt.Fprintln(w, text.Name(path)); err != nil {
			return err
		}
	}
	if asked := h.asked.bounds.String(); asked != "" {
		fmt.Fprintf(errs, "capd: %s\n", asked)
	}
	fmt.Fprintf(errs, "capd: %s, %s, held for case %s", text.Count(len(j.Files), "file"), text.Size(j.Bytes), text.Name(j.Case))
	if j.Growing > 0 {
		fmt.Fprintf(errs, "; %d of them being written, held when finished too", j.Growing)
	}
	fmt.Fprintln(errs)
	for i := range j.NotHeld {
		fmt.Fprintf(errs, "capd: not held: %s\n", &j.NotHeld[i])
	}
	return nil
}

// lease makes limits leave the files of a question until they are held.
func (r recorders) lease(ctx context.Context, q *extract.Question) error {
	since := q.Since
	if since.Unix() <= 0 {
		since = time.Unix(1, 0)
	}
	return r.leaseSince(ctx, q.Directories, planHolder(), since, planLease)
}

// unlease ends lease. Without it, the lease ends by itself.
func (r recorders) unlease(ctx context.Context, q *extract.Question) {
	_ = r.leaseSince(ctx, q.Directories, planHolder(), time.Time{}, "")
}

func planHolder() string { return "capd hold, process " + strconv.Itoa(os.Getpid()) }

// hold holds files of a directory for a case: through the capd that records there, or directly.
func (r recorders) hold(ctx context.Context, dir string, names []string, c control.Case) (held []string, err error) {
	for len(names) > 0 && err == nil {
		n := min(len(names), mostHeldAtOnce)
		var some []string
		some, err = r.change(ctx, dir, c, names[:n])
		held, names = append(held, some...), names[n:]
	}
	return held, err
}

// change holds the files for a case or, without any, releases the case.
func (r recorders) change(ctx context.Context, dir string, c control.Case, names []string) (paths []string, err error) {
	c.User, c.Sudo = asker()
	found, err := r.at(ctx, dir, func(to *control.Client) (err error) {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		s := control.Selection{Directory: abs, Files: names, Case: &c}
		if len(names) > 0 {
			paths, err = to.Hold(ctx, s)
		} else {
			paths, err = to.Release(ctx, s)
		}
		return err
	})
	if found || err != nil {
		return paths, err
	}
	return changeAlone(ctx, dir, c, names)
}

// changeAlone is change where no capd records.
func changeAlone(ctx context.Context, dir string, c control.Case, names []string) (paths []string, err error) {
	lock, err := store.LockDirectory(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Release() }()
	d, err := store.Open(dir)
	if err != nil {
		return nil, err
	}
	of := store.Case{Name: c.Name, Note: c.Note, UID: os.Getuid(), User: c.User, Sudo: c.Sudo, Question: c.Question}
	var done holds.Changed
	if len(names) > 0 {
		all := make([]store.Name, len(names))
		for i, name := range names {
			if all[i], err = store.ParseName(name); err != nil {
				return nil, err
			}
		}
		done, err = holds.Hold(ctx, d, all, of)
	} else {
		done, err = holds.Release(ctx, d, of)
	}
	for _, name := range done.Files {
		path, _ := d.Locate(name)
		paths = append(paths, path)
	}
	return paths, errors.Join(err, appendLines(dir, lock, done.Lines))
}

// appendLines puts lines into the ledger of a directory, if it has one.
func appendLines(dir string, lock *store.Lock, lines []ledger.Entry) error {
	if _, err := os.Lstat(filepath.Join(dir, ledger.FileName)); len(lines) == 0 || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l, err := ledger.Open(dir, ledger.Options{Here: lock.Here})
	if err != nil {
		return err
	}
	return errors.Join(l.Append(lines...), l.Close())
}

// releaseCase releases a case in all directories that are meant.
func releaseCase(cmd *cobra.Command, o *order, of string, args []string) error {
	if err := store.CheckCase(of); err != nil {
		return usageError{fmt.Errorf("release: %w", err)}
	}
	if len(args) > 0 && cmd.Flags().Changed("config") {
		return usageError{errors.New("release: a directory is named, and -c says others")}
	}
	p := place{o.config}
	dirs, err := p.directories(args, defaultConfig)
	if err != nil {
		return err
	}
	by := recorders{cmp.Or(o.socket, p.socket())}
	files, failed := []string{}, error(nil)
	for _, dir := range dirs {
		done, err := by.change(cmd.Context(), dir, control.Case{Name: of}, nil)
		files, failed = append(files, done...), errors.Join(failed, err)
	}
	if o.asJSON {
		return errors.Join(printJSON(cmd.OutOrStdout(), control.Answer{Files: files}), failed)
	}
	if len(files) == 0 && failed == nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "capd: no file was held for case %s\n", text.Name(of))
	}
	for _, f := range files {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), text.Name(f)); err != nil {
			return err
		}
	}
	return failed
}

// printHeld prints what is held in directories.
func (h *holdCommand) printHeld(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && cmd.Flags().Changed("config") {
		return usageError{errors.New("hold: a directory is named, and -c says others")}
	}
	w := cmd.OutOrStdout()
	dirs, err := h.asked.directories(args, defaultConfig)
	if err != nil {
		return err
	}
	for i, dir := range dirs {
		d, err := store.Open(dir)
		if err != nil {
			return err
		}
		l := holds.List(d, h.held.name)
		if h.asJSON {
			err = printJSON(w, l)
		} else {
			if len(dirs) > 1 || len(args) == 0 {
				fmt.Fprintf(w, "%s%s:\n", strings.Repeat("\n", min(i, 1)), text.Name(dir))
			}
			err = printHolds(w, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// printHolds prints what is held in a directory.
func printHolds(w io.Writer, l *holds.Listing) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(l.Groups) > 0 {
		fmt.Fprintln(t, "CASE\tSINCE\tFILES\tSIZE\tBY\tNOTE")
	}
	line := func(all []string) string { return cmp.Or(text.Line(strings.Join(all, "; ")), "-") }
	for _, g := range l.Groups {
		since := "-"
		if !g.Since.IsZero() {
			since = text.Time(g.Since)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\n", cmp.Or(text.Line(g.Case), "-"), since, len(g.Files), text.Size(g.Bytes), line(g.By), line(g.Notes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, g := range l.Groups {
		for _, q := range g.Questions {
			fmt.Fprintf(w, "%s: %s\n", text.Line(g.Case), text.Line(q))
		}
	}
	_, err := fmt.Fprintf(w, "%s held, %s\n", text.Count(l.Files, "file"), text.Size(l.Bytes))
	return err
}
