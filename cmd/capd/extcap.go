package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"capd/capture"
	"capd/internal/extcap"
	"capd/internal/hint"
	"capd/internal/remote"
	"capd/internal/service"
	"capd/internal/text"
	"capd/pcap"

	"github.com/spf13/cobra"
)

// Names of the entries in Wireshark's list. An entry with the name of a real interface would be listed twice, and the real one
// would be recorded.
const (
	extcapHistory = "capd-history"
	extcapLive    = "capd-live-" // and the interface
)

// An extcapCommand is what Wireshark asks for, and what was entered into the fields of its dialog.
type extcapCommand struct {
	call   extcapCall
	fields extcapFields

	confine service.Confiner // nil: nothing is given up
}

// An extcapCall is what Wireshark passes by itself.
type extcapCall struct {
	interfaces, config, dlts, capture bool
	iface, filter, fifo, version      string
}

// extcapFields are the values of the fields. Wireshark passes their defaults too.
type extcapFields struct {
	since, until, last, around string
	filter, directory, host    string
	limit, snaplen             string
	quiet                      bool
}

func newExtcap(confine service.Confiner) *cobra.Command {
	e := extcapCommand{confine: confine}
	cmd := &cobra.Command{
		Use:   "extcap --extcap-interfaces | --extcap-interface NAME ...",
		Short: "Answer Wireshark, which calls it",
		Long: `Be an extcap of Wireshark, tshark and others: a program that they call to show its
interfaces in their lists, and to capture from these. Packages install what calls it,
as a script in the folder where Wireshark looks; docs/wireshark.md says what to do
without a package.

capd-history is what capd has recorded: the packets of capd extract, by time, filter,
directory, and over ssh of another machine. Its verdict is shown when the answer has
ended. capd-live-IF are the packets of an interface as they come, as capd watch -w
shows them, and needs the same rights.

The flags are those of Wireshark's calls, and the fields of its dialog.`,
		Example: `  tshark -D | grep capd
  tshark -i capd-history -o extcap.capd_history.last:10m -o extcap.capd_history.filter:'tcp port 443'`,
		Args:               noArgs,
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true}, // newer versions of Wireshark may pass more
		RunE:               e.run,
	}
	f := cmd.Flags()
	c, v := &e.call, &e.fields
	f.BoolVar(&c.interfaces, "extcap-interfaces", false, "list the interfaces")
	f.BoolVar(&c.config, "extcap-config", false, "list the fields of an interface")
	f.BoolVar(&c.dlts, "extcap-dlts", false, "list the link types of an interface")
	f.BoolVar(&c.capture, "capture", false, "write the packets of an interface to --fifo")
	f.StringVar(&c.iface, "extcap-interface", "", "`NAME` of the interface")
	f.StringVar(&c.filter, "extcap-capture-filter", "", "`EXPRESSION` that packets pass too; without --capture, say what is wrong with it")
	f.StringVar(&c.fifo, "fifo", "", "write to `FILE`")
	f.StringVar(&c.version, "extcap-version", "", "`VERSION` of Wireshark, which makes no difference")
	f.StringVar(&v.since, "since", "", "of capd-history: only packets from `TIME` on")
	f.StringVar(&v.until, "until", "", "of capd-history: only packets before `TIME`")
	f.StringVar(&v.around, "around", "", "of capd-history: only packets of the time `T±D`")
	f.StringVar(&v.last, "last", "", "of capd-history: only packets of the last `TIME`; does not count beside the other times")
	f.StringVar(&v.filter, "filter", "", "only packets that the `EXPRESSION` takes")
	f.StringVar(&v.directory, "directory", "", "of capd-history: look in `DIR`")
	f.StringVar(&v.host, "host", "", "of capd-history: ask capd on another machine, ssh://[USER@]HOST[:PORT]/[DIR] at `ADDRESS`")
	f.StringVar(&v.limit, "limit", "", "of capd-history: end after `N` packets, or before a size, as 10MB")
	f.BoolVar(&v.quiet, "quiet", false, "of capd-history: say nothing if the answer is complete")
	f.StringVar(&v.snaplen, "snaplen", "", "of live interfaces: only the first `N` bytes of packets")
	return cmd
}

