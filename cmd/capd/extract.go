package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"capd/config"
	"capd/internal/extract"
	"capd/internal/hint"
	"capd/internal/remote"
	"capd/internal/terminal"
	"capd/internal/text"
	"capd/pcap"

	"github.com/spf13/cobra"
)

// An extractCommand is what the flags of extract ask for.
type extractCommand struct {
	place
	bounds
	around     around
	last       config.Duration
	interfaces []string
	flows      flowList
	alerts     alertFlags
	write      string
	format     string
	limit      packetLimit
	explain    bool
	asJSON     bool
	remotely
	listen   listening
	identity identityFlag
}

// remotely says that another machine is asked, or that another one asks this one.
type remotely struct {
	host     remote.Host
	attached bool // ends with standard input
}

func newExtract() *cobra.Command {
	var x extractCommand
	cmd := &cobra.Command{
		Use:   "extract [DIR...] [EXPRESSION]",
		Short: "Get packets out of recordings, and whether they are all",
		Long: `Find the packets that a filter expression takes, in the recordings of one or
several directories: of all interfaces, in order of time, in one file, those that
came a moment ago too. The words that are directories come first; what follows is
the EXPRESSION, and after -- all is. Without one all packets are taken.

Each answer ends with a verdict, on standard error; it is complete, or INCOMPLETE and
why. Packets may have been lost, deleted by limits, filtered out or cut when they were
recorded; files may be damaged or can't be read; or nothing is known of the time. The
exit code is 0 if the answer is complete, 3 if it is not, 1 if it failed, and 2 if
the command line makes no sense.

--community-id and --flow take the packets of the flows that they name, also of those
that a tunnel carries: packets of any of them that the EXPRESSION takes too. A flow is
two ends, each an address with or without a port, and perhaps a protocol:
'10.1.2.3:40000 10.9.8.7:443 tcp', '[2001:db8::1]:53 2001:db8::2', '10.1.2.3 10.9.8.7'.

Flow tables, which capd index makes, say which parts of the files are read. Without
them, or if they are damaged or old, all of each file is read, and the answer is the same.

-w writes a pcapng file that describes each interface as it was recorded, and keeps
comments and options of packets. The question is in its first block, the verdict in its
last. -w - writes to standard output as packets are found. --format pcap or pcap-us is
for packets of one link type. Without -w, extract counts the packets.

--alert takes the flows of alerts, each with time around it: lines of Suricata's EVE, or of
Zeek's notice.log and conn.log. -w DIR/ writes a file for each. --follow answers them as they
come, when --after is over, and lets no limit delete what they need until then.

--limit ends the answer after so many packets, or before the file has so many bytes,
as 10MB. --explain prints what would be read of which files, and why, and reads none. Ctrl-C
ends the answer: the file is whole up to there, and its verdict says so. Who asked
what, and got how much, is a line in the ledger of each directory.

--host asks capd on another machine, over ssh, which must have it: packets, verdict and
exit code are as if the question had been asked there. Its DIR is a path from the root.

--listen gives the answer, found anew, to each reader that connects: Wireshark's
TCP@127.0.0.1:57012, Zeek, Arkime, NetworkMiner; eight at a time, until Ctrl-C. The format is
pcap without --format. A reader that takes nothing for 30 seconds is dropped. --follow goes
on with what is being recorded, until the reader leaves.

` + identityHelp + `

` + placeHelp + `

` + timesHelp,
		Example: `  capd extract --last 10m host 10.1.2.3 and tcp port 443
  capd extract --around 14:03:27±30s -w alert.pcapng host 10.1.2.3
  capd extract --flow '10.1.2.3:40000 10.9.8.7:443 tcp' -w flow.pcapng
  capd extract --alert /var/log/suricata/eve.json --since -1h -w found/
  capd extract --host ssh://root@sensor/var/lib/capd --last 10m -w web.pcapng tcp port 443
  capd extract --listen 127.0.0.1:57012 --follow --last 10m udp port 53
  capd extract /var/lib/capd --since 'yesterday 14:00' --until 'yesterday 14:10' -i eth0 -w - udp | wireshark -k -i -`,
		RunE: x.run,
	}
	x.place.bind(cmd)
	x.bounds.bind(cmd, "only packets from `TIME` on")
	fl := cmd.Flags()
	fl.Lookup("until").Usage = "only packets before `TIME`"
	fl.Var(&x.around, "around", "only packets of the time `T±D` (or T+-D), as 14:03:27±30s")
	fl.Var(&x.last, "last", "only packets of the last `TIME`, as 10m")
	fl.StringArrayVarP(&x.interfaces, "interface", "i", nil, "only packets that were recorded of `IF`, by any of its names; may repeat")
	fl.Var(x.flows.ids(), "community-id", "only packets of the flow with the Community `ID`; may repeat")
	fl.Var(x.flows.ends(), "flow", "only packets of the flow `A[:PORT] B[:PORT] [PROTO]`; may repeat")
	x.alerts.bind(cmd)
	fl.StringVarP(&x.write, "write", "w", "", "write the packets to `FILE`, which must not exist, or - for standard output; with --alert also to a file for each in DIR/")
	fl.StringVar(&x.format, "format", config.FormatPcapng, "write `FORMAT`: pcapng, pcap (nanoseconds) or pcap-us (microseconds)")
	fl.Var(&x.limit, "limit", "end after `N` packets, or before the file is larger than a size, as 10MB")
	fl.BoolVar(&x.explain, "explain", false, "print what would be read, and read nothing")
	fl.BoolVar(&x.asJSON, "json", false, "print a JSON object")
	fl.Var(&x.host, "host", "ask capd on another machine, over ssh: `ADDRESS` is ssh://[USER@]HOST[:PORT]/[DIR]")
	x.listen.bind(cmd)
	x.identity.bind(cmd)
	fl.BoolVar(&x.attached, "end-with-stdin", false, "end as by Ctrl-C when standard input ends, as --host asks for")
	return cmd
}

