package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"capd/internal/control"

	"github.com/spf13/cobra"
)

// A holdCommand is what the flags of hold ask for.
type holdCommand struct {
	order
	asked extractCommand // for packets
	held  heldFor
	list  bool
}

// heldFor is the case that the flags name.
type heldFor struct{ name, note string }

func newHold() *cobra.Command {
	h := holdCommand{order: order{nothing: "no file has such frames: nothing is held"}}
	cmd := &cobra.Command{
		Use:   "hold FILE... | --last TIME | [--since TIME] [--until TIME] | --case NAME [DIR...] [EXPRESSION] | --list [DIR...]",
		Short: "Keep files from being deleted by limits",
		Long: `Forbid the limits of a running capd to delete files, until capd release. A hold
is a file NAME.hold beside the file, so it survives restarts. The ledger says when
it began and ended. Held files count for the limits, so other files are deleted
sooner; retain.hold_warn says from when on capd warns.

--last holds all files with frames of the last TIME, also those that are being
written; --since and --until hold those with frames between two times. hold prints
the paths that the files have now, one on each line. --json prints an object with
the array files instead, as capd rotate and capd release do. FILE is a path, or
the name of a file in any directory that capd records into.

--case holds the files that a question touches, for a case: all that may have packets
which the EXPRESSION takes, of the time, the interfaces (-i) and the flows
(--community-id, --flow), as capd extract understands them. Flow tables say which
files have no such packet; what they can't exclude is held. A file that is being
written is held at once, and stays held when it is finished; files that begin later
are not held. One file may be held for several cases, and no case is released with
another. The ledger says who held what, and with which question. A capd that records
into the directory does it; where none does, hold does it itself.

--list prints what is held: for which cases, since when, by whom, how many files and
bytes, and the commands that get the packets.

` + placeHelp + `

` + timesHelp,
		Example: `  capd hold --last 10m
  capd hold --since 'yesterday 14:00' --until 'yesterday 15:30'
  capd hold --last 1h --interface eth0
  capd hold eth0-20260102T030405Z-000017.pcapng
  capd hold --around 14:03:27±30s --case INC-17 --note 'beacon of 10.1.2.3' host 10.1.2.3
  capd hold --list`,
		RunE: h.run,
	}
	h.bind(cmd)
	x := &h.asked
	x.bounds.bind(cmd, "hold the files with frames from `TIME` on")
	fl := cmd.Flags()
	fl.Var(&x.last, "last", "hold the files with frames of the last `TIME`, as 10m")
	fl.Var(&x.around, "around", "with --case: hold the files with frames of the time `T±D` (or T+-D), as 14:03:27±30s")
	fl.StringArrayVarP(&x.interfaces, "interface", "i", nil, "with a time: only files of `NAME`; with --case it may repeat")
	fl.Var(x.flows.ids(), "community-id", "with --case: only files with the flow of the Community `ID`; may repeat")
	fl.Var(x.flows.ends(), "flow", "with --case: only files with the flow `A[:PORT] B[:PORT] [PROTO]`; may repeat")
	fl.StringVar(&h.held.name, "case", "", "hold the files for the case `NAME`; with --list: only those")
	fl.StringVar(&h.held.note, "note", "", "with --case: `TEXT` about it")
	fl.BoolVar(&h.list, "list", false, "print what is held, and for which cases")
	return cmd
}

func (h *holdCommand) run(cmd *cobra.Command, args []string) error {
	h.asked.config = h.config
	if err := h.check(cmd); err != nil {
		return err
	}
	switch {
	case h.list:
		return h.printHeld(cmd, args)
	case h.held.name != "":
		return h.holdFor(cmd, args)
	}
	return h.holdAlone(cmd, args)
}