func (e *extcapCommand) run(cmd *cobra.Command, _ []string) error {
	w := cmd.OutOrStdout()
	if e.call.interfaces {
		return extcap.WriteInterfaces(w, version(), extcapInterfaces())
	}
	live, isLive := strings.CutPrefix(e.call.iface, extcapLive)
	switch {
	case e.call.iface == "":
		return usageError{errors.New("extcap: Wireshark and its tools call this; capd extract and capd watch are for people")}
	case e.call.iface != extcapHistory && !isLive:
		return usageError{hint.New("extcap: there is no interface "+text.Name(e.call.iface), "capd extcap --extcap-interfaces lists them")}
	case e.call.config && isLive:
		return extcap.WriteFields(w, liveFields)
	case e.call.config:
		return extcap.WriteFields(w, historyFields)
	case e.call.dlts:
		return extcap.WriteLinkTypes(w, []extcap.LinkType{extcapLinkType(live)})
	case !e.call.capture:
		if err := checkSyntax(e.call.filter, nil); err != nil { // which Wireshark shows below the filter
			fmt.Fprintln(w, err)
		}
		return nil
	case e.call.fifo == "":
		return usageError{errors.New("extcap: --capture needs --fifo")}
	}
	fifo, err := os.OpenFile(e.call.fifo, os.O_WRONLY, 0) // first of all: who reads it waits for this
	if err != nil {
		return err
	}
	defer fifo.Close()
	if isLive {
		return e.capture(cmd, fifo, e.live(live), false)
	}
	words, err := e.history()
	if err != nil {
		printError(cmd.ErrOrStderr(), cmd, nil, err) // while the fifo is open: see capture
		return errReported
	}
	return e.capture(cmd, fifo, words, e.fields.quiet)
}

// extcapInterfaces lists what can be captured from, without asking a running capd. An empty list would hide the others of Wireshark's too.
func extcapInterfaces() []extcap.Interface {
	list := []extcap.Interface{{Name: extcapHistory, Display: "capd history"}}
	all, _ := capture.Interfaces()
	for i := range all {
		if name := all[i].Name; extcap.Fits(name) {
			list = append(list, extcap.Interface{Name: extcapLive + name, Display: "capd live " + name})
		}
	}
	return list
}

// extcapLinkType returns that of an interface, or of history, whose packets come with the link types that they were recorded with.
func extcapLinkType(live string) extcap.LinkType {
	all, _ := capture.Interfaces()
	for i := range all {
		if link := all[i].LinkType; live != "" && all[i].Named(live) {
			return extcap.LinkType{Number: int(link), Name: link.String(), Display: link.String()}
		}
	}
	return extcap.LinkType{Number: int(pcap.LinkTypeEthernet), Name: "EN10MB", Display: "as it was recorded"}
}

var historyFields = []extcap.Field{
	{Flag: "--last", Display: "Last", Kind: extcap.Text, Default: "10m", Placeholder: "10m", Group: "Time",
		Tooltip: "How far back, as 10m, 2h or 7d. It does not count if another time is given. Without any time, all is asked for."},
	{Flag: "--since", Display: "Since", Kind: extcap.Text, Placeholder: "yesterday 14:00", Group: "Time",
		Tooltip: "14:03, 14:03:27, yesterday 14:03, 2026-11-27 14:03, 2026-11-27T14:03:27Z or seconds since 1970; or how long ago, as 90m"},
	{Flag: "--until", Display: "Until", Kind: extcap.Text, Placeholder: "yesterday 14:10", Group: "Time", Tooltip: "As Since"},
	{Flag: "--around", Display: "Around", Kind: extcap.Text, Placeholder: "14:03:27+-30s", Group: "Time", Tooltip: "A time, and how long before and after it"},
	{Flag: "--filter", Display: "Filter", Kind: extcap.Text, Placeholder: "host 10.1.2.3 and tcp port 443", Group: "Packets",
		Tooltip: "An expression of pcap-filter. The capture filter counts too."},
	{Flag: "--limit", Display: "Limit", Kind: extcap.Text, Placeholder: "1GB", Group: "Packets", Tooltip: "End after so many packets, or before so many bytes"},
	{Flag: "--directory", Display: "Directory", Kind: extcap.Text, Placeholder: "/var/lib/capd", Group: "Place",
		Tooltip: "Where the recordings are; without one, where the configuration of capd says"},
	{Flag: "--host", Display: "Other machine", Kind: extcap.Text, Placeholder: "ssh://root@sensor", Group: "Place",
		Tooltip: "ssh://USER@HOST:PORT of a machine with capd, which ssh reaches without a password"},
	{Flag: "--quiet", Display: "Say nothing if the answer is complete", Kind: extcap.Switch, Default: "false", Group: "Packets",
		Tooltip: "Else the verdict is shown at the end in any case"},
}