// question puts the command line together.
func (x *extractCommand) question(cmd *cobra.Command, args []string) (q extract.Question, err error) {
	dirs, words, err := directoriesFirst(cmd, args)
	if err != nil {
		return q, err
	}
	if len(dirs) > 0 && cmd.Flags().Changed("config") {
		return q, usageError{fmt.Errorf("%s: a directory is named, and -c says others", cmd.Name())}
	}
	if err := x.times(cmd); err != nil {
		return q, err
	}
	if q.Directories, err = x.directories(dirs, defaultConfig); err != nil {
		return q, err
	}
	q.Expression = strings.TrimSpace(strings.Join(words, " "))
	if err := checkSyntax(q.Expression, words); err != nil {
		return q, err
	}
	for _, name := range x.interfaces {
		q.Interfaces = append(q.Interfaces, otherNames(name))
	}
	if q.Identities, err = x.identity.read(); err != nil {
		return q, err
	}
	q.Since, q.Until, q.Software = x.since.Time, x.until.Time, "capd "+version()
	q.Flows = x.flows.all
	q.MostPackets, q.MostBytes = x.limit.packets, int64(x.limit.size)
	q.Text = x.text(&q)
	return q, nil
}

// times makes bounds of the other flags for times.
func (x *extractCommand) times(cmd *cobra.Command) error {
	around, last := x.around.written != "", cmd.Flags().Changed("last")
	switch bounded := !x.since.IsZero() || !x.until.IsZero(); {
	case around && last, (around || last) && bounded:
		return usageError{fmt.Errorf("%s: --since and --until, --around and --last are three ways to say when", cmd.Name())}
	case last && x.last <= 0:
		return usageError{fmt.Errorf("%s: --last is a time above 0, as 10m", cmd.Name())}
	case around:
		x.since.Time, x.until.Time = x.around.at.Add(-x.around.by), x.around.at.Add(x.around.by)
	case last:
		x.until.Time = time.Now()
		x.since.Time = x.until.Add(-time.Duration(x.last))
	}
	return x.bounds.check(cmd)
}

