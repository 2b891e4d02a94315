package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"capd/config"
	"capd/internal/alert"
	"capd/internal/extract"
	"capd/internal/hint"
	"capd/internal/terminal"
	"capd/internal/text"

	"github.com/spf13/cobra"
)

// alertFlags are the flags of extract that are about alerts.
type alertFlags struct {
	from                string
	events              []string
	before, back, after config.Duration
	follow              bool // also with --listen
}

func (f *alertFlags) bind(cmd *cobra.Command) {
	*f = alertFlags{before: config.Duration(alert.DefaultBefore), back: config.Duration(alert.DefaultBack), after: config.Duration(alert.DefaultAfter)}
	fl := cmd.Flags()
	fl.StringVar(&f.from, "alert", "", "only packets of the flows of alerts in `FILE`, or - for standard input: EVE of Suricata, notice.log or conn.log of Zeek")
	fl.StringArrayVar(&f.events, "event", []string{"alert"}, "with --alert: take EVE lines of event `TYPE`, or all; may repeat")
	fl.Var(&f.before, "before", "with --alert: begin `TIME` before the flow")
	fl.Var(&f.back, "back", "with --alert: begin `TIME` before the alert, if it does not say when its flow began")
	fl.Var(&f.after, "after", "with --alert: end `TIME` after the alert, or after its flow if that has ended later")
	fl.BoolVar(&f.follow, "follow", false, "with --listen: go on with what is being recorded; with --alert: answer alerts as they come, of standard input, of a file that grows, or of unix:PATH or unixgram:PATH, sockets that it makes")
}

// check refuses flags that do not go together.
func (f *alertFlags) check(cmd *cobra.Command, x *extractCommand) error {
	if f.from == "" {
		for _, name := range []string{"event", "before", "back", "after"} {
			if cmd.Flags().Changed(name) {
				return usageError{fmt.Errorf("extract: --%s goes with --alert", name)}
			}
		}
		if f.follow && x.listen.address == "" {
			return usageError{errors.New("extract: --follow goes with --alert or --listen")}
		}
		return nil
	}
	for _, name := range []string{"around", "last", "flow", "community-id", "explain", "format"} {
		if cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("extract: --%s does not go with --alert, as each alert says of which flow and time its packets are", name)}
		}
	}
	for _, name := range []string{"host", "end-with-stdin", "listen", "listen-anywhere", "once"} {
		if cmd.Flags().Changed(name) {
			return usageError{hint.New(fmt.Sprintf("extract: --%s does not go with --alert", name), "read the alerts on the machine that records, and write a file for each: -w DIR/")}
		}
	}
	_, _, isSocket := alert.SocketOf(f.from)
	switch {
	case isSocket && !f.follow:
		return usageError{fmt.Errorf("extract: %s is a socket, which --follow makes and reads", text.Name(f.from))}
	case f.before < 0 || f.back < 0 || f.after < 0:
		return usageError{errors.New("extract: --before, --back and --after are not negative")}
	case f.follow && x.write != "" && !isEach(x.write):
		return usageError{errors.New("extract: --follow writes a file for each alert: -w DIR/")}
	case x.limit.size > 0 && !isEach(x.write):
		return usageError{errors.New("extract: with --alert, a --limit in bytes takes a file for each alert: -w DIR/")}
	}
	return nil
}

// isEach reports whether -w names a directory, which gets a file for each alert.
func isEach(write string) bool {
	if strings.HasSuffix(write, string(os.PathSeparator)) {
		return true
	}
	info, err := os.Stat(write)
	return err == nil && info.IsDir()
}

// mostAlerts is how many alerts are answered together.
const mostAlerts = 100_000

// alerting is an extract that answers alerts.
type alerting struct {
	*extractCommand
	cmd    *cobra.Command
	q      extract.Question
	asker  alert.Asker
	by     *sharedFlush
	holder alert.Holder
	notes  notebook

	mu         sync.Mutex     // guards what follows, and what is printed
	skipped    map[string]int // lines of other events
	incomplete bool
	failed     error           // of writing
	total      *extract.Answer // of all alerts
}

