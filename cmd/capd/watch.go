package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"capd/capture"
	"capd/config"
	"capd/internal/sandbox"
	"capd/internal/terminal"
	"capd/internal/watch"
	"capd/pcap"

	"github.com/spf13/cobra"
)

// A watchCommand is what the flags of watch ask for.
type watchCommand struct {
	watch.Options
	numbers bool
	utc     bool
	stamp   int // how often -t was given
	user    string
	listen  listening
	format  string // with listen

	identity identityFlag
}

// newWatch makes the command. It gives up privileges if that is asked for.
func newWatch(confined bool) *cobra.Command {
	w := watchCommand{Options: watch.Options{Ring: watchRing, Application: "capd " + version()}}
	cmd := &cobra.Command{
		Use:   "watch [-i IF]... [-r FILE... [-f]] [-w FILE] [EXPRESSION]",
		Short: "Show packets, live or of files",
		Long: `Print a line for each packet: its local time, its interface, addresses and
contents. With -i, the packets of interfaces; without -i, those of all interfaces
(any). With -r, the packets of pcap or pcapng files, each whole and in the given
order, compressed or not; - is standard input. The EXPRESSION is a filter in the
language of pcap-filter(7).

watch does not disturb a recording: it has a ring of its own. If the lines are read
more slowly than packets come, this ring drops packets, and watch reports that on
standard error.

-f follows the last file while a recorder writes it. When this file is finished,
watch goes on with the next file of the same interface and lane, until Ctrl-C. If
files were deleted before watch could read them, it says so. A file whose name is
not one of capd's is followed until it is renamed.

-w also writes the packets that are shown to a pcapng file, which must not exist.
From a pcapng file, watch copies all that belongs to the packets and the interfaces.
With -w -, the file goes to standard output and no lines are printed.

Times are local; a message names the zone if it is not UTC. -u shows UTC. -t shows no
time, -tt seconds since 1970, -ttt the time since the packet before, -tttt the date
too, and -ttttt the time since the first packet. Sequence numbers of TCP are relative
to the first ones that watch saw of a connection; -S shows them as they are.

--listen gives the packets to each reader that connects instead of showing them: Wireshark's
TCP@127.0.0.1:57012, Zeek, Arkime, NetworkMiner; eight at a time, until Ctrl-C. A reader that
is too slow loses packets, and one that takes nothing for 30 seconds is dropped; neither costs
others a packet. The format is pcap without --format.

-v adds a line for each header with all its fields, -e shows the header of the link
layer in the line, -x adds all bytes, and -A the bytes as text. --json prints an object
for each packet instead, one on each line: time (RFC 3339, in UTC with nanoseconds),
interface, link_type, length and captured in bytes, and the decoded fields, such as
src, dst, protocol and info. docs/watch.md lists all members.

As soon as root has opened the interfaces, watch becomes the user who called sudo, or
nobody, and so has no privileges while it decodes packets; -Z names another user, and
-Z root stays root. With -r it keeps the user.

The first Ctrl-C or SIGTERM ends watch, and it prints its summary; so does a second
one within a second. A later one kills it.

Packets can't send control characters to the terminal: all but plain text is
escaped. Lines have colours on a terminal only; NO_COLOR=1 turns them off.`,
		Example: `  capd watch -i eth0 not port 22
  capd watch -i eth0 -v -c 10 'tcp[tcpflags] & tcp-rst != 0'
  capd watch -i eth0 -w web.pcapng 'tcp port 443'
  capd watch -f -r /var/lib/capd/eth0-20260102T030405Z-000017.pcapng.partial
  capd watch -r web.pcapng --json | jq -r 'select(.dns) | .info'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			w.Filter = strings.Join(args, " ")
			var err error
			if w.Identities, err = w.identity.read(); err != nil {
				return err
			}
			if err := w.validate(); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if _, is := terminal.Is(out); is && w.Write == "-" {
				return usageError{errors.New("watch: -w - writes packets to standard output, which is a terminal: redirect it")}
			}
			if err := w.serve(cmd); err != nil {
				return err
			}
			if confined {
				if err := w.become(os.Geteuid(), os.Getenv("SUDO_UID")); err != nil {
					return err
				}
			}
			err = watch.Run(cmd.Context(), w.Options, cmd.InOrStdin(), out, terminal.NewScreen(cmd.ErrOrStderr()))
			if errors.Is(err, watch.ErrReported) {
				return errReported
			}
			if len(w.Files) == 0 {
				err = perhapsFile(err, args)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&w.Interfaces, "interface", "i", nil, "show packets of `IF`; may repeat (default any, on Linux)")
	f.StringArrayVarP(&w.Files, "read", "r", nil, "show packets of `FILE`, - for standard input; may repeat")
	f.BoolVarP(&w.Follow, "follow", "f", false, "follow the last file while it is written, and go on with the next one")
	f.StringVarP(&w.Write, "write", "w", "", "also write the packets to `FILE`, as pcapng; it must not exist; - for standard output")
	f.Uint64VarP(&w.Count, "count", "c", 0, "stop after `N` packets; 0: never")
	f.IntVarP(&w.Snaplen, "snaplen", "s", capture.DefaultSnaplen, "decode only the first `N` bytes of a packet; live, capture only these")
	f.BoolVarP(&w.NoPromiscuous, "no-promiscuous", "p", false, "do not switch the interface to promiscuous mode, which is for all its readers")
	f.BoolVarP(&w.numbers, "numbers", "n", false, "show ports as numbers (the default)")
	f.BoolVarP(&w.Style.Names, "names", "N", false, "show well-known ports by name; names of hosts are never looked up")
	f.BoolVarP(&w.Style.Absolute, "absolute", "S", false, "show sequence numbers of TCP as they are, not relative ones")
	f.BoolVarP(&w.Style.Verbose, "verbose", "v", false, "show each header with all fields")
	f.BoolVarP(&w.Style.Link, "link-header", "e", false, "show the header of the link layer")
	f.BoolVarP(&w.Style.Hex, "hex", "x", false, "show the bytes")
	f.BoolVarP(&w.Style.ASCII, "ascii", "A", false, "show the bytes as text, without the header of the link layer")
	f.CountVarP(&w.stamp, "time", "t", "``-t: no time, -tt: since 1970, -ttt: since the packet before, -tttt: with the date, -ttttt: since the first packet")
	f.BoolVar(&w.Style.Date, "date", false, "show the date and the time zone too")
	f.BoolVarP(&w.utc, "utc", "u", false, "show times in UTC")
	f.BoolVar(&w.Style.JSON, "json", false, "print a JSON object for each packet")
	f.BoolVar(&w.Quiet, "no-summary", false, "print no counts at the end")
	w.identity.bind(cmd)
	f.Var(&w.Ring, "ring-size", "memory of `SIZE` in which the kernel keeps packets of an interface until they are shown")
	w.listen.bindAddress(cmd)
	f.StringVar(&w.format, "format", config.FormatPcap, "with --listen: give `FORMAT`: pcap (nanoseconds), pcap-us (microseconds) or pcapng")
	f.StringVarP(&w.user, "user", "Z", "", "become `USER` once the interfaces are open (default: who called sudo, or nobody)")
	return cmd
}

// watchRing is enough for a burst; what comes on and on faster than it is
// shown fills any ring.
const watchRing = 32 * config.MiB

func (w *watchCommand) validate() error {
	live := len(w.Files) == 0
	w.Style.Stamp = watch.Stamp(w.stamp)
	var err error
	switch {
	case !live && len(w.Interfaces) > 0:
		err = errors.New("-r and -i exclude each other")
	case w.Follow && live:
		err = errors.New("-f needs -r: the file to follow")
	case w.Follow && slices.Contains(w.Files, "-"):
		err = errors.New("-f: standard input can't be followed; it is read to its end without")
	case live && len(w.identity.paths) > 0:
		err = errors.New("--identity is for files: -r names them")
	case w.user != "" && !live:
		err = errors.New("-Z is for interfaces: with -r the user stays the same")
	case w.listen.address != "" && (!live || w.Write != "" || w.Style.Verbose || w.Style.Hex || w.Style.ASCII || w.Style.Link || w.stamp > 0):
		err = errors.New("--listen gives packets of interfaces to readers, and shows none: -r, -w and flags for lines do not go with it")
	case w.listen.address == "" && w.listen.anywhere:
		err = errors.New("--listen-anywhere is for --listen")
	case w.numbers && w.Style.Names:
		err = errors.New("-n and -N exclude each other")
	case !w.Style.Stamp.Valid():
		err = errors.New("-t may be given five times at the most")
	case w.Style.Date && w.stamp > 0:
		err = errors.New("--date and -t exclude each other")
	case w.Style.JSON && (w.stamp > 0 || w.Style.ASCII || w.Style.Link):
		err = errors.New("--json has all times and addresses: -A, -e and -t are for lines")
	case w.Snaplen < 0 || w.Snaplen > pcap.MaxSnaplen:
		err = fmt.Errorf("-s %d: not from 0, for all, to %d", w.Snaplen, pcap.MaxSnaplen)
	case w.Ring < capture.DefaultBlockSize || w.Ring%capture.DefaultBlockSize != 0:
		err = fmt.Errorf("--ring-size %s: not a multiple of 1MiB", w.Ring)
	case live && len(w.Interfaces) == 0 && runtime.GOOS != "linux":
		err = errors.New("name an interface with -i: only Linux shows all together; capd interfaces lists them")
	}
	if err != nil {
		return usageError{err}
	}
	if w.Snaplen == 0 {
		w.Snaplen = capture.DefaultSnaplen
	}
	if !w.utc {
		w.Style.Zone = time.Local
	}
	if live && len(w.Interfaces) == 0 {
		w.Interfaces = []string{capture.Any}
	}
	return nil
}

// serve opens the address of --listen.
func (w *watchCommand) serve(cmd *cobra.Command) error {
	if w.listen.address == "" {
		if cmd.Flags().Changed("format") {
			return usageError{errors.New("watch: --format is for --listen: -w writes pcapng")}
		}
		return nil
	}
	format, micro, err := parseFormat(cmd, w.format)
	if err != nil {
		return err
	}
	l, err := w.listen.listen()
	if err != nil {
		return err
	}
	w.Serve = &watch.Serving{Listener: l, Format: format, Micro: micro}
	return nil
}

// become says whom root becomes: the user that is named, the one that called sudo,
// or nobody. Root by name stays root.
func (w *watchCommand) become(euid int, sudo string) error {
	if len(w.Files) > 0 || euid != 0 && w.user == "" {
		return nil
	}
	var a sandbox.Account
	var err error
	switch {
	case w.user != "":
		a, err = sandbox.Lookup(w.user)
		w.MustBecome = true
	case sudo != "" && sudo != "0":
		a, err = sandbox.LookupID(sudo)
	default:
		a, err = sandbox.Lookup("nobody")
	}
	if err != nil && w.MustBecome {
		return fmt.Errorf("watch: -Z: %w", err)
	}
	if err != nil { // the number that stands for nobody where there is no such user
		a = sandbox.Account{Name: "65534", UID: 65534, GID: 65534}
	}
	w.User = &a
	return nil
}