// text spells the question as a command line, with times that do not depend on when it was asked.
func (x *extractCommand) text(q *extract.Question) string {
	words := []string{"capd", "extract"}
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag, shellWord(value))
		}
	}
	for _, dir := range q.Directories {
		words = append(words, shellWord(dir))
	}
	if !q.Since.IsZero() {
		add("--since", text.Zoned(q.Since))
	}
	if !q.Until.IsZero() {
		add("--until", text.Zoned(q.Until))
	}
	for _, name := range x.interfaces {
		add("-i", name)
	}
	for i := range q.Flows {
		if f := &q.Flows[i]; f.IsID() {
			add("--community-id", f.String())
		} else {
			add("--flow", f.String())
		}
	}
	add("--alert", x.alerts.from)
	add("--limit", x.limit.String())
	if q.Expression != "" {
		words = append(words, shellWord(q.Expression))
	}
	return strings.Join(words, " ")
}

// directoriesFirst parts the directories from the words of the expression.
func directoriesFirst(cmd *cobra.Command, args []string) (dirs, words []string, err error) {
	most := len(args)
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		most = n
	}
	n := 0
	for n < most {
		info, err := os.Stat(args[n])
		if err != nil || !info.IsDir() {
			break
		}
		n++
	}
	if n < most && strings.ContainsRune(args[n], os.PathSeparator) && !strings.ContainsAny(args[n], " ()") {
		if _, err := os.Stat(args[n]); err != nil && strings.HasPrefix(args[n], "/") {
			return nil, nil, err
		} else if err == nil {
			return nil, nil, usageError{hint.New(text.Name(args[n])+" is no directory", "capd filter -r FILE is for single files")}
		}
	}
	return args[:n], args[n:], nil
}

// extractPatience is how long an answer that is interrupted may take to its next packet.
const extractPatience = 2 * time.Second

func (x *extractCommand) run(cmd *cobra.Command, args []string) error {
	if err := x.alerts.check(cmd, x); err != nil {
		return err
	}
	if x.alerts.from != "" {
		return x.runAlerts(cmd, args)
	}
	out, err := x.output(cmd)
	if err == nil {
		err = x.listen.check(x)
	}
	if err != nil {
		return err
	}
	ctx, restore := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
	if x.host.Name != "" {
		if len(x.identity.paths) > 0 {
			return errRemoteIdentity
		}
		defer context.AfterFunc(ctx, func() { time.AfterFunc(extractPatience, restore) })() // later signals kill
		return (&remoteExtract{extractCommand: x, cmd: cmd}).run(ctx, args, out)
	}
	q, err := x.question(cmd, args)
	if err != nil {
		return err
	}
	if x.attached {
		ctx = whileOpen(ctx, cmd.InOrStdin())
	}
	by := recorders{x.socket()}
	if x.listen.address != "" {
		return x.serve(ctx, cmd, q, by, out)
	}
	plan, err := q.Plan(ctx, by)
	if err != nil {
		return err
	}
	if x.explain {
		return x.printPlan(cmd.OutOrStdout(), plan)
	}
	answer, err := find(ctx, cmd, plan, out)
	if answer == nil {
		return err
	}
	x.note(ctx, by, &q, answer, x.write != "")
	if err != nil {
		return err
	}
	return x.print(cmd, &q, answer)
}

// note writes into the ledger of each directory who asked, and got the packets if they were given.
func (x *extractCommand) note(ctx context.Context, by recorders, q *extract.Question, a *extract.Answer, given bool) {
	for _, dir := range q.Directories {
		var packets, bytes uint64
		if given {
			packets, bytes = a.Of(dir)
		}
		if err := by.note(context.WithoutCancel(ctx), dir, q.Text, packets, bytes); err != nil {
			a.Notes = append(a.Notes, fmt.Sprintf("the question is not in the ledger of %s: %v", text.Name(dir), err))
		}
	}
}

