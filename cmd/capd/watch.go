package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"capd/capture"
	"capd/config"
	"capd/pcap"

	"github.com/spf13/cobra"
)

// A watchCommand is what the flags of watch ask for.
type watchCommand struct {
	interfaces []string
	read       string
	follow     bool
	count      uint64
	snaplen    int
	ring       config.Size
	style      style
	noPromisc  bool // no promiscuous mode
	numbers    bool
	expr       string
	screen     *screen // notices
}

func newWatch() *cobra.Command {
	w := watchCommand{ring: watchRing}
	cmd := &cobra.Command{
		Use:   "watch [-i IF]... [-r FILE [-f]] [EXPRESSION]",
		Short: "Show packets as they pass, or those of a file",
		Long: `Print a line for each packet: its time in UTC, its interface, who sends what to
whom. The packets are those of the interfaces, of all (any) without -i, or those
of a pcap or pcapng FILE, compressed or not; - is standard input. The EXPRESSION
is a filter in the language of pcap-filter(7).

A recording is not touched: watch has a ring of its own, which drops packets
when the reader of the lines is slower than the wire. It says so, on standard
error.

-f shows what a recorder writes to the file NAME.partial as it grows, and ends
when it is finished and so has another name. A file that keeps its name is
followed until Ctrl-C.

-v adds a line for each header with all its fields, -x all bytes. --json prints
an object a packet instead, one a line: time (RFC 3339, with nanoseconds),
interface, link_type, length and captured in bytes, then what was decoded, such
as src, dst, protocol and info; docs/watch.md has all members.

Nothing in a packet reaches the terminal as it is: what is no plain text is
escaped. Colours are for terminals only; NO_COLOR=1 turns them off.`,
		Example: `  capd watch -i eth0 not port 22
  capd watch -i eth0 -v -c 10 'tcp[tcpflags] & tcp-rst != 0'
  capd watch -f -r /var/lib/capd/eth0-20260102T030405Z-000017.pcapng.partial
  capd watch -r web.pcapng --json | jq -r 'select(.dns) | .info'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			w.expr = strings.Join(args, " ")
			w.screen = newScreen(cmd.ErrOrStderr())
			if err := w.validate(); err != nil {
				return err
			}
			// The end of the reader of the lines is the end of watch, and no error.
			signal.Ignore(syscall.SIGPIPE)
			err := w.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
			if w.read == "" {
				err = perhapsFile(err, args)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&w.interfaces, "interface", "i", nil, "show packets of `IF`; may repeat (default any, on Linux)")
	f.StringVarP(&w.read, "read", "r", "", "show packets of `FILE`")
	f.BoolVarP(&w.follow, "follow", "f", false, "wait for what is written to the file")
	f.Uint64VarP(&w.count, "count", "c", 0, "stop after `N` packets; 0: never")
	f.IntVarP(&w.snaplen, "snaplen", "s", capture.DefaultSnaplen, "look at the first `N` bytes of a packet")
	f.BoolVarP(&w.noPromisc, "no-promiscuous", "p", false, "do not ask for frames for other hosts, which every reader of the interface gets then")
	f.BoolVarP(&w.numbers, "numbers", "n", false, "ports as numbers, as is the default")
	f.BoolVarP(&w.style.names, "names", "N", false, "well-known ports by name; nobody is asked for names of hosts")
	f.BoolVarP(&w.style.verbose, "verbose", "v", false, "show each header with all fields")
	f.BoolVarP(&w.style.hex, "hex", "x", false, "show the bytes")
	f.BoolVar(&w.style.date, "date", false, "show the date too")
	f.BoolVar(&w.style.json, "json", false, "print a JSON object for each packet")
	f.Var(&w.ring, "ring-size", "memory of `SIZE` in which the kernel keeps packets of an interface until they are shown")
	return cmd
}

// watchRing is enough for a burst; what comes on and on faster than it is
// shown fills any ring.
const watchRing = 32 * config.MiB

func (w *watchCommand) validate() error {
	var err error
	switch {
	case w.read != "" && len(w.interfaces) > 0:
		err = errors.New("-r and -i exclude each other")
	case w.follow && w.read == "":
		err = errors.New("-f needs -r: the file to follow")
	case w.follow && w.read == "-":
		err = errors.New("-f: standard input can't be followed; it is read to its end without")
	case w.numbers && w.style.names:
		err = errors.New("-n and -N exclude each other")
	case w.snaplen < 0 || w.snaplen > pcap.MaxSnaplen:
		err = fmt.Errorf("-s %d: not from 0, for all, to %d", w.snaplen, pcap.MaxSnaplen)
	case w.ring < capture.DefaultBlockSize || w.ring%capture.DefaultBlockSize != 0:
		err = fmt.Errorf("--ring-size %s: not a multiple of 1MiB", w.ring)
	}
	if err != nil {
		return usageError{err}
	}
	if w.snaplen == 0 {
		w.snaplen = capture.DefaultSnaplen
	}
	return nil
}

func (w *watchCommand) run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	p := newPrinter(stdout, w.style, w.count)
	if w.read != "" {
		return w.file(ctx, p, stdin)
	}
	return w.live(ctx, p)
}

// A feed brings packets to a printer.
type feed interface {
	run() error // until the end, or until the printer is done
	stop()      // asks for the end; what has come is still shown
}

// lastLook is how long after the signal to end packets are shown that came
// before.
const lastLook = 500 * time.Millisecond

// attend runs the feeds until all have ended, the printer is done or a signal
// comes. One that hangs then, as its terminal takes nothing, is left behind.
// The end of one leaves the others alone. The errors are those of feeds.
func (w *watchCommand) attend(ctx context.Context, p *printer, feeds []feed) (interrupted bool, err error) {
	ctx, restore := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
	ends := make(chan error, len(feeds))
	for _, f := range feeds {
		go func() { ends <- f.run() }()
	}
	signaled, done := ctx.Done(), p.done
	var late <-chan time.Time
	for left := len(feeds); left > 0; {
		select {
		case e := <-ends:
			if left--; e != nil && len(feeds) > 1 {
				w.notice("%v", e)
				e = errReported
			}
			err = cmp.Or(err, e)
			continue
		case <-late:
			return interrupted, err
		case <-signaled:
			signaled, interrupted = nil, true
			restore() // a second signal kills
		case <-done:
			done = nil
		}
		late = time.After(lastLook)
		for _, f := range feeds {
			f.stop()
		}
	}
	return interrupted, err
}

// notice prints a line on standard error.
func (w *watchCommand) notice(format string, args ...any) {
	fmt.Fprintf(w.screen, "capd: "+format+"\n", args...)
}
