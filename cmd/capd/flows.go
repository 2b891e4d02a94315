package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"capd/filter"
	"capd/internal/index"
	"capd/internal/terminal"
	"capd/internal/text"

	"github.com/spf13/cobra"
)

// A flowsCommand is what the flags of flows ask for.
type flowsCommand struct {
	choice
	identity      identityFlag
	expression    string
	last          string
	top           int
	by            string
	asJSON, asCSV bool
}

func newFlows() *cobra.Command {
	var f flowsCommand
	cmd := &cobra.Command{
		Use:   "flows [DIR] [EXPRESSION]",
		Short: "Print which flows there are in the capture files of a directory",
		Long: `Print the flows with the most bytes in the capture files of a directory, of capd or any
other tool. A flow is what two ends send each other, as a TCP connection: A is the sender of
its first packet. Its parts in several files are one line. Bytes are those on the wire. What a
tunnel carries counts for the flow of the tunnel.

With an EXPRESSION, as in capd filter, only packets that pass it count. The first word is the DIR
if it is a directory; what follows is the EXPRESSION, and after -- all is.

It reads the flow tables that capd index makes. Of files that have none, or whose table does not
fit them, it reads the packets themselves, which takes longer and prints the same; so it does
for files that are still written. Expressions about addresses, ports, protocols and VLANs are
answered from the tables; where a table does not tell which packets pass, as for tcp[20:4] or
IPv6 behind extension headers, the packets of its file are read too. It says how many of each
there were.

--by packets orders by packets. --by flows prints pairs of addresses, by the number of their
flows; a flow counts once in each file. --since and --until choose flows that had packets
in that time; what is printed of them is all that the files have that it begins and ends in.

A table may have flows that it does not list one by one, as those of a flood: a line with A=*
stands for them.

--json prints an object: flows, total, tables, scanned (files that were read for want of a
table), undecided (files that were read because their tables do not tell), skipped (files that
have no such packets), and trouble (files that could not be read, or not to their end, or whose
packets the EXPRESSION does not fit). --csv prints a header and a line for each flow. The exit
code is 1 if there was trouble.

Encrypted files have no flow tables: with --identity their packets are read.

` + identityHelp + `

` + placeHelp + `

` + timesHelp,
		Example: `  capd flows /var/lib/capd --last 1h
  capd flows --since 14:00 --until 14:10 -i eth0 --top 50
  capd flows host 10.1.2.3 and not port 53
  capd flows --by flows --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := f.question(cmd, args)
			if err != nil {
				return err
			}
			return f.each(cmd.OutOrStdout(), dirs, !f.asJSON && !f.asCSV, func(dir string) error { return f.flows(cmd, dir) })
		},
	}
	f.place.bind(cmd)
	f.bounds.bind(cmd, "only flows with packets from `TIME` on")
	cmd.Flags().StringVarP(&f.iface, "interface", "i", "", "only flows of the interface `NAME`, or of that interface by another of its names")
	cmd.Flags().StringVar(&f.last, "last", "", "only flows with packets in the last `TIME`, as 10m")
	cmd.Flags().IntVar(&f.top, "top", 20, "print `N` flows; 0 prints all")
	cmd.Flags().StringVar(&f.by, "by", string(index.ByBytes), "order by `MEASURE`: bytes, packets or flows")
	f.identity.bind(cmd)
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print a JSON object")
	cmd.Flags().BoolVar(&f.asCSV, "csv", false, "print comma-separated values")
	return cmd
}

// question sets the expression of the command line, and returns its directory, if there is one.
func (f *flowsCommand) question(cmd *cobra.Command, args []string) (dirs []string, err error) {
	dirs, words, err := directoriesFirst(cmd, args)
	switch {
	case err != nil:
		return nil, err
	case len(dirs) > 1:
		return nil, usageError{errors.New("flows: it prints the flows of one directory, not of " + strconv.Itoa(len(dirs)))}
	case len(dirs) > 0 && cmd.Flags().Changed("config"):
		return nil, usageError{errors.New("flows: a directory is named, and -c says others")}
	}
	f.expression = strings.TrimSpace(strings.Join(words, " "))
	if _, err := filter.Compile(f.expression, filter.Target{LinkType: filter.LinkEthernet}); errors.As(err, new(*filter.SyntaxError)) {
		return nil, usageError{perhapsFile(err, words)}
	}
	return dirs, f.checkAll(cmd)
}

func (f *flowsCommand) checkAll(cmd *cobra.Command) error {
	switch {
	case f.asJSON && f.asCSV:
		return usageError{errors.New("flows: --json and --csv are two ways to print")}
	case f.top < 0:
		return usageError{errors.New("flows: --top is a number of flows, or 0")}
	case !slices.Contains(index.Measures(), index.Measure(f.by)):
		return usageError{fmt.Errorf("flows: --by %s: it is bytes, packets or flows", text.Name(f.by))}
	case f.last != "" && !f.since.IsZero():
		return usageError{errors.New("flows: --last and --since both say when to begin")}
	}
	if f.last != "" {
		if err := f.since.Set(strings.TrimPrefix(f.last, "-")); err != nil {
			return usageError{fmt.Errorf("flows: --last: %w", err)}
		}
	}
	return f.check(cmd)
}

func (f *flowsCommand) flows(cmd *cobra.Command, dir string) error {
	ctx, restore := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
	bar := terminal.NewProgress(terminal.NewScreen(cmd.ErrOrStderr()), dir, 0)
	keys, err := f.identity.read()
	if err != nil {
		return err
	}
	q := index.Query{Identities: keys, Expression: f.expression, Since: f.since.Time, Until: f.until.Time, By: index.Measure(f.by), Top: f.top, Begin: bar.Expect, Read: bar.Add}
	if f.iface != "" {
		q.Interfaces = f.names()
	}
	a, err := index.Flows(ctx, dir, q)
	bar.End()
	if errors.Is(err, context.Canceled) {
		return errors.New("flows: interrupted")
	}
	if err != nil {
		return err
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	switch {
	case f.asJSON:
		err = printJSON(out, a)
	case f.asCSV:
		err = printFlowsCSV(out, a)
	default:
		err = f.print(out, a)
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return err
	}
	var trouble error
	for _, s := range a.Trouble {
		trouble = errors.Join(trouble, errors.New("flows: "+s))
	}
	return trouble
}

func (f *flowsCommand) print(w io.Writer, a *index.Answer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(a.Flows) > 0 {
		fmt.Fprintln(t, "BEGIN\tEND\tINTERFACE\tPROTO\tA\tB\tFLOWS\tPACKETS A>B\tB>A\tBYTES A>B\tB>A")
	}
	for i := range a.Flows {
		l := &a.Flows[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", flowTime(l.First), flowTime(l.Last), orDash(l.Interface), orDash(protocol(l)),
			flowEnd(l.A, l.APort, l.Unlisted), flowEnd(l.B, l.BPort, l.Unlisted), l.Flows, l.APackets, l.BPackets,
			text.Size(l.ABytes), text.Size(l.BBytes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	c := &a.Total
	fmt.Fprintf(w, "%s, %s, %s; %s by table, %d by reading it, %d without such packets\n", text.Count(c.Flows, "flow"),
		text.Count(c.APackets+c.BPackets, "packet"), text.Size(c.ABytes+c.BBytes), text.Count(a.Tables, "file"), a.Scanned+a.Undecided, a.Skipped)
	if a.Scanned > 0 {
		fmt.Fprintln(w, "capd index makes the tables of files that are finished")
	}
	if a.Undecided > 0 {
		fmt.Fprintf(w, "the tables of %s do not tell which packets pass the expression\n", text.Count(a.Undecided, "file"))
	}
	if a.Inexact {
		fmt.Fprintln(w, "there are too many flows to count each: what is printed may lack some of their packets")
	}
	f.bounds.print(w)
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return text.Name(s)
}

func flowTime(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return text.Time(*t)
}

// flowEnd spells an end of a flow; * is any of several.
func flowEnd(addr string, port *uint16, unlisted bool) string {
	switch {
	case addr == "" && unlisted:
		addr = "*"
	case addr == "":
		return "-"
	}
	if port == nil {
		return addr
	}
	return net.JoinHostPort(addr, strconv.Itoa(int(*port)))
}

// protocol spells what a flow is of.
func protocol(l *index.Flow) string {
	if l.Proto == nil {
		if l.EtherType == 0 {
			return ""
		}
		return fmt.Sprintf("0x%04x", l.EtherType)
	}
	name := map[uint8]string{1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmp6", 89: "ospf", 132: "sctp"}[*l.Proto]
	if name == "" {
		name = strconv.Itoa(int(*l.Proto))
	}
	if l.ICMPType != nil {
		name += fmt.Sprintf(" %d/%d", *l.ICMPType, *l.ICMPCode)
	}
	return name
}

// printFlowsCSV prints the flows as RFC 4180 has them, with times as in JSON.
func printFlowsCSV(w io.Writer, a *index.Answer) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"first", "last", "interface", "vlans", "ethertype", "proto", "a", "a_port", "b", "b_port", "icmp_type", "icmp_code", "unlisted",
		"flows", "a_packets", "b_packets", "a_bytes", "b_bytes", "community_id"})
	u := func(n uint64) string { return strconv.FormatUint(n, 10) }
	for i := range a.Flows {
		l := &a.Flows[i]
		vlans := make([]string, len(l.VLANs))
		for i, id := range l.VLANs {
			vlans[i] = strconv.Itoa(int(id))
		}
		_ = c.Write([]string{csvTime(l.First), csvTime(l.Last), l.Interface, strings.Join(vlans, " "), strconv.Itoa(int(l.EtherType)), number(l.Proto),
			l.A, number(l.APort), l.B, number(l.BPort), number(l.ICMPType), number(l.ICMPCode), strconv.FormatBool(l.Unlisted),
			u(l.Flows), u(l.APackets), u(l.BPackets), u(l.ABytes), u(l.BBytes), l.CommunityID})
	}
	c.Flush()
	return c.Error()
}

func csvTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// number spells a number, or nothing if it is not known.
func number[N uint8 | uint16](n *N) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(int(*n))
}