// whileOpen returns a context that ends with the reader too.
func whileOpen(ctx context.Context, r io.Reader) context.Context {
	ctx, end := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, r)
		end()
	}()
	return ctx
}

// parseFormat reads the value of --format.
func parseFormat(cmd *cobra.Command, s string) (f pcap.Format, micro bool, err error) {
	switch s {
	case config.FormatPcapng:
		return pcap.PCAPNG, false, nil
	case config.FormatPcap, config.FormatPcapMicro:
		return pcap.PCAP, s == config.FormatPcapMicro, nil
	}
	return f, false, usageError{fmt.Errorf("%s: --format %q is none of pcapng, pcap and pcap-us", cmd.Name(), s)}
}

// output opens nothing yet.
func (x *extractCommand) output(cmd *cobra.Command) (out extract.Output, err error) {
	if out.Format, out.Micro, err = parseFormat(cmd, x.format); err != nil {
		return out, err
	}
	switch w := cmd.OutOrStdout(); x.write {
	case "":
	case "-":
		if _, ok := terminal.Is(w); ok {
			return out, usageError{errors.New("extract: -w - writes packets to standard output, which is a terminal: redirect it")}
		}
		out.To = w
	default:
		out.Path = x.write
	}
	return out, nil
}

// find answers the question. It returns no answer if a signal came and the files could not be read on to their next packet:
// what is written then ends with a whole one, and without a verdict.
func find(ctx context.Context, cmd *cobra.Command, plan *extract.Plan, out extract.Output) (*extract.Answer, error) {
	bar := terminal.NewProgress(terminal.NewScreen(cmd.ErrOrStderr()), "extract", 0)
	for _, s := range plan.Sources {
		bar.Expect(s.Reading.Bytes)
	}
	out.Through = bar.Reader
	type result struct {
		answer *extract.Answer
		err    error
	}
	ended := make(chan result, 1)
	go func() {
		answer, err := plan.Find(ctx, out)
		ended <- result{answer, err}
	}()
	var late <-chan time.Time
	for signaled := ctx.Done(); ; signaled = nil {
		select {
		case r := <-ended:
			bar.End()
			return r.answer, r.err
		case <-late:
			return nil, errors.New("extract: interrupted: reading or writing did not go on to the next packet, and the answer has no verdict")
		case <-signaled:
			late = time.After(extractPatience)
		}
	}
}

// extractJSON is the object that extract --json prints.
type extractJSON struct {
	Question    string    `json:"question"`
	Directories []string  `json:"directories"`
	AskedSince  time.Time `json:"asked_since,omitzero"`
	AskedUntil  time.Time `json:"asked_until,omitzero"`
	File        string    `json:"file,omitempty"`
	Host        string    `json:"host,omitempty"` // where the directories are
	*extract.Answer
}

// print prints what was found, and the verdict.
func (x *extractCommand) print(cmd *cobra.Command, q *extract.Question, a *extract.Answer) error {
	w, errs := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if x.asJSON {
		if x.write == "-" {
			w = errs
		}
		if err := printJSON(w, extractJSON{q.Text, q.Directories, q.Since, q.Until, x.write, x.host.String(), a}); err != nil {
			return err
		}
	} else if err := x.printText(w, errs, a); err != nil {
		return err
	}
	if !a.Complete {
		return &codedError{exitIncomplete, nil}
	}
	return nil
}

// mostReasons is how many reasons are printed as text.
const mostReasons = 10

func (x *extractCommand) printText(w, errs io.Writer, a *extract.Answer) error {
	if x.write != "-" {
		if err := x.printSummary(w, a); err != nil {
			return err
		}
	}
	fmt.Fprintf(errs, "capd: %s\n", a.Verdict())
	x.printReasons(errs, a)
	if asked := x.bounds.String(); asked != "" && x.write == "-" {
		fmt.Fprintf(errs, "capd: %s\n", asked)
	}
	return nil
}

