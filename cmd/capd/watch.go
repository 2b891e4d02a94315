package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"capd/capture"
	"capd/config"
	"capd/internal/terminal"
	"capd/internal/watch"
	"capd/pcap"

	"github.com/spf13/cobra"
)

// A watchCommand is what the flags of watch ask for.
type watchCommand struct {
	watch.Options
	numbers bool
}

func newWatch() *cobra.Command {
	w := watchCommand{Options: watch.Options{Ring: watchRing}}
	cmd := &cobra.Command{
		Use:   "watch [-i IF]... [-r FILE [-f]] [EXPRESSION]",
		Short: "Show packets, live or of a file",
		Long: `Print a line for each packet: its time in UTC, its interface, addresses and
contents. With -i, the packets of interfaces; without -i, those of all interfaces
(any). With -r, the packets of a pcap or pcapng FILE, compressed or not; - is
standard input. The EXPRESSION is a filter in the language of pcap-filter(7).

watch does not disturb a recording: it has a ring of its own. If the lines are read
more slowly than packets come, this ring drops packets, and watch reports that on
standard error.

-f follows a file NAME.partial while a recorder writes it, and ends when the file
is finished and so has another name. A file that keeps its name is followed until
Ctrl-C.

-v adds a line for each header with all its fields, and -x all bytes. --json
prints an object for each packet instead, one on each line: time (RFC 3339, with
nanoseconds), interface, link_type, length and captured in bytes, and the decoded
fields, such as src, dst, protocol and info. docs/watch.md lists all members.

Packets can't send control characters to the terminal: all but plain text is
escaped. Lines have colours on a terminal only; NO_COLOR=1 turns them off.`,
		Example: `  capd watch -i eth0 not port 22
  capd watch -i eth0 -v -c 10 'tcp[tcpflags] & tcp-rst != 0'
  capd watch -f -r /var/lib/capd/eth0-20260102T030405Z-000017.pcapng.partial
  capd watch -r web.pcapng --json | jq -r 'select(.dns) | .info'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			w.Filter = strings.Join(args, " ")
			if err := w.validate(); err != nil {
				return err
			}
			err := watch.Run(cmd.Context(), w.Options, cmd.InOrStdin(), cmd.OutOrStdout(), terminal.NewScreen(cmd.ErrOrStderr()))
			if errors.Is(err, watch.ErrReported) {
				return errReported
			}
			if w.File == "" {
				err = perhapsFile(err, args)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&w.Interfaces, "interface", "i", nil, "show packets of `IF`; may repeat (default any, on Linux)")
	f.StringVarP(&w.File, "read", "r", "", "show packets of `FILE`")
	f.BoolVarP(&w.Follow, "follow", "f", false, "follow a file that is being written")
	f.Uint64VarP(&w.Count, "count", "c", 0, "stop after `N` packets; 0: never")
	f.IntVarP(&w.Snaplen, "snaplen", "s", capture.DefaultSnaplen, "decode only the first `N` bytes of a packet")
	f.BoolVarP(&w.NoPromiscuous, "no-promiscuous", "p", false, "do not switch the interface to promiscuous mode, which is for all its readers")
	f.BoolVarP(&w.numbers, "numbers", "n", false, "show ports as numbers (the default)")
	f.BoolVarP(&w.Style.Names, "names", "N", false, "show well-known ports by name; names of hosts are never looked up")
	f.BoolVarP(&w.Style.Verbose, "verbose", "v", false, "show each header with all fields")
	f.BoolVarP(&w.Style.Hex, "hex", "x", false, "show the bytes")
	f.BoolVar(&w.Style.Date, "date", false, "show the date too")
	f.BoolVar(&w.Style.JSON, "json", false, "print a JSON object for each packet")
	f.Var(&w.Ring, "ring-size", "memory of `SIZE` in which the kernel keeps packets of an interface until they are shown")
	return cmd
}

// watchRing is enough for a burst; what comes on and on faster than it is
// shown fills any ring.
const watchRing = 32 * config.MiB

func (w *watchCommand) validate() error {
	var err error
	switch {
	case w.File != "" && len(w.Interfaces) > 0:
		err = errors.New("-r and -i exclude each other")
	case w.Follow && w.File == "":
		err = errors.New("-f needs -r: the file to follow")
	case w.Follow && w.File == "-":
		err = errors.New("-f: standard input can't be followed; it is read to its end without")
	case w.numbers && w.Style.Names:
		err = errors.New("-n and -N exclude each other")
	case w.Snaplen < 0 || w.Snaplen > pcap.MaxSnaplen:
		err = fmt.Errorf("-s %d: not from 0, for all, to %d", w.Snaplen, pcap.MaxSnaplen)
	case w.Ring < capture.DefaultBlockSize || w.Ring%capture.DefaultBlockSize != 0:
		err = fmt.Errorf("--ring-size %s: not a multiple of 1MiB", w.Ring)
	case w.File == "" && len(w.Interfaces) == 0 && runtime.GOOS != "linux":
		err = errors.New("name an interface with -i: only Linux shows all together; capd interfaces lists them")
	}
	if err != nil {
		return usageError{err}
	}
	if w.Snaplen == 0 {
		w.Snaplen = capture.DefaultSnaplen
	}
	if w.File == "" && len(w.Interfaces) == 0 {
		w.Interfaces = []string{capture.Any}
	}
	return nil
}
