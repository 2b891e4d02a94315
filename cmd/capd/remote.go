package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"capd/filter"
	"capd/internal/extract"
	"capd/internal/hint"
	"capd/internal/remote"
	"capd/internal/terminal"
	"capd/internal/text"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"

	"github.com/spf13/cobra"
)

// A remoteExtract is an extract that another machine does.
type remoteExtract struct {
	*extractCommand
	cmd  *cobra.Command
	said []string // lines that ssh and the other machine printed, which --json has in the answer
}

// ask checks what can be checked here of a question for another machine.
func (x *remoteExtract) ask(args []string) (expression string, err error) {
	switch {
	case x.cmd.Flags().Changed("config"):
		return "", usageError{errors.New("extract: -c names directories of this machine, and --host asks another")}
	case len(args) > 0 && strings.HasPrefix(args[0], "/"):
		return "", usageError{hint.New("extract: with --host the directory stands in the address", "write --host "+x.host.String()+args[0])}
	}
	if err := x.times(x.cmd); err != nil {
		return "", err
	}
	expression = strings.TrimSpace(strings.Join(args, " "))
	return expression, checkSyntax(expression, args)
}

// checkSyntax refuses an expression that no link type can have.
func checkSyntax(expression string, words []string) error {
	_, err := filter.Compile(expression, filter.Target{LinkType: filter.LinkType(pcap.LinkTypeEthernet)})
	if errors.As(err, new(*filter.SyntaxError)) {
		return perhapsFile(err, words)
	}
	return nil
}

// words are the arguments of capd on the other machine. It answers as JSON, and ends when its standard input does.
func (x *remoteExtract) words(expression string) []string {
	words := []string{"extract"}
	if x.host.Directory != "" {
		words = append(words, x.host.Directory)
	}
	words = append(words, "--end-with-stdin")
	add := func(flag, value string) { words = append(words, "--"+flag+"="+value) }
	if x.asJSON || !x.explain {
		add("json", "true")
	}
	if x.explain {
		add("explain", "true")
	}
	switch last := x.cmd.Flags().Changed("last"); {
	case last: // by the clock there, which gave the packets their times
		add("last", x.last.String())
	default:
		if !x.since.IsZero() {
			add("since", text.Zoned(x.since.Time))
		}
		if !x.until.IsZero() {
			add("until", text.Zoned(x.until.Time))
		}
	}
	for _, name := range x.interfaces {
		add("interface", name)
	}
	for i := range x.flows.all {
		if f := &x.flows.all[i]; f.IsID() {
			add("community-id", f.String())
		} else {
			add("flow", f.String())
		}
	}
	if limit := x.limit.String(); limit != "" {
		add("limit", limit)
	}
	if x.write != "" {
		add("write", "-")
		add("format", x.format)
	}
	if expression != "" {
		words = append(words, "--", strings.ReplaceAll(expression, "\n", " ")) // csh can't quote the end of a line
	}
	return words
}

// run asks the capd of the other machine, and prints its answer as that of this one.
func (x *remoteExtract) run(ctx context.Context, args []string, out extract.Output) error {
	expression, err := x.ask(args)
	if err != nil {
		return err
	}
	words := x.words(expression)
	if x.explain {
		code, err := x.host.Run(ctx, words, x.cmd.OutOrStdout(), x.cmd.ErrOrStderr())
		if err != nil || code != exitFine {
			return &codedError{max(code, exitFailed), err}
		}
		return nil
	}
	var made *os.File
	if out.Path != "" {
		if made, err = extract.Make(out.Path); err != nil {
			return err
		}
		store.GiveToOwner(made)
		out.To = made
	}
	a, err := x.fetch(ctx, words, out.To)
	if made != nil {
		err = errors.Join(err, leaveWhole(made, err != nil))
	}
	if err != nil {
		return err
	}
	q := extract.Question{Text: a.Question, Directories: a.Directories, Since: a.AskedSince, Until: a.AskedUntil}
	x.since.Time, x.until.Time = a.AskedSince.Local(), a.AskedUntil.Local()
	return x.print(x.cmd, &q, a.Answer)
}

// leaveWhole closes a file. After a failure it ends with its last whole packet, or is gone if it has nothing.
func leaveWhole(made *os.File, failed bool) error {
	info, err := made.Stat()
	if err = errors.Join(err, made.Close()); err != nil || !failed {
		return err
	}
	if info.Size() == 0 {
		return os.Remove(made.Name())
	}
	_, err = writer.SalvageInPlace(made.Name(), func(int) {})
	return err
}

