package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"capd/internal/extract"
	"capd/internal/web"

	"github.com/spf13/cobra"
)

// A webCommand is what the flags of web ask for.
type webCommand struct {
	place
	identity identityFlag
	address  string
}

func newWeb() *cobra.Command {
	var x webCommand
	cmd := &cobra.Command{
		Use:   "web [DIR...]",
		Short: "Open a page over recordings, for a browser on this machine",
		Long: `Serve a page that shows what directories of captures hold: a timeline of packets, losses,
gaps, deleted, held and damaged files; who talked to whom; and packets, decoded. A span
that is dragged over the timeline, with a filter, can be downloaded as pcapng; the page
shows the command line that gives the same, and always whether all of it is there.

It prints the address to open, which has a token that is good for one tab of a browser.
It listens on this machine alone, and asks no other one; for another machine's captures
run it there, and forward its port: ssh -L 8080:127.0.0.1:8080 HOST capd web --listen
127.0.0.1:8080 DIR. Ctrl-C ends it.

The page changes nothing but a line in the ledger for each download, which says who got
what, as that of capd extract does. Captures of other tools are shown too, from directories
without files of capd's, once capd index has made their flow tables.

` + identityHelp + `

` + placeHelp,
		Example: `  capd web /var/lib/capd
  capd index /data/dumps && capd web /data/dumps
  capd web --listen 127.0.0.1:8080`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.Flags().Changed("config") {
				return oneDirectory(cmd, args)
			}
			return nil
		},
		RunE: x.run,
	}
	x.place.bind(cmd)
	x.identity.bind(cmd)
	cmd.Flags().StringVar(&x.address, "listen", "127.0.0.1:0", "serve the page at `ADDRESS` of this machine; port 0 is any that is free")
	return cmd
}

func (x *webCommand) run(cmd *cobra.Command, args []string) error {
	ctx, restore := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
	dirs, err := x.directories(args, defaultConfig)
	if err != nil {
		return err
	}
	for i, dir := range dirs {
		h, err := os.Open(dir)
		if err == nil {
			_, err = h.Readdirnames(1)
			h.Close()
		}
		if err != nil && err != io.EOF {
			return err
		}
		if dirs[i], err = filepath.Abs(dir); err != nil { // for the command line that the page shows
			return err
		}
	}
	keys, err := x.identity.read()
	if err != nil {
		return err
	}
	l, err := web.Listen(x.address)
	if err != nil {
		return usageError{fmt.Errorf("web: %w", err)}
	}
	s, token := web.New(web.Config{
		Directories: dirs, Software: "capd " + version(), Identities: keys, Spell: spell,
		Recorders: &sharedFlush{recorders: recorders{x.socket()}, last: make(map[string]flush)},
		Note:      x.note(),
	})
	fmt.Fprintf(cmd.OutOrStdout(), "http://%s/#%s\n", l.Addr(), token)
	fmt.Fprintln(cmd.ErrOrStderr(), "capd: open this address in a browser; it is good for one tab. Ctrl-C ends the page")
	return s.Serve(ctx, l)
}

// spell spells a question of the page as a command line of extract.
func spell(q *extract.Question) string {
	x := new(extractCommand)
	for _, names := range q.Interfaces {
		x.interfaces = append(x.interfaces, names[0])
	}
	return x.text(q)
}

// note returns a function that writes into the ledgers who got what, one question at a time: who does that looks like a recorder.
func (x *webCommand) note() func(context.Context, *extract.Question, *extract.Answer) {
	var one sync.Mutex
	by := recorders{x.socket()}
	return func(ctx context.Context, q *extract.Question, a *extract.Answer) {
		one.Lock()
		defer one.Unlock()
		new(extractCommand).note(ctx, by, q, a, true)
	}
}
