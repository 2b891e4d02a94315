package recorder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture"
	"capd/capture/fake"
	"capd/config"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

// A source opens devices of a fake system, or returns the error of fail.
type source struct {
	sys  *fake.System
	name string

	mu     sync.Mutex
	err    error // of Open
	open   int
	opened int
	left   int
}

func (s *source) Open(gated bool) (*Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	d, err := s.sys.Open(capture.Config{Interface: s.name, BlockSize: 64 << 10, RingSize: 1 << 20, BlockTimeout: 20, Gated: gated})
	if err != nil {
		return nil, err
	}
	s.open++
	s.opened++
	return &Device{Device: d, Closed: func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
	}}, nil
}

func (s *source) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left++
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// A stand is the environment of recorders in a test: a fake system, the Shared,
// a directory for files, and what was noted and logged.
type stand struct {
	t      *testing.T
	sys    *fake.System
	dir    string
	shared *Shared
	taken  map[string]bool // names that have a recorder

	mu    sync.Mutex
	lines []ledger.Entry
	log   bytes.Buffer
}

// inBubble runs a test in a synctest bubble.
func inBubble(t *testing.T, test func(s *stand)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stand{t: t, sys: fake.New(), dir: t.TempDir(), taken: map[string]bool{"eth0": true}}
		s.shared = &Shared{Links: new(Links), Claims: NewClaims(), Quota: NewQuota(0), Ask: s.ask}
		s.look()
		test(s)
	})
}

func (s *stand) ask(index int) (capture.Interface, bool) {
	all, _ := s.sys.Interfaces()
	for _, one := range all {
		if one.Index == index {
			return one, true
		}
	}
	return capture.Interface{}, false
}

// look publishes the present interfaces to the recorders.
func (s *stand) look() {
	all, _ := s.sys.Interfaces()
	by := make(map[string]capture.Interface)
	for _, one := range all {
		by[one.Name] = one
	}
	s.shared.Links.Publish(&Snapshot{ByName: by, Taken: func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return s.taken[name] })
	}})
	s.shared.Links.Looked()
}

// Write implements io.Writer for the log.
func (s *stand) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *stand) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func (s *stand) note(e ledger.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, e)
}

// gaps returns the causes and durations of the gaps that have ended.
func (s *stand) gaps() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.lines {
		if e.Kind == ledger.KindGap && !e.End.IsZero() {
			all = append(all, fmt.Sprint(e.Cause, " ", e.End.Sub(e.Begin).Round(10*time.Millisecond)))
		}
	}
	return all
}

// inOrder checks that no file begins within a gap, and that no gap overlaps a
// time that the ledger calls quiet.
func (s *stand) inOrder() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.lines {
		if g.Kind != ledger.KindGap || g.End.IsZero() {
			continue
		}
		for _, e := range s.lines {
			switch {
			case e.Kind == ledger.KindFile && g.Begin.Before(e.Begin) && e.Begin.Before(g.End):
				s.t.Errorf("file %s begins at %v, in the gap %q from %v to %v", e.Name, e.Begin, g.Cause, g.Begin, g.End)
			case e.Kind == ledger.KindQuiet && e.Begin.Before(g.End) && g.Begin.Before(e.End):
				s.t.Errorf("quiet from %v to %v, and a gap %q from %v to %v", e.Begin, e.End, g.Cause, g.Begin, g.End)
			}
		}
	}
}

// settings returns the settings of a small recorder.
func settings(name string) *config.Interface {
	c := &config.Interface{Name: name, Recording: config.Default().Recording}
	c.FlushInterval, c.BlockTimeout = config.Duration(100*time.Millisecond), config.Duration(20*time.Millisecond)
	c.BlockSize, c.ChunkSize = 64*config.KiB, 64*config.KiB
	return c
}

// An attempt is a recorder under test.
type attempt struct {
	*Recorder
	stand  *stand
	source *source
	done   chan error
	stop   context.CancelFunc
}