// A remoteAnswer is what extract --json prints, or an error.
type remoteAnswer struct {
	extractJSON
	errorJSON
}

// fetch asks, and copies packets to the writer; nil: they are counted there.
func (x *remoteExtract) fetch(ctx context.Context, words []string, to io.Writer) (*remoteAnswer, error) {
	screen := terminal.NewScreen(x.cmd.ErrOrStderr())
	bar := terminal.NewProgress(screen, "extract", 0)
	say := func(line string) { x.say(screen, line) }
	printed, stdout := remote.Lines{Say: say}, remote.Lines{Say: say}
	answered, packets := &stdout, io.Writer(&stdout)
	if to != nil {
		answered, packets = &printed, &packetsOnly{to: to, bar: bar}
	}
	code, err := x.host.Run(ctx, words, packets, &printed)
	bar.End()
	printed.Close()
	stdout.Close()
	if err != nil {
		return nil, x.withLines(err)
	}
	var a remoteAnswer
	if e := answered.Decode(&a); errors.Is(e, remote.ErrNoObject) && answered != &printed {
		err = printed.Decode(&a)
	} else {
		err = e
	}
	switch {
	case err == nil && a.Error != "":
		return nil, &codedError{max(code, exitFailed), x.refused(&a.errorJSON)}
	case err != nil || a.Answer == nil || code != exitFine && code != exitIncomplete:
		err := fmt.Errorf("capd on %s ended with exit code %d, and gave no verdict", x.host.Name, code)
		return nil, x.withLines(hint.New(err.Error(), x.anotherVersion()))
	}
	a.plain()
	a.Host, a.File = x.host.String(), x.write
	a.Notes = append(a.Notes, x.said...)
	return &a, nil
}

// say passes on a line that the other side printed.
func (x *remoteExtract) say(screen *terminal.Screen, line string) {
	line = x.host.Name + ": " + text.Line(clipped(line))
	switch {
	case !x.asJSON:
		fmt.Fprintf(screen, "capd: %s\n", line)
	case len(x.said) < mostReasons:
		x.said = append(x.said, line)
	}
}

// clipped leaves the start of a long line.
func clipped(line string) string {
	const most = 1000
	if len(line) > most {
		return line[:most] + "..."
	}
	return line
}

// withLines adds what ssh and the other side printed, where that is not on standard error yet.
func (x *remoteExtract) withLines(err error) error {
	if len(x.said) == 0 {
		return err
	}
	return fmt.Errorf("%w; %s", err, strings.Join(x.said, "; "))
}

// refused is the error of capd on the other machine.
func (x *remoteExtract) refused(e *errorJSON) error {
	hints := e.Hints
	if strings.HasPrefix(e.Error, "unknown flag") || strings.HasPrefix(e.Error, "unknown command") {
		hints = []string{x.anotherVersion()}
	}
	for i := range hints {
		hints[i] = text.Line(hints[i])
	}
	return hint.New(x.host.Name+": "+text.Line(e.Error), hints...)
}

func (x *remoteExtract) anotherVersion() string {
	return "capd there may be older than this one, " + version() + ": install the same on both"
}

// plain takes control characters out of text that is printed as it is.
func (a *remoteAnswer) plain() {
	for i := range a.Missing {
		a.Missing[i].Cause = ledger.Cause(text.Line(string(a.Missing[i].Cause)))
	}
	for i := range a.Notes {
		a.Notes[i] = text.Line(a.Notes[i])
	}
}

// packetsOnly writes what begins as a file of packets does. A file of the shell there may print something before capd runs.
type packetsOnly struct {
	to    io.Writer
	bar   *terminal.Progress
	begun []byte
	known bool
}

func (p *packetsOnly) Write(b []byte) (n int, err error) {
	n = len(b)
	if !p.known {
		p.begun = append(p.begun, b...)
		if len(p.begun) < 4 {
			return n, nil
		}
		switch binary.LittleEndian.Uint32(p.begun) {
		case 0x0A0D0D0A, 0xA1B2C3D4, 0xA1B23C4D:
		default:
			return 0, hint.New(fmt.Sprintf("what came is no capture file, and begins with %q", clipped(string(p.begun[:min(len(p.begun), 40)]))),
				"a file of the shell there, as .bashrc, prints something: let it do that on terminals only")
		}
		b, p.begun, p.known = p.begun, nil, true
	}
	if _, err := p.to.Write(b); err != nil {
		return 0, err
	}
	p.bar.Add(len(b))
	return n, nil
}
