package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"capd/capture"
	"capd/config"
	"capd/filter"
	"capd/internal/hint"
	"capd/internal/text"
	"capd/pcap"

	"github.com/spf13/cobra"
)

// unknownCommand is the mistake of naming a command that there is not.
func unknownCommand(root *cobra.Command, name string) error {
	err := fmt.Errorf("unknown command %q", name)
	if near := root.SuggestionsFor(name); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %q?", err, near[0])
	}
	return usageError{err}
}

// newHelp is cobra's help, but a command that there is not is a mistake.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			switch {
			case err != nil:
				return usageError{err}
			case len(rest) > 0 && cmd == root:
				return unknownCommand(root, rest[0])
			case len(rest) > 0:
				return noArgs(cmd, rest)
			}
			return cmd.Help()
		},
	}
}

// strictCompletion makes cobra's command for shells refuse what is no shell. That
// takes the root's output as it is now.
func strictCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd("completion")
	cmd, _, err := root.Find([]string{"completion"})
	if err != nil || cmd == root {
		return
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("completion: unknown shell %q", args[0])}
		}
		return cmd.Help()
	}
	for _, shell := range cmd.Commands() {
		shell.Args = noArgs
	}
}

// plainly puts the library's words for a number that is none into ours.
func plainly(err error) error {
	var n *strconv.NumError
	if !errors.As(err, &n) {
		return err
	}
	want := "must be a whole number"
	if n.Func == "ParseUint" {
		want += ", and not negative"
	}
	if errors.Is(n, strconv.ErrRange) {
		want = "is out of range"
	}
	return errors.New(strings.Replace(err.Error(), n.Error(), want, 1))
}

// A forgottenRead is an expression that can't be compiled and names a file.
type forgottenRead struct {
	error
	path string
}

func (e *forgottenRead) Unwrap() error { return e.error }

// Hints says how to read the file.
func (e *forgottenRead) Hints() []string {
	return []string{text.Name(e.path) + " is a file: -r " + text.Name(e.path) + " reads it"}
}

// perhapsFile looks whether the first word of an expression that can't be
// compiled is a file's name, as other tools take it.
func perhapsFile(err error, args []string) error {
	if !errors.As(err, new(*filter.SyntaxError)) || len(args) == 0 {
		return err
	}
	if info, e := os.Stat(args[0]); e == nil && !info.IsDir() {
		return &forgottenRead{err, args[0]}
	}
	return err
}

// forgottenInterface refuses an expression that can't be compiled and starts with names of interfaces.
func forgottenInterface(command string, interfaces, args []string) error {
	n := 0
	for n < len(args) && isInterface(args[n]) {
		n++
	}
	_, err := filter.Compile(strings.Join(args, " "), filter.Target{LinkType: filter.LinkType(pcap.LinkTypeEthernet), Snaplen: filter.DefaultSnaplen})
	if n == 0 || !errors.As(err, new(*filter.SyntaxError)) {
		return nil
	}
	words := []string{"capd", command}
	for _, name := range append(slices.Clone(interfaces), args[:n]...) {
		words = append(words, "-i", shellWord(name))
	}
	for _, a := range args[n:] {
		words = append(words, shellWord(a))
	}
	return usageError{hint.New(fmt.Sprintf("%s: %s is an interface: -i names it", command, text.Name(args[0])), "write "+strings.Join(words, " "))}
}

func isInterface(name string) bool {
	all, _ := capture.Interfaces()
	return name == config.Any || slices.ContainsFunc(all, func(i capture.Interface) bool { return i.Named(name) })
}

// shellWord quotes a word as a shell reads it.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./:@%+=,", r))
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(text.Line(s), "'", `'\''`) + "'"
}
