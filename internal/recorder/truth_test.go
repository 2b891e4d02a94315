package recorder

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/capture"
	"capd/config"
	"capd/ledger"
)

// TestFlushInterval: a packet is in the file after the flush interval, however
// short that is, and a short interval does not make an idle recorder turn more
// often.
func TestFlushInterval(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Millisecond, 35 * time.Millisecond, 80 * time.Millisecond, 250 * time.Millisecond} {
		inBubble(t, func(s *stand) {
			link := s.sys.Add("eth0")
			s.look()
			a := s.recorder(eth0, func(c *Config) { c.Settings.FlushInterval = config.Duration(interval) }).run()
			a.state(Recording)
			for n := range 30 {
				time.Sleep(time.Duration(n%7) * 11 * time.Millisecond)
				send(link, n, n+1)
				a.accepted(uint64(n + 1))
				sent := time.Now()
				a.await("the disk", func() bool { return a.Status().Written == uint64(n+1) })
				if took := time.Since(sent); took > interval+5*time.Millisecond {
					t.Errorf("interval %v: frame %d was on the disk after %v", interval, n, took)
				}
			}
			turns, last := 0, int64(0)
			for range 10_000 {
				time.Sleep(time.Millisecond)
				if now := a.progress.turned.Load(); now != last {
					turns, last = turns+1, now
				}
			}
			if turns > 110 {
				t.Errorf("interval %v: %d turns in 10 s with nothing to do", interval, turns)
			}
			a.end()
		})
	}
}

// TestXDP: the ledger, the status and the log say during which time an XDP
// program may have kept frames from the recorder.
func TestXDP(t *testing.T) {
	drop, pass := capture.XDP{Mode: "native", Program: 7, Name: "drop"}, capture.XDP{Mode: "generic", Program: 8}
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		attach := func(x capture.XDP) {
			link.Change(func(i *capture.Interface) { i.XDP = x })
			s.look()
			time.Sleep(time.Second)
		}
		attach(drop)
		a := s.record()
		if got := a.Status().XDP; got != "XDP program 7 drop, native" {
			t.Errorf("status %q", got)
		}
		time.Sleep(3 * time.Second)
		attach(pass)
		attach(capture.XDP{})
		if got := a.Status().XDP; got != "" {
			t.Errorf("status %q", got)
		}
		if until := a.Status().XDPUntil; time.Since(until).Round(time.Second) != time.Second {
			t.Errorf("until %v", until)
		}
		time.Sleep(5 * time.Second)
		attach(drop)
		a.end()
		var got []string
		for _, e := range s.lines {
			if e.Kind == ledger.KindXDP && !e.End.IsZero() {
				got = append(got, fmt.Sprintf("%s: %v", e.Program, e.End.Sub(e.Begin).Round(time.Second)))
			}
		}
		want := []string{"XDP program 7 drop, native: 3s", "XDP program 8, generic: 1s", "XDP program 7 drop, native: 1s"}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if n := strings.Count(s.logged(), "an XDP program is attached: frames may not reach capd"); n != 3 {
			t.Errorf("the log says so %d times", n)
		}
		v, err := ledger.Judge(func(yield func(ledger.Entry, error) bool) {
			for _, e := range s.lines {
				if !yield(e, nil) {
					return
				}
			}
		}, ledger.Question{})
		if err != nil || len(v) != 1 || v[0].Outcome() != ledger.Incomplete || len(v[0].Missing) != 3 || v[0].Missing[0].Cause != ledger.CauseXDP {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

// TestXDPOnAny: a recorder of all interfaces names the one that has a program.
func TestXDPOnAny(t *testing.T) {
	s := &Snapshot{ByName: map[string]capture.Interface{"a": {Name: "a"}, "b": {Name: "b", XDP: capture.XDP{Mode: "native", Program: 7}}, "c": {Name: "c", XDP: capture.XDP{Mode: "native", Program: 8}}}}
	if got := s.program().String(); got != "XDP program 7 on b, native" {
		t.Error(got)
	}
	delete(s.ByName, "b")
	delete(s.ByName, "c")
	if s.program().Attached() {
		t.Error("a program of nobody")
	}
}