// printReasons prints what follows the verdict.
func (x *extractCommand) printReasons(errs io.Writer, a *extract.Answer) {
	if len(a.Missing) > 1 {
		for i := range a.Missing {
			if i == mostReasons {
				fmt.Fprintf(errs, "capd:   and %d more; --json has all\n", len(a.Missing)-i)
				break
			}
			fmt.Fprintf(errs, "capd:   %s\n", a.Missing[i].String())
		}
	}
	if a.Unordered > 0 {
		fmt.Fprintf(errs, "capd: %s older than the one before: more than a second late in the file\n", text.Count(a.Unordered, "packet"))
	}
	for _, note := range a.Notes {
		fmt.Fprintf(errs, "capd: %s\n", note)
	}
}

func (x *extractCommand) printSummary(w io.Writer, a *extract.Answer) error {
	if len(a.Interfaces) > 0 {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "FIRST\tLAST\tINTERFACE\tPACKETS\tBYTES\tDIRECTORY")
		for _, p := range a.Interfaces {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\n", text.Time(p.First), text.Time(p.Last), text.Name(p.Interface), p.Packets, p.Bytes, text.Name(p.Directory))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	to := ""
	if x.write != "" {
		to = " in " + text.Name(x.write)
	}
	fmt.Fprintf(w, "%s, %s%s, out of %s, %s", text.Count(a.Packets, "packet"), text.Count(a.Bytes, "byte"), to, text.Count(a.OfFiles, "file"), text.Size(a.OfBytes))
	if a.Tables > 0 {
		fmt.Fprintf(w, "; read were %s of them, and %s of flow tables", text.Size(a.Read), text.Size(a.Tables))
	}
	fmt.Fprintln(w)
	if x.write == "" && a.Packets > 0 {
		fmt.Fprintln(w, "-w FILE writes them, -w - | wireshark -k -i - shows them")
	}
	x.bounds.print(w)
	return nil
}

// An around is the value of --around: a moment, and how long before and after it.
type around struct {
	at      time.Time
	by      time.Duration
	written string
}

// Set reads T±D or T+-D.
func (a *around) Set(s string) error {
	at, by, ok := strings.Cut(s, "±")
	if !ok {
		i := strings.LastIndex(s, "+-")
		if i < 0 {
			return errors.New("write a time and how long around it, as 14:03:27±30s or 14:03:27+-30s")
		}
		at, by = s[:i], s[i+2:]
	}
	t, err := text.ParseTime(strings.TrimSpace(at), time.Now())
	if err != nil {
		return err
	}
	var d config.Duration
	if err := d.Set(strings.TrimSpace(by)); err != nil {
		return err
	}
	if d <= 0 {
		return errors.New("the time around is above 0, as 30s")
	}
	*a = around{t, time.Duration(d), s}
	return nil
}

// String returns what was written.
func (a *around) String() string { return a.written }

// Type names the type in the usage of flags.
func (a *around) Type() string { return "time" }

// A packetLimit is the value of --limit.
type packetLimit struct {
	packets uint64
	size    config.Size
}

// Set reads a number of packets or a size.
func (l *packetLimit) Set(s string) error {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		if n == 0 {
			return errors.New("a limit is above 0")
		}
		*l = packetLimit{packets: n}
		return nil
	}
	var size config.Size
	if err := size.Set(s); err != nil || size <= 0 {
		return errors.New("write a number of packets, as 1000, or a size, as 10MB")
	}
	*l = packetLimit{size: size}
	return nil
}

// String spells the limit.
func (l *packetLimit) String() string {
	switch {
	case l.packets > 0:
		return strconv.FormatUint(l.packets, 10)
	case l.size > 0:
		return l.size.String()
	}
	return ""
}

// Type names the type in the usage of flags.
func (l *packetLimit) Type() string { return "limit" }
