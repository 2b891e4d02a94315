package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"capd/internal/alert"
	"capd/internal/extract"
	"capd/internal/hint"
	"capd/internal/serve"
	"capd/internal/text"
	"capd/pcap"

	"github.com/spf13/cobra"
)

// listening are the flags that serve an answer to readers over TCP.
type listening struct {
	address  string
	anywhere bool
	once     bool
	of       string // the command
}

func (l *listening) bind(cmd *cobra.Command) {
	l.bindAddress(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&l.once, "once", false, "with --listen: end when the first reader has its answer")
}

func (l *listening) bindAddress(cmd *cobra.Command) {
	l.of = cmd.Name()
	fl := cmd.Flags()
	fl.StringVar(&l.address, "listen", "", "give the packets to each reader that connects to `ADDRESS`, as 127.0.0.1:57012")
	fl.BoolVar(&l.anywhere, "listen-anywhere", false, "let --listen take an address that other machines reach: whoever connects gets the packets")
}

// check refuses what does not go together.
func (l *listening) check(x *extractCommand) (err error) {
	switch {
	case l.address == "" && (l.anywhere || l.once):
		err = errors.New("extract: --once and --listen-anywhere are for --listen")
	case l.address == "":
	case x.write != "" || x.explain:
		err = errors.New("extract: --listen gives the packets to readers: -w and --explain are other ways")
	case x.alerts.follow && (!x.until.IsZero() || x.around.written != ""):
		err = errors.New("extract: --follow has no end: --until and --around do not go with it")
	case x.host.Name != "":
		err = hint.New("extract: --listen and --host exclude each other", "listen on the other machine, and forward the port: ssh -L 57012:127.0.0.1:57012")
	}
	if err != nil {
		return usageError{err}
	}
	return nil
}

// listen opens the address, if it is one of this machine alone or others are allowed.
func (l *listening) listen() (net.Listener, error) {
	at, err := net.ResolveTCPAddr("tcp", l.address)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: --listen %s: %w", l.of, text.Name(l.address), err)}
	}
	if !at.IP.IsLoopback() && !l.anywhere {
		return nil, usageError{hint.New(fmt.Sprintf("%s: --listen %s: other machines reach this address, and whoever connects would get the packets", l.of, text.Name(l.address)),
			"take 127.0.0.1, and let others come over ssh -L; or add --listen-anywhere")}
	}
	return net.ListenTCP("tcp", at)
}

// An extractServer gives the answer to each client, found anew.
type extractServer struct {
	*extractCommand
	cmd      *cobra.Command
	question extract.Question
	by       *sharedFlush
	out      extract.Output

	asking   sync.Mutex // held while directories are looked at or a ledger is written: who does that looks like a recorder to others
	printing sync.Mutex // guards what is printed, and last
	last     error      // of the last answer
}

// serve serves until the context ends.
func (x *extractCommand) serve(ctx context.Context, cmd *cobra.Command, q extract.Question, by recorders, out extract.Output) error {
	l, err := x.listen.listen()
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("format") {
		out.Format = pcap.PCAP // which is what such readers take
	}
	if x.alerts.follow { // --last says where it begins
		q.Until = time.Time{}
		q.Text = x.text(&q) + " --follow"
	}
	s := extractServer{extractCommand: x, cmd: cmd, question: q, by: newSharedFlush(by), out: out}
	fmt.Fprintf(cmd.ErrOrStderr(), "capd: waiting for readers on %s\n", l.Addr())
	if err := (&serve.Server{Stream: s.stream, Once: x.listen.once, Endless: x.alerts.follow}).Serve(ctx, l); err != nil {
		return err
	}
	if x.listen.once {
		return s.last
	}
	return nil
}

// stream answers one client.
func (s *extractServer) stream(ctx context.Context, client net.Addr, w io.Writer) {
	out := s.out
	out.To = w
	var begun extract.Answer
	if s.alerts.follow {
		defer s.hold(ctx, client, &out)()
	}
	s.asking.Lock()
	plan, err := s.question.Plan(ctx, s.by)
	if err == nil && s.alerts.follow { // whoever is killed leaves that
		s.note(ctx, s.by.recorders, &s.question, &begun, false)
	}
	s.asking.Unlock()
	var a *extract.Answer
	switch {
	case err != nil:
	case s.alerts.follow:
		if a, err = plan.Follow(ctx, s.by, out); extract.Left(err) {
			err = nil
		}
	default:
		a, err = plan.Find(ctx, out)
	}
	if a != nil {
		s.asking.Lock()
		s.note(ctx, s.by.recorders, &s.question, a, true)
		s.asking.Unlock()
		for _, note := range begun.Notes {
			if !slices.Contains(a.Notes, note) {
				a.Notes = append(a.Notes, note)
			}
		}
	}
	s.printing.Lock()
	defer s.printing.Unlock()
	s.last = s.print(client, a, err)
}

// hold keeps limits from deleting what a client that follows has not read yet, until what it returns is called.
func (s *extractServer) hold(ctx context.Context, client net.Addr, out *extract.Output) (end func()) {
	holder := fmt.Sprintf("capd extract --follow to %s, process %d", client, os.Getpid())
	var reached atomic.Int64
	if since := s.question.Since; !since.IsZero() {
		reached.Store(since.UnixNano())
	}
	out.Reached = func(t time.Time) { reached.Store(t.UnixNano()) }
	l := readerLease{
		lease: func(ctx context.Context, since time.Time) error {
			return s.by.leaseSince(ctx, s.question.Directories, holder, since, alert.LeaseTime.String())
		},
		say: func(err error) {
			s.printing.Lock()
			defer s.printing.Unlock()
			sayHeld(s.cmd.ErrOrStderr(), err)
		},
		reached: func() time.Time { return time.Unix(0, reached.Load()) },
	}
	l.renew(ctx)
	ctx, stop := context.WithCancel(ctx)
	var kept sync.WaitGroup
	kept.Go(func() { l.keep(ctx) })
	return func() {
		stop()
		kept.Wait()
	}
}

// servedJSON is the object that --listen --json prints for each client.
type servedJSON struct {
	Client string `json:"client"`
	extractJSON
	errorJSON
}

// print prints what a client got.
func (s *extractServer) print(client net.Addr, a *extract.Answer, err error) error {
	q, errs := &s.question, s.cmd.ErrOrStderr()
	switch {
	case s.asJSON:
		j := servedJSON{Client: client.String(), extractJSON: extractJSON{q.Text, q.Directories, q.Since, q.Until, "", "", a}}
		if err != nil {
			j.errorJSON = errorJSON{err.Error(), hint.Of(err)}
		}
		if e := json.NewEncoder(s.cmd.OutOrStdout()).Encode(j); e != nil {
			return e
		}
	case err != nil:
		fmt.Fprintf(errs, "capd: %s: %v\n", client, err)
		for _, h := range hint.Of(err) {
			fmt.Fprintf(errs, "capd: hint: %s\n", h)
		}
	default:
		fmt.Fprintf(errs, "capd: %s: %s\n", client, a.Verdict())
		s.printReasons(errs, a)
	}
	switch {
	case err != nil:
		return errReported
	case !a.Complete:
		return &codedError{exitIncomplete, nil}
	}
	return nil
}
