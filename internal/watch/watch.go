// Package watch shows packets of interfaces or of a file as lines, as all their header fields, or as JSON.
package watch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"capd/config"
	"capd/crypt"
	"capd/internal/sandbox"
	"capd/internal/terminal"
	"capd/pcap"
)

// Options say what to show, and how.
type Options struct {
	Interfaces    []string         // to show packets of
	Files         []string         // or these, in turn; "-" is the standard input
	Identities    crypt.Identities // that decrypt the files
	Follow        bool             // wait for what is written to the last file, and go on with those after it
	Filter        string           // expression; empty: all
	Count         uint64           // packets to show; 0: all
	Snaplen       int              // bytes to look at of a packet
	Ring          config.Size
	NoPromiscuous bool
	Quiet         bool // print no counts at the end
	Style         Style

	Write       string           // pcapng file to save what is shown to; "-" is the standard output, which has no lines then
	Serve       *Serving         // to give packets to readers instead; nil: they are shown
	Application string           // that the file names
	User        *sandbox.Account // to become once interfaces are open; nil: none
	MustBecome  bool             // that it fails is an error
}

// A Style says how packets are shown.
type Style struct {
	Names   bool // well-known ports by name
	Verbose bool // each header with all fields
	Hex     bool // the bytes
	ASCII   bool // the bytes as text
	Link    bool // the header of the link layer
	JSON    bool // an object for each packet

	Absolute bool // sequence numbers of TCP as they are on the wire
	Stamp    Stamp
	Date     bool           // with StampClock: the date and the zone too
	Zone     *time.Location // of dates and times of the day; nil: UTC
}

// ErrReported is returned when the error has been printed.
var ErrReported = errors.New("reported")

// Run shows packets until there are no more, enough are shown, nobody reads them any more, or a signal comes. Notices and
// the counts at the end go to the screen.
func Run(ctx context.Context, o Options, stdin io.Reader, stdout io.Writer, screen *terminal.Screen) error {
	// The end of the reader of the lines is the end of watch, and no error.
	signal.Ignore(syscall.SIGPIPE)
	ctx, restore := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	w := newWatcher(o, stdout, screen, restore)
	defer func() {
		if !w.interrupted { // else the same signal may still come
			restore()
		}
	}()
	return w.run(ctx, stdin)
}

// newWatcher returns a watcher that calls restore some time after a signal.
func newWatcher(o Options, stdout io.Writer, screen *terminal.Screen, restore func()) *watcher {
	w := &watcher{Options: o, stdout: stdout, screen: screen, restore: restore}
	w.printer = newPrinter(stdout, &o, w.notice)
	return w
}

func (w *watcher) run(ctx context.Context, stdin io.Reader) error {
	if len(w.Files) > 0 {
		return w.files(ctx, stdin)
	}
	return w.live(ctx)
}

// begin makes the file to save to, and gives up the privileges that only opening needs.
func (w *watcher) begin() error {
	if w.Write != "" || w.Serve != nil {
		h := pcap.Header{Filter: w.Filter, Application: w.Application}
		if len(w.Files) == 0 {
			h.Snaplen = uint32(w.Snaplen)
		}
		var err error
		if w.Serve != nil {
			w.printer.saver, w.hub = newServed(w.Serve, h)
		} else if w.printer.saver, err = newSaver(w.Write, w.stdout, h); err != nil {
			return err
		}
	}
	if w.User == nil || len(w.Files) > 0 { // files that follow may need privileges
		return nil
	}
	err := w.printer.saver.give(w.User)
	if err == nil {
		err = w.User.Relinquish()
	}
	if err != nil && w.MustBecome {
		return errors.Join(err, w.printer.finish(err, func(*saver) {}))
	}
	if err != nil { // as in a container; what is left to give up then are capabilities
		if also := sandbox.DropCapabilities(); also != nil {
			w.notice("privileges are kept: %v", errors.Join(err, also))
		}
	}
	return nil
}

// A watcher is one Run.
type watcher struct {
	Options
	stdout  io.Writer
	screen  *terminal.Screen
	printer *printer
	hub     *hub // nil: packets are shown

	restore     func() // lets signals kill again
	interrupted bool   // by one
}

// A feed brings packets to the printer.
type feed interface {
	run() error // until the end, or until the printer is done
	stop()      // asks for the end; what has come is still shown
}

// sameSignal is how long after the signal to end others mean the same: timeout(1)
// sends one to the process, and one to its group. Later ones kill.
const sameSignal = time.Second

// lastLook is how long after the signal to end packets are shown that came
// before.
const lastLook = 500 * time.Millisecond

// attend runs the feeds until all have ended, the printer is done or a signal
// comes. It does not wait then for a feed that hangs because its terminal takes nothing.
// The end of one leaves the others alone. The errors are those of feeds.
func (w *watcher) attend(ctx context.Context, feeds []feed) (err error) {
	ends := make(chan error, len(feeds))
	for _, f := range feeds {
		go func() { ends <- f.run() }()
	}
	signaled, done := ctx.Done(), w.printer.done
	var late <-chan time.Time
	for left := len(feeds); left > 0; {
		select {
		case e := <-ends:
			if left--; e != nil && len(feeds) > 1 {
				w.notice("%v", e)
				e = ErrReported
			}
			err = cmp.Or(err, e)
			continue
		case <-late:
			return err
		case <-signaled:
			signaled, w.interrupted = nil, true
			time.AfterFunc(sameSignal, w.restore)
		case <-done:
			done = nil
		}
		late = time.After(lastLook)
		for _, f := range feeds {
			f.stop()
		}
	}
	return err
}

// notice prints a line on standard error.
func (w *watcher) notice(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if !w.Style.JSON {
		line = "capd: " + line
	}
	w.say(line + "\n")
}

// summarize prints lines at the end.
func (w *watcher) summarize(lines string) {
	if !w.Quiet {
		w.say(lines)
	}
}

// say prints lines on standard error; for programs, an object for each.
func (w *watcher) say(lines string) {
	if !w.Style.JSON {
		fmt.Fprint(w.screen, lines)
		return
	}
	enc := json.NewEncoder(w.screen)
	for line := range strings.Lines(lines) {
		_ = enc.Encode(struct { // who reads packets does not depend on it
			Notice string `json:"notice"`
		}{strings.TrimSuffix(line, "\n")})
	}
}
