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
	"capd/internal/terminal"
)

// Options say what to show, and how.
type Options struct {
	Interfaces    []string // to show packets of
	File          string   // or the file; "-" is the standard input
	Follow        bool     // wait for what is written to the file
	Filter        string   // expression; empty: all
	Count         uint64   // packets to show; 0: all
	Snaplen       int      // bytes to look at of a packet
	Ring          config.Size
	NoPromiscuous bool
	Style         Style
}

// A Style says how packets are shown.
type Style struct {
	Names   bool // well-known ports by name
	Verbose bool // each header with all fields
	Hex     bool // the bytes
	Date    bool
	JSON    bool // an object for each packet
}

// ErrReported is returned when the error has been printed.
var ErrReported = errors.New("reported")

// Run shows packets until there are no more, enough are shown, nobody reads them any more, or a signal comes. Notices and
// the counts at the end go to the screen.
func Run(ctx context.Context, o Options, stdin io.Reader, stdout io.Writer, screen *terminal.Screen) error {
	// The end of the reader of the lines is the end of watch, and no error.
	signal.Ignore(syscall.SIGPIPE)
	w := &watcher{Options: o, screen: screen, printer: newPrinter(stdout, o.Style, o.Count)}
	if o.File != "" {
		return w.file(ctx, stdin)
	}
	return w.live(ctx)
}

// A watcher is one Run.
type watcher struct {
	Options
	screen  *terminal.Screen
	printer *printer
}

// A feed brings packets to the printer.
type feed interface {
	run() error // until the end, or until the printer is done
	stop()      // asks for the end; what has come is still shown
}

// lastLook is how long after the signal to end packets are shown that came
// before.
const lastLook = 500 * time.Millisecond

// attend runs the feeds until all have ended, the printer is done or a signal
// comes. It does not wait then for a feed that hangs because its terminal takes nothing.
// The end of one leaves the others alone. The errors are those of feeds.
func (w *watcher) attend(ctx context.Context, feeds []feed) (interrupted bool, err error) {
	ctx, restore := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
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
func (w *watcher) notice(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if !w.Style.JSON {
		line = "capd: " + line
	}
	w.say(line + "\n")
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
