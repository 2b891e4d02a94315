package bpf_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"capd/capture/bpf"
	"capd/config"
	"capd/internal/daemon"
	"capd/internal/restart"
	"capd/ledger"
)

// succeed ends the daemon, whose recorders leave their devices, and starts the next one with what they left. The first
// one is aborted if that is set: it does not end in order then.
func (s *station) succeed(from *restart.Holder, abort bool) *restart.Holder {
	s.t.Helper()
	if s.d != nil {
		if abort {
			s.d.Abort()
		} else {
			s.stop()
		}
		if err := <-s.done; (err != nil) != abort {
			s.t.Error(err)
		}
	}
	files := from.Take()
	defer restart.CloseAll(files)
	next, err := restart.NewHolder(files)
	if err != nil {
		s.t.Fatal(err)
	}
	opt := s.options()
	opt.Restart.Keeper, opt.Restart.Counts, opt.Count = next, true, s.count
	opt.Restart.States, opt.Restart.Seen, opt.Restart.Refused = restart.Inherit(next, duplicates(s.t, files), slog.New(slog.DiscardHandler))
	if s.d, err = daemon.New(opt); err != nil {
		s.t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	go func() { s.done <- s.d.Run(ctx) }()
	for i := range s.cfg.Interfaces {
		s.state(s.cfg.Interfaces[i].Name, daemon.Recording)
	}
	return next
}

// duplicates returns the files as another process gets them.
func duplicates(t *testing.T, files []restart.File) []restart.File {
	t.Helper()
	h, err := restart.NewHolder(files)
	if err != nil {
		t.Fatal(err)
	}
	return h.Take()
}

// lines returns the ledger's lines of a kind.
func (s *station) lines(kind ledger.Kind) (all []ledger.Entry) {
	s.t.Helper()
	for e, err := range ledger.Read(s.dir, nil) {
		if err != nil {
			s.t.Error(err)
		}
		if e.Kind == kind {
			all = append(all, e)
		}
	}
	return all
}

// numberedFrames sends frames until stop is closed, and then says how many.
func numberedFrames(sim *bpf.Simulation, stop chan struct{}) chan int {
	sent := make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				sent <- n
				return
			default:
			}
			sim.Burst("en0", numberedFrame(n))
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return sent
}

// TestDaemonOverBPFLeaves: one daemon goes on where the one before ended, with other settings too. Every frame is in the
// files once and in order, and the ledger has no gap.
func TestDaemonOverBPFLeaves(t *testing.T) {
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		s := newStation(t, sim, "en0", "en1")
		none, _ := restart.NewHolder(nil)
		held := s.succeed(none, false)
		stop := make(chan struct{})
		sent := numberedFrames(sim, stop)
		const times = 6
		for i := range times {
			time.Sleep(time.Duration(50+37*i) * time.Millisecond)
			next := *s.cfg // the daemon that ends still reads the present one
			next.Interfaces = slices.Clone(next.Interfaces)
			next.Interfaces[0].Snaplen = []int{2000, 3000}[i/2%2]
			s.cfg = &next
			if i == 4 {
				// Left in the midst of a reload, it goes on too.
				if err := s.reload(func(i *config.Interface) { i.RotateSize = 64 * config.KiB }); err != nil {
					t.Fatal(err)
				}
			}
			held = s.succeed(held, false)
		}
		time.Sleep(300 * time.Millisecond)
		close(stop)
		want := <-sent
		time.Sleep(time.Second)
		s.end()
		held.Close()
		_, got := s.frames("en0")
		if len(got) != want {
			t.Errorf("%d frames of %d", len(got), want)
		}
		for n := range min(want, len(got)) {
			if !bytes.Equal(got[n].data, numberedFrame(n)) {
				t.Fatalf("frame %d is %q", n, got[n].data)
			}
		}
		s.verdict()
		all := s.lines(ledger.KindRestart)
		for _, e := range all {
			if e.Why != "" || e.Begin.IsZero() || e.End.Before(e.Begin) {
				t.Errorf("%+v", e)
			}
		}
		if len(all) != 2*times {
			t.Errorf("%d restarts of two interfaces, want %d", len(all), 2*times)
		}
		verdicts, err := ledger.Judge(ledger.Read(s.dir, nil), ledger.Question{})
		if err != nil || len(verdicts) != 2 || verdicts[0].Outcome() != ledger.Complete || verdicts[1].Outcome() != ledger.Complete {
			t.Errorf("%+v, %v", verdicts, err)
		}
	})
}

// TestDaemonOverBPFDoesNotLeave: what a daemon had read ends with it if it does not end in order. The next one says so.
func TestDaemonOverBPFDoesNotLeave(t *testing.T) {
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		s := newStation(t, sim, "en0")
		none, _ := restart.NewHolder(nil)
		held := s.succeed(none, false)
		stop := make(chan struct{})
		sent := numberedFrames(sim, stop)
		time.Sleep(300 * time.Millisecond)
		held = s.succeed(held, true)
		time.Sleep(300 * time.Millisecond)
		close(stop)
		<-sent
		s.end()
		held.Close()
		if all := s.lines(ledger.KindRestart); len(all) != 1 || all[0].Why == "" {
			t.Errorf("%+v", all)
		}
		verdicts, err := ledger.Judge(ledger.Read(s.dir, nil), ledger.Question{})
		if err != nil || len(verdicts) != 1 || verdicts[0].Outcome() == ledger.Complete {
			t.Errorf("%+v, %v", verdicts, err)
		}
	})
}

// TestDaemonOverBPFCounts: a count goes on over a restart.
func TestDaemonOverBPFCounts(t *testing.T) {
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		s := newStation(t, sim, "en0")
		s.count = 300
		none, _ := restart.NewHolder(nil)
		held := s.succeed(none, false)
		stop := make(chan struct{})
		sent := numberedFrames(sim, stop)
		time.Sleep(200 * time.Millisecond)
		held = s.succeed(held, false)
		time.Sleep(100 * time.Millisecond)
		held = s.succeed(held, false)
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		close(stop)
		<-sent
		held.Close()
		if _, got := s.frames("en0"); len(got) != 300 {
			t.Errorf("%d frames", len(got))
		}
	})
}