var liveFields = []extcap.Field{
	{Flag: "--filter", Display: "Filter", Kind: extcap.Text, Placeholder: "host 10.1.2.3 and tcp port 443",
		Tooltip: "An expression of pcap-filter. The capture filter counts too."},
	{Flag: "--snaplen", Display: "Bytes of a packet", Kind: extcap.Number, Default: strconv.Itoa(capture.DefaultSnaplen), Tooltip: "Only the first so many bytes"},
}

// expression is what packets pass: of both filters.
func (e *extcapCommand) expression() (words []string) {
	a, b := strings.TrimSpace(e.call.filter), strings.TrimSpace(e.fields.filter)
	if a != "" && b != "" {
		a = "(" + a + ") and (" + b + ")"
	}
	if a = cmp.Or(a, b); a == "" {
		return nil
	}
	return []string{"--", a}
}

// history is the question as a command line of capd.
func (e *extcapCommand) history() ([]string, error) {
	v := &e.fields
	words := []string{"extract"}
	add := func(flag, value string) {
		if value = strings.TrimSpace(value); value != "" {
			words = append(words, "--"+flag+"="+value)
		}
	}
	dir := strings.TrimSpace(v.directory)
	switch {
	case v.host != "":
		h, err := remote.Parse(strings.TrimSpace(v.host))
		if err != nil {
			return nil, fmt.Errorf("extcap: %s: %w", text.Name(v.host), err)
		}
		h.Directory = cmp.Or(h.Directory, dir)
		add("host", h.String())
	case dir != "":
		abs, err := filepath.Abs(dir) // so that it is none of the expression
		if err != nil {
			return nil, err
		}
		words = append(words, abs)
	}
	add("write", "-")
	add("since", v.since)
	add("until", v.until)
	add("around", v.around)
	if len(strings.TrimSpace(v.since+v.until+v.around)) == 0 {
		add("last", v.last)
	}
	add("limit", v.limit)
	return append(words, e.expression()...), nil
}

// live is the command line of capd that shows an interface.
func (e *extcapCommand) live(name string) []string {
	words := []string{"watch", "--interface=" + name, "--write=-", "--no-summary"}
	if e.fields.snaplen != "" {
		words = append(words, "--snaplen="+e.fields.snaplen)
	}
	return append(words, e.expression()...)
}

// capture runs a command of capd that writes to the fifo. What it prints is shown by Wireshark, and its exit code too: that packets may
// be missing from an answer is in words. Wireshark shows what has been said when the fifo ends.
func (e *extcapCommand) capture(cmd *cobra.Command, fifo *os.File, words []string, quiet bool) error {
	out := &fifoWriter{to: fifo}
	var said bytes.Buffer
	errs := io.Writer(&said)
	if words[0] == "watch" { // it has no end of its own
		errs = cmd.ErrOrStderr()
	}
	code := run(cmd.Context(), words, out, errs, e.confine)
	switch {
	case out.gone.Load():
		return nil // nobody wants to know
	case code != exitFine || !quiet:
		_, _ = said.WriteTo(cmd.ErrOrStderr())
	}
	if code != exitFine && code != exitIncomplete {
		return errReported
	}
	return fifo.Close()
}

// A fifoWriter notes that nobody reads any more.
type fifoWriter struct {
	to   io.Writer
	gone atomic.Bool
}

func (w *fifoWriter) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	if err != nil {
		w.gone.Store(true)
	}
	return n, err
}