func (x *extractCommand) runAlerts(cmd *cobra.Command, args []string) error {
	q, err := x.question(cmd, args)
	if err != nil {
		return err
	}
	r := &alerting{
		extractCommand: x, cmd: cmd, q: q, skipped: make(map[string]int), by: newSharedFlush(recorders{x.socket()}),
		total: &extract.Answer{Complete: true, Interfaces: []*extract.Part{}, Missing: []extract.Missing{}},
	}
	r.notes.write = r.note
	r.asker = alert.Asker{
		Question:  extract.Question{Directories: q.Directories, Interfaces: q.Interfaces, Expression: q.Expression, Software: q.Software, Identities: q.Identities},
		Recorders: r.by.upTo, Asked: r.asked, MostPackets: x.limit.packets, MostBytes: int64(x.limit.size),
		Window: alert.Window{Before: time.Duration(x.alerts.before), Back: time.Duration(x.alerts.back), After: time.Duration(x.alerts.after)},
	}
	r.holder = alert.Holder{Lease: func(ctx context.Context, since time.Time) error {
		return r.by.leaseSince(ctx, r.q.Directories, "capd extract --alert, process "+strconv.Itoa(os.Getpid()), since, alert.LeaseTime.String())
	}, Failed: r.notHeld}
	ctx, restore := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
	if x.alerts.follow {
		r.asker.Question.Memory = new(extract.Memory)
		defer r.asker.Question.Memory.Close()
		return r.follow(ctx)
	}
	all, err := r.read()
	if err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	err = r.hold(ctx, alert.Groups(all, r.asker.Window))
	if f := r.asker.All; f != nil {
		err = errors.Join(err, f.End(r.total))
	}
	return r.end(err)
}

// read reads all alerts.
func (r *alerting) read() (all []*alert.Alert, err error) {
	src, name := r.cmd.InOrStdin(), "-"
	if r.alerts.from != "-" {
		h, err := os.Open(r.alerts.from)
		if err != nil {
			return nil, err
		}
		defer h.Close()
		src, name = h, r.alerts.from
	}
	err = alert.Read(src, name, func(a *alert.Alert, err error) error {
		if r.takes(a, err) {
			all = append(all, a)
		}
		if len(all) > mostAlerts {
			return fmt.Errorf("extract: %s has more than %d alerts: split it, or choose a time with --since and --until", text.Name(name), mostAlerts)
		}
		return nil
	})
	return all, err
}

// hold answers groups, whose files are held meanwhile.
func (r *alerting) hold(ctx context.Context, groups []*alert.Group) error {
	if len(groups) == 0 {
		return nil
	}
	holding, done := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	defer kept.Wait()
	defer done()
	r.holder.Need(ctx, groups[0].Since)
	kept.Go(func() { r.holder.Keep(holding) })
	return r.asker.Answer(ctx, groups)
}

// follow answers alerts as they come.
func (r *alerting) follow(ctx context.Context) error {
	if err := r.open(); err != nil {
		return err
	}
	f := alert.Follower{Asker: &r.asker, Holder: &r.holder, Failed: func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		fmt.Fprintf(r.cmd.ErrOrStderr(), "capd: %s\n", text.Line(err.Error()))
	}}
	left, err := f.Run(ctx, r.source)
	for _, a := range left {
		r.incomplete = true
		fmt.Fprintf(r.cmd.ErrOrStderr(), "capd: INCOMPLETE: interrupted before the answer to %s\n", a.Summary())
	}
	return r.end(err)
}

// source reads what is followed.
func (r *alerting) source(ctx context.Context, each func(*alert.Alert) error) error {
	take := func(a *alert.Alert, err error) error {
		if r.takes(a, err) {
			return each(a)
		}
		return nil
	}
	if network, path, ok := alert.SocketOf(r.alerts.from); ok {
		return alert.Listen(ctx, network, path, take)
	}
	if r.alerts.from != "-" {
		return alert.Tail(ctx, r.alerts.from, !r.since.IsZero(), take)
	}
	ended := make(chan error, 1)
	go func() { ended <- alert.Read(r.cmd.InOrStdin(), "-", take) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done(): // nobody can end the read
		return nil
	}
}

// notHeld says that limits may delete files before they are read, or that they may not any more.
func (r *alerting) notHeld(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sayHeld(r.cmd.ErrOrStderr(), err)
}

// takes reports whether a line has an alert that is to be answered. What is wrong with one is printed.
func (r *alerting) takes(a *alert.Alert, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var bad *alert.LineError
	if errors.As(err, &bad) {
		a = bad.Alert
	}
	if a != nil && !r.wants(a) {
		return false
	}
	if err == nil {
		return a != nil
	}
	r.incomplete = true
	if r.asJSON {
		_ = json.NewEncoder(r.out()).Encode(errorJSON{Error: err.Error()})
	} else {
		fmt.Fprintf(r.cmd.ErrOrStderr(), "capd: INCOMPLETE: no packets can be found for %s\n", text.Line(err.Error()))
	}
	return false
}