// recorder makes a recorder of the lane; change may adjust its Config.
func (s *stand) recorder(lane store.Lane, change func(c *Config)) *attempt {
	s.t.Helper()
	src := &source{sys: s.sys, name: lane.Interface}
	c := settings(lane.Interface)
	c.Directory = s.dir
	cfg := Config{
		Lane: lane, Settings: c, Source: src, Shared: s.shared, Pool: 512 << 10, Note: s.note,
		Finished: func(f writer.File) { s.note(f.Entry()) },
		Log:      slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return &attempt{Recorder: r, stand: s, source: src, done: make(chan error, 1)}
}

// run runs the recorder until end is called or the test ends.
func (a *attempt) run() *attempt {
	var ctx context.Context
	ctx, a.stop = context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		a.done <- a.Run(ctx)
	}()
	a.stand.t.Cleanup(func() {
		a.stop()
		<-over
		if strings.Contains(a.stand.logged(), "error=<nil>") {
			a.stand.t.Error("the log complains of no error")
		}
		if a.stand.t.Failed() {
			a.stand.t.Log(a.stand.logged())
		}
	})
	return a
}

// record starts a recorder of eth0 and returns once it records every frame.
func (s *stand) record() *attempt {
	s.t.Helper()
	a := s.recorder(store.Lane{Interface: "eth0"}, nil).run()
	a.state(Recording)
	return a
}

// state waits until the recorder shows that state.
func (a *attempt) state(want State) {
	a.stand.t.Helper()
	a.await(string(want), func() bool { return a.Status().State == want })
}

func (a *attempt) accepted(n uint64) {
	a.stand.t.Helper()
	a.await(fmt.Sprint(n, " frames"), func() bool { return a.Status().Writer.Accepted == n })
}

func (a *attempt) await(what string, ok func() bool) {
	a.stand.t.Helper()
	for range 60_000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	a.stand.t.Fatalf("waited too long for %s: %+v", what, a.Status())
}

// end ends the recorder and returns its last status, which must add up.
func (a *attempt) end() Status {
	a.stand.t.Helper()
	a.stop()
	if err := <-a.done; err != nil {
		a.stand.t.Error(err)
	}
	s := a.Status()
	if s.State != Ended || s.Received != s.Written+s.KernelDropped+s.Dropped {
		a.stand.t.Errorf("at the end: %+v", s)
	}
	a.source.mu.Lock()
	defer a.source.mu.Unlock()
	if a.source.open != 0 || a.source.left != 1 {
		a.stand.t.Errorf("%d devices are open, and the source was left %d times", a.source.open, a.source.left)
	}
	return s
}

// frames returns the frames in the finished files, in order of the names. An
// unfinished file fails the test.
func (s *stand) frames() (all []string) {
	s.t.Helper()
	paths, _ := filepath.Glob(filepath.Join(s.dir, "*"))
	slices.Sort(paths)
	for _, path := range paths {
		if strings.HasSuffix(path, store.Partial) {
			s.t.Errorf("left behind: %s", path)
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			s.t.Fatal(err)
		}
		defer f.Close()
		rd, err := pcap.NewReader(f)
		for err == nil {
			var p pcap.Packet
			if p, err = rd.Next(); err == nil {
				all = append(all, string(p.Data))
			}
		}
		if err != io.EOF {
			s.t.Fatal(err)
		}
	}
	return all
}

func frame(n int) []byte { return fmt.Appendf(nil, "%-60d", n) }

// send sends the frames from..to-1.
func send(l *fake.Link, from, to int) {
	for n := from; n < to; n++ {
		l.Send(frame(n))
	}
}

// hold checks that the files have the frames from..to-1, each once, in order.
func (s *stand) hold(from, to int) {
	s.t.Helper()
	all := s.frames()
	if len(all) != to-from {
		s.t.Errorf("%d frames, want %d", len(all), to-from)
	}
	for i, f := range all {
		if f != string(frame(from+i)) {
			s.t.Fatalf("frame %d is %q", from+i, f)
		}
	}
}
