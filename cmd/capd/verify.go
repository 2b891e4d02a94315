package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"capd/internal/terminal"
	"capd/internal/text"
	"capd/internal/verify"
	"capd/seal"

	"github.com/spf13/cobra"
)

// A verifyCommand is what the flags of verify ask for.
type verifyCommand struct {
	place
	bounds
	keys   []string
	asJSON bool
}

func newVerify() *cobra.Command {
	var v verifyCommand
	cmd := &cobra.Command{
		Use:   "verify --key KEY [DIR|FILE...]",
		Short: "Decide whether recordings are what capd sealed",
		Long: `Compare directories of recordings, or some of their files, with what their capd
sealed (docs/seal.md): every byte, line or file that was changed, cut off, put in,
taken away, swapped or put into another order is named. It needs no network and no
running capd, and works on a copy of a directory. Compressed files are unpacked.
Files that limits have deleted are lawful where a sealed line says so.

KEY is what "capd seal init" printed, or a file with such keys, one on a line. It
has to come from elsewhere than the machine that recorded: who can change the
recordings can change a key beside them too.

` + placeHelp + `

VERIFIED says that what was asked for is as it was sealed; TAMPERED that something
is not; NOT PROVEN that nothing is known to be wrong, and that not all is sealed:
files from before sealing began, what came after the last checkpoint, files and lines
that were sealed later than they say, deletions out of order, or a record that does
not end with an orderly stop of capd, so that its end may be missing. What is proven
of a file is that it was so when it was sealed: the output says when that was.

With --since or --until only files with any time in between are looked at; the
ledger is always verified as a whole.

The exit code is 0 for VERIFIED, 4 for TAMPERED, 3 for NOT PROVEN, 1 if something
can't be read or has no seals, and 2 if the command line makes no sense. Of several
directories the worst counts: 1, then 4, then 3.

` + timesHelp,
		Example: `  capd verify --key recorder.key /var/lib/capd
  capd verify --key recorder.key --since 'yesterday 14:00' --until 'yesterday 15:00' --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := v.check(cmd); err != nil {
				return err
			}
			return v.run(cmd, args)
		},
	}
	v.place.bind(cmd)
	v.bounds.bind(cmd, "only files with anything from `TIME` on")
	cmd.Flags().StringArrayVar(&v.keys, "key", nil, "the verification `KEY`, or a file with keys; may repeat")
	cmd.Flags().BoolVar(&v.asJSON, "json", false, "print a JSON object for each directory")
	return cmd
}

// errNoVerifier is returned without --key.
var errNoVerifier = usageError{errors.New(`verify: say with --key which verification key: "capd seal init" printed it`)}

// readKeys returns the verification keys that were given.
func (v *verifyCommand) readKeys() (keys []string, err error) {
	if len(v.keys) == 0 {
		return nil, errNoVerifier
	}
	for _, s := range v.keys {
		if err := seal.CheckVerifier(s); err == nil {
			keys = append(keys, s)
			continue
		}
		b, err := os.ReadFile(s)
		if err != nil {
			return nil, usageError{fmt.Errorf("verify: --key %q is neither a verification key nor a file that can be read: %w", s, err)}
		}
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if err := seal.CheckVerifier(line); err != nil {
				return nil, usageError{fmt.Errorf("verify: --key %s: %q is no verification key: %w", s, text.Line(line), err)}
			}
			keys = append(keys, line)
		}
	}
	return keys, nil
}

func (v *verifyCommand) run(cmd *cobra.Command, args []string) error {
	keys, err := v.readKeys()
	if err != nil {
		return err
	}
	dirs, only, err := v.targets(args)
	if err != nil {
		return err
	}
	w, screen := cmd.OutOrStdout(), terminal.NewScreen(cmd.ErrOrStderr())
	var failed error
	worst := exitFine
	for i, dir := range dirs {
		bar := terminal.NewProgress(screen, dir, 0)
		r, err := verify.Directory(dir, verify.Options{
			Keys: keys, Only: only[dir], Since: v.since.Time, Until: v.until.Time, Begin: bar.Expect, Read: bar.Add,
		})
		bar.End()
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("verify: %w", err))
			continue
		}
		worst = max(worst, exitOf(r.Verdict))
		if v.asJSON {
			err = printJSON(w, r)
		} else {
			err = printReport(w, r, i > 0)
		}
		if err != nil {
			return err
		}
	}
	if failed == nil && worst != exitFine {
		return &codedError{worst, nil}
	}
	return failed
}

func exitOf(v verify.Verdict) int {
	switch v {
	case verify.Tampered:
		return exitTampered
	case verify.NotProven:
		return exitNotProven
	}
	return exitFine
}

// targets returns the directories that are meant, and of each the files that
// are; nil: all.
func (v *verifyCommand) targets(args []string) (dirs []string, only map[string]map[string]bool, err error) {
	only = make(map[string]map[string]bool)
	if len(args) == 0 {
		dirs, err = v.directories(nil, defaultConfig)
		return dirs, only, err
	}
	for _, arg := range args {
		dir, base := arg, ""
		if info, err := os.Stat(arg); err != nil || !info.IsDir() {
			dir, base = filepath.Dir(arg), filepath.Base(arg) // a file that is missing is in the report
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
			if base != "" {
				only[dir] = make(map[string]bool)
			}
		}
		switch {
		case base == "":
			only[dir] = nil
		case only[dir] != nil:
			only[dir][base] = true
		}
	}
	return dirs, only, nil
}

func printReport(w io.Writer, r *verify.Report, another bool) error {
	var b strings.Builder
	if another {
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s: %s\n", text.Name(r.Directory), r.Verdict)
	if r.Checkpoints > 0 {
		fmt.Fprintf(&b, "sealed from %s to %s: %s, %s, by %s\n", text.Time(r.From), text.Time(r.Until),
			text.Count(int(r.Lines), "line"), text.Count(r.Checkpoints, "checkpoint"), text.Name(r.Origin))
		fmt.Fprintf(&b, "%s with %s as they were sealed", text.Count(r.Files, "file"), text.Size(r.Bytes))
		if r.Deleted > 0 {
			fmt.Fprintf(&b, "; limits deleted %d, as sealed lines say", r.Deleted)
		}
		b.WriteByte('\n')
		for _, state := range []string{"not synchronised", "unknown"} {
			if n := r.Clocks[state]; n > 0 {
				fmt.Fprintf(&b, "system clock: %s at %s of %d\n", state, text.Count(n, "checkpoint"), r.Checkpoints)
			}
		}
	}
	printSealings(&b, r.Sealings)
	for i := range r.Tampered {
		fmt.Fprintf(&b, "TAMPERED    %s\n", text.Line(r.Tampered[i].String()))
	}
	for i := range r.Unproven {
		fmt.Fprintf(&b, "not proven  %s\n", text.Line(r.Unproven[i].String()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mostSealings is how many files are so few that it is said of each since when it is proven.
const mostSealings = 3

// printSealings says since when files are proven to be what they are.
func printSealings(b *strings.Builder, all []verify.Sealing) {
	var latest time.Duration
	late := 0
	for i := range all {
		s := &all[i]
		if !s.Late {
			latest = max(latest, s.SealedAt.Sub(s.End))
		}
		if s.Late || len(all) <= mostSealings {
			fmt.Fprintf(b, "sealed at %s: %s, which ended at %s\n", text.Time(s.SealedAt), text.Name(s.File), text.Time(s.End))
		}
		if s.Late {
			late++
		}
	}
	if len(all) > mostSealings && late < len(all) {
		fmt.Fprintf(b, "%s sealed at most %s after they ended\n", text.Count(len(all)-late, "file"), max(latest, time.Second).Round(time.Second))
	}
}