// wants reports whether the flags choose an alert.
func (r *alerting) wants(a *alert.Alert) bool {
	if a.Format == alert.EVE && !slices.Contains(r.alerts.events, "all") && !slices.Contains(r.alerts.events, a.Event) {
		r.skipped[a.Event]++
		return false
	}
	return !a.Time.Before(r.since.Time) && (r.until.IsZero() || a.Time.Before(r.until.Time))
}

// open makes the file or directory to write to.
func (r *alerting) open() (err error) {
	switch {
	case r.write == "":
	case r.write == "-":
		if _, ok := terminal.Is(r.cmd.OutOrStdout()); ok {
			return usageError{errors.New("extract: -w - writes packets to standard output, which is a terminal: redirect it")}
		}
		r.asker.All, err = alert.NewFile("", r.cmd.OutOrStdout())
	case isEach(r.write):
		r.asker.Directory = filepath.Clean(r.write)
		if err := os.Mkdir(r.asker.Directory, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	default:
		r.asker.All, err = alert.NewFile(r.write, nil)
	}
	if f := r.asker.All; f != nil {
		f.Begin(r.q.Software, fmt.Sprintf("question: %s\nby: %s\nthe last block of the file has the verdict; without it the file is not complete", r.text(&r.q), r.q.Software))
	}
	return err
}

// out is where answers are printed.
func (r *alerting) out() io.Writer {
	if r.write == "-" {
		return r.cmd.ErrOrStderr()
	}
	return r.cmd.OutOrStdout()
}

// asked prints answers, and notes them for the ledgers.
func (r *alerting) asked(done []*alert.Done, of *extract.Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var named []string
	all := given{}
	for _, d := range done {
		r.sum(d)
		if r.asJSON {
			_ = json.NewEncoder(r.out()).Encode(d)
		} else {
			fmt.Fprintln(r.out(), d.Say())
		}
		if !d.Already {
			named = append(named, d.Flow)
			all = given{all.packets + d.Packets, all.bytes + d.Bytes}
		}
	}
	if of == nil {
		return
	}
	by := make(map[string]given)
	for _, dir := range r.q.Directories {
		switch {
		case r.write == "":
			by[dir] = given{}
		case len(r.q.Directories) > 1:
			packets, bytes := of.Of(dir)
			by[dir] = given{packets, bytes}
		default:
			by[dir] = all
		}
	}
	r.notes.add(named, by)
}

// note writes a line into the ledger of a directory.
func (r *alerting) note(dir, about string, packets, bytes uint64) {
	if err := r.by.note(context.Background(), dir, r.text(&r.q)+": "+about, packets, bytes); err != nil {
		fmt.Fprintf(r.cmd.ErrOrStderr(), "capd: the question is not in the ledger of %s: %v\n", text.Name(dir), err)
	}
}

// sum adds an answer to what is said about all of them.
func (r *alerting) sum(d *alert.Done) {
	r.incomplete = r.incomplete || !d.Complete
	if d.Failed != "" {
		r.failed = errors.New(d.Failed)
	}
	t := r.total
	t.Complete = t.Complete && d.Complete
	t.Packets += d.Packets
	for _, m := range d.Missing {
		if !slices.Contains(t.Missing, m) {
			t.Missing = append(t.Missing, m)
		}
	}
	if t.Since.IsZero() || !d.Since.IsZero() && d.Since.Before(t.Since) {
		t.Since = d.Since
	}
	if d.Until.After(t.Until) {
		t.Until = d.Until
	}
}

// end says what was skipped, and makes the exit code.
func (r *alerting) end(err error) error {
	r.notes.end()
	for _, event := range slices.Sorted(maps.Keys(r.skipped)) {
		fmt.Fprintf(r.cmd.ErrOrStderr(), "capd: %s of event %s skipped: --event takes them\n", text.Count(r.skipped[event], "line"), text.Name(event))
	}
	switch {
	case err != nil:
		return err
	case r.failed != nil:
		return &codedError{exitFailed, nil}
	case r.incomplete:
		return &codedError{exitIncomplete, nil}
	}
	return nil
}