// check refuses flags that do not go together.
func (h *holdCommand) check(cmd *cobra.Command) error {
	given := func(names ...string) string {
		for _, name := range names {
			if cmd.Flags().Changed(name) {
				return name
			}
		}
		return ""
	}
	switch {
	case h.list:
		if name := given("since", "until", "last", "around", "interface", "community-id", "flow", "note", "socket"); name != "" {
			return usageError{fmt.Errorf("hold: --%s does not go with --list, which prints what is held", name)}
		}
	case h.held.name == "":
		if name := given("around", "community-id", "flow", "note"); name != "" {
			return usageError{fmt.Errorf("hold: --%s goes with --case", name)}
		}
		if given("case") != "" {
			return usageError{errors.New("hold: --case is empty")}
		}
		if len(h.asked.interfaces) > 1 {
			return usageError{errors.New("hold: without --case, --interface is one")}
		}
	}
	return nil
}

// holdAlone holds files without a case.
func (h *holdCommand) holdAlone(cmd *cobra.Command, args []string) error {
	when := &h.asked.bounds
	if err := when.check(cmd); err != nil {
		return err
	}
	s := control.Selection{Files: absolute(args), Since: when.since.Time, Until: when.until.Time}
	if len(h.asked.interfaces) > 0 {
		s.Interface = h.asked.interfaces[0]
	}
	if cmd.Flags().Changed("last") {
		s.Last = h.asked.last.String()
	}
	if err := checkSelection(cmd, args, s); err != nil {
		return err
	}
	if asked := when.String(); asked != "" && !h.asJSON {
		fmt.Fprintf(cmd.ErrOrStderr(), "capd: %s\n", asked)
	}
	return h.give(cmd, func(ctx context.Context, c *control.Client) ([]string, error) { return c.Hold(ctx, s) })
}

func newRelease() *cobra.Command {
	o := order{nothing: "no such file was held"}
	var all bool
	var iface, of string
	cmd := &cobra.Command{
		Use:   "release FILE... | --all | --case NAME [DIR...]",
		Short: "Let limits delete held files again",
		Long: `End holds of files, and print their paths. What is held for a case is released
with --case only: FILE and --all end the holds without a case, and files that are
held for other cases stay held. The ledger says who released what.

` + placeHelp,
		Example: `  capd release eth0-20260102T030405Z-000017.pcapng
  capd release --all --interface eth0
  capd release --case INC-17`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("case") {
				if all || iface != "" {
					return usageError{errors.New("release: --case releases a case as a whole, without --all and --interface")}
				}
				return releaseCase(cmd, &o, of, args)
			}
			s := control.Selection{Files: absolute(args), All: all, Interface: iface}
			if err := checkSelection(cmd, args, s); err != nil {
				return err
			}
			return o.give(cmd, func(ctx context.Context, c *control.Client) ([]string, error) { return c.Release(ctx, s) })
		},
	}
	o.bind(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "release all files that are held without a case")
	cmd.Flags().StringVar(&iface, "interface", "", "with --all: only files of `NAME`")
	cmd.Flags().StringVar(&of, "case", "", "release the files that are held for the case `NAME`")
	return cmd
}

// checkSelection refuses what would not be clear.
func checkSelection(cmd *cobra.Command, args []string, s control.Selection) error {
	wide := s.Last != "" || s.All || s.Bounded()
	switch {
	case s.Last != "" && s.Bounded():
		return usageError{fmt.Errorf("%s: --last and --since or --until are two ways to say when", cmd.Name())}
	case len(args) == 0 && !wide:
		return usageError{fmt.Errorf("%s: which files? None is named", cmd.Name())}
	case len(args) > 0 && wide:
		return usageError{fmt.Errorf("%s: files are named, and a time or --all says others", cmd.Name())}
	case len(args) > 0 && s.Interface != "":
		return usageError{fmt.Errorf("%s: --interface does not go with files", cmd.Name())}
	}
	return nil
}

// absolute spells paths as the daemon understands them, which is in another
// directory. A bare name may be of any directory that it records into.
func absolute(paths []string) []string {
	var all []string
	for _, p := range paths {
		if filepath.Base(p) != p {
			if abs, err := filepath.Abs(p); err == nil {
				p = abs
			}
		}
		all = append(all, p)
	}
	return all
}
