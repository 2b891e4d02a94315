package recorder

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"capd/capture"
	"capd/capture/fake"
	"capd/config"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

var eth0 = store.Lane{Interface: "eth0"}

// TestTransitions checks every pair of a phase and an event: pairs that are not
// listed here have no transition.
func TestTransitions(t *testing.T) {
	want := map[string]string{
		"taking over, released": "opening", "taking over, refused": "waiting",

		"opening, attached": "recording", "opening, busy": "held", "opening, refused": "waiting", "opening, finished": "ending",
		"held, attached": "recording", "held, busy": "held", "held, refused": "waiting", "held, finished": "ending",
		"waiting, attached": "recording", "waiting, busy": "waiting", "waiting, refused": "waiting", "waiting, finished": "ending",

		"recording, went down": "down", "recording, vanished": "opening", "recording, stopped": "draining", "recording, stays": "leaving", "recording, finished": "ending",
		"down, went down": "down", "down, came up": "recording", "down, vanished": "opening", "down, stopped": "draining", "down, stays": "leaving", "down, finished": "ending",
		"draining, drained": "waiting", "draining, finished": "ending",

		"leaving, finished": "ending",

		"ending, closed": "ended",
	}
	for p := takingOver; p <= ended; p++ {
		for e := released; e <= closed; e++ {
			next, ok := transitions[p][e]
			pair := p.String() + ", " + e.String()
			if word, legal := want[pair]; ok != legal || ok && next.String() != word {
				t.Errorf("%s: %v, %t; want %q", pair, next, ok, word)
			}
			delete(want, pair)
		}
	}
	if len(want) > 0 {
		t.Errorf("not met: %v", want)
	}
}

// TestIllegalTransition: an event that has no transition panics and changes
// nothing.
func TestIllegalTransition(t *testing.T) {
	inBubble(t, func(s *stand) {
		a := s.recorder(eth0, nil)
		defer a.Discard()
		defer func() {
			if recover() == nil || a.loop.phase != opening {
				s.t.Errorf("it is %v", a.loop.phase)
			}
		}()
		a.loop.to(cameUp)
	})
}

// TestLink: recording goes on when the interface goes down, comes up, is
// removed and is added again, and the ledger says how long each gap took.
func TestLink(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		a := s.record()
		send(link, 0, 10)
		a.accepted(10)
		link.SetUp(false)
		s.look()
		a.state(Down)
		time.Sleep(3 * time.Second)
		link.SetUp(true)
		s.look()
		a.state(Recording)
		send(link, 10, 20)
		a.accepted(20)
		link.Remove()
		s.look()
		a.state(Waiting)
		time.Sleep(5 * time.Second)
		link = s.sys.Add("eth0")
		s.look()
		a.state(Recording)
		send(link, 20, 30)
		a.accepted(30)
		if st := a.end(); st.Written != 30 || st.Dropped+st.KernelDropped > 0 {
			t.Errorf("%+v", st)
		}
		s.hold(0, 30)
		if got := s.gaps(); len(got) != 2 || !strings.HasPrefix(got[0], "interface down 3") || !strings.HasPrefix(got[1], "interface absent 5") {
			t.Errorf("gaps %q", got)
		}
	})
}

// TestUpBeforeSeen: an interface that was up again before any list showed it
// down is recorded after two looks.
func TestUpBeforeSeen(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		a := s.record()
		link.SetUp(false)
		link.SetUp(true)
		a.state(Down)
		same := s.shared.Links.Load()
		for range 2 {
			time.Sleep(time.Second)
			s.shared.Links.Publish(same)
			s.shared.Links.Looked()
		}
		a.state(Recording)
		a.end()
	})
}

// TestWaits: an interface that can't be opened is tried again and logged once,
// and its gap begins when the recorder was made.
func TestWaits(t *testing.T) {
	inBubble(t, func(s *stand) {
		a := s.recorder(eth0, nil)
		a.source.fail(capture.ErrPermission)
		a.run()
		<-a.Ready()
		a.state(Waiting)
		if why := a.Status().Why; why != capture.ErrPermission.Error() {
			t.Errorf("why: %q", why)
		}
		time.Sleep(10 * time.Second)
		link := s.sys.Add("eth0")
		s.look()
		a.source.fail(nil)
		a.state(Recording)
		send(link, 0, 5)
		a.accepted(5)
		if why := a.Status().Why; why != "" {
			t.Errorf("why: %q", why)
		}
		a.end()
		s.hold(0, 5)
		if n := strings.Count(s.logged(), "can't open the interface: trying again"); n != 1 {
			t.Errorf("complained of %d times", n)
		}
		if got := s.gaps(); len(got) != 1 || !strings.HasPrefix(got[0], "interface not opened 1") {
			t.Errorf("gaps %q", got)
		}
	})
}

// TestHeldThenGone: the first lane notes a gap for a missing interface, even
// after it waited for the other lanes to release the interface.
func TestHeldThenGone(t *testing.T) {
	inBubble(t, func(s *stand) {
		a := s.recorder(store.Lane{Interface: "eth0", Number: 1}, nil)
		a.source.fail(ErrHeld)
		a.run()
		a.state(Waiting)
		time.Sleep(time.Second)
		if got := s.lines; len(got) != 0 {
			t.Errorf("while others hold it: %v", got)
		}
		a.source.fail(capture.ErrNoInterface)
		time.Sleep(5 * time.Second)
		s.sys.Add("eth0")
		s.look()
		a.source.fail(nil)
		a.state(Recording)
		a.end()
		if got := s.gaps(); len(got) != 1 || !strings.HasPrefix(got[0], "interface absent") {
			t.Errorf("gaps %q", got)
		}
		if n := strings.Count(s.logged(), "interface is not there"); n != 1 {
			t.Errorf("complained of %d times", n)
		}
	})
}

// TestAbandoned: the recorder of an interface that only a glob names ends after
// Linger without the interface.
func TestAbandoned(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		a := s.recorder(eth0, func(c *Config) { c.Settings.Name = "eth*" }).run()
		a.state(Recording)
		link.Remove()
		s.look()
		gone := time.Now()
		if err := <-a.done; err != nil || a.Status().State != Ended {
			t.Errorf("%v, %+v", err, a.Status())
		}
		if took := time.Since(gone); took < Linger || took > Linger+2*lookEvery {
			t.Errorf("after %v", took)
		}
	})
}

// TestReadFails: after an error of a read the interface is opened again,
// without a gap.
func TestReadFails(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		a := s.record()
		send(link, 0, 10)
		a.accepted(10)
		link.Fail(fake.AtNext, errors.New("broken"))
		a.await("another device", func() bool { a.source.mu.Lock(); defer a.source.mu.Unlock(); return a.source.opened == 2 })
		send(link, 10, 20)
		a.accepted(20)
		a.end()
		s.hold(0, 20)
		if len(s.gaps()) > 0 || !strings.Contains(s.logged(), "can't read: opening the interface again") {
			t.Errorf("gaps %q", s.gaps())
		}
	})
}

// TestCorrupt: frames of a corrupt block are counted as dropped.
func TestCorrupt(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		a := s.record()
		send(link, 0, 10)
		link.Corrupt(3)
		a.accepted(10)
		link.Drop(4)
		st := a.end()
		if st.Received != 17 || st.Written != 10 || st.KernelDropped != 4 || st.Dropped != 3 {
			t.Errorf("%+v", st)
		}
		s.hold(0, 10)
	})
}

// TestRefusedToAttach: a device that can't be attached is tried again.
func TestRefusedToAttach(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		link.Fail(fake.AtAttach, capture.ErrPermission)
		s.look()
		a := s.recorder(eth0, nil).run()
		a.state(Waiting)
		link.Fail(fake.AtAttach, nil)
		a.state(Recording)
		a.end()
	})
}

// TestQuota: when the quota is reached within a batch, the rest of the batch is
// no loss. It was counted as one when the batch ended with the group that
// reached the quota.
func TestQuota(t *testing.T) {
	for _, sent := range []int{100, 101, 128, 500} {
		inBubble(t, func(s *stand) {
			s.shared.Quota = NewQuota(100)
			link := s.sys.Add("eth0")
			s.look()
			a := s.record()
			send(link, 0, sent)
			<-s.shared.Quota.Reached()
			if st := a.end(); st.Received != 100 || st.Written != 100 || st.Dropped+st.KernelDropped != 0 {
				t.Errorf("of %d: %+v", sent, st)
			}
			s.hold(0, 100)
		})
	}
}

// TestEndReadsAll: frames that were in the ring at the end are in the files,
// even if the device was only opened and never read before.
func TestEndReadsAll(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		a := s.recorder(eth0, nil)
		if err := a.Open(); err != nil {
			t.Fatal(err)
		}
		send(link, 0, 100)
		a.run()
		a.stop()
		if st := a.end(); st.Written != 100 {
			t.Errorf("%+v", st)
		}
		s.hold(0, 100)
	})
}

// TestRenamedAway: an interface whose new name is not recorded is recorded up
// to the renaming, and the next interface of the old name from its start.
func TestRenamedAway(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		a := s.record()
		send(link, 0, 10)
		a.accepted(10)
		link.Rename("other")
		s.look()
		a.state(Waiting)
		link.Send([]byte("of what is recorded no more"))
		time.Sleep(2 * time.Second)
		link = s.sys.Add("eth0")
		s.look()
		a.state(Recording)
		send(link, 10, 20)
		a.accepted(20)
		a.end()
		s.hold(0, 20)
		if got := s.gaps(); len(got) != 1 || !strings.HasPrefix(got[0], "interface absent 2") {
			t.Errorf("gaps %q", got)
		}
		s.inOrder()
		if n := strings.Count(s.logged(), "its new name is not recorded"); n != 1 || strings.Contains(s.logged(), "interface is not there") {
			t.Errorf("the log says so %d times", n)
		}
	})
}

// TestClaims: a renamed interface is not recorded under its new name while the
// recorder of its old name has it.
func TestClaims(t *testing.T) {
	inBubble(t, func(s *stand) {
		s.taken["eth1"] = true
		link := s.sys.Add("eth0")
		s.look()
		old := s.record()
		link.Rename("eth1")
		s.look()
		next := s.recorder(store.Lane{Interface: "eth1"}, nil)
		if err := next.Open(); !errors.Is(err, ErrHeld) || next.Index() != 0 {
			t.Errorf("%v, index %d", err, next.Index())
		}
		next.run()
		next.state(Waiting)
		time.Sleep(time.Second)
		if next.Status().State != Waiting || link.Devices() != 1 {
			t.Errorf("%+v, %d devices", next.Status(), link.Devices())
		}
		after := s.recorder(store.Lane{Interface: "eth1"}, func(c *Config) { c.Takeover = NewTakeover(1, 100, false) })
		if err := after.Open(); !errors.Is(err, ErrHeld) || after.Index() != 0 || link.Devices() != 1 {
			t.Errorf("the successor of one that waits: %v, index %d, %d devices", err, after.Index(), link.Devices())
		}
		after.Discard()
		old.Leave(NewTakeover(1, 100, true))
		next.state(Recording)
		old.end()
		next.end()
	})
}

// TestTakeoverFromNobody: a recorder whose predecessors ended with an earlier process records what comes from Open on.
func TestTakeoverFromNobody(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		takeover := NewTakeover(0, 1000, false)
		takeover.Survive(nil)
		next := s.recorder(eth0, func(c *Config) { c.Takeover = takeover })
		if err := next.Open(); err != nil {
			t.Fatal(err)
		}
		send(link, 0, 100)
		next.run()
		next.accepted(100)
		next.end()
		s.hold(0, 100)
	})
}

// TestTakeover: every frame before, during and after a takeover is recorded
// once, whether the kernel stamps a frame once or for each device.
func TestTakeover(t *testing.T) {
	for _, skew := range []time.Duration{0, 50 * time.Millisecond} {
		inBubble(t, func(s *stand) {
			s.sys.SetSkew(skew)
			link := s.sys.Add("eth0")
			s.look()
			old := s.record()
			send(link, 0, 100)
			old.accepted(100)
			takeover := NewTakeover(1, 1000, false)
			next := s.recorder(eth0, func(c *Config) { c.Takeover = takeover })
			if err := next.Open(); err != nil {
				t.Fatal(err)
			}
			send(link, 100, 200) // the new device admits none of them
			next.run()
			time.Sleep(time.Minute)
			if err := next.Progress().Stuck(time.Second, time.Second); err != nil {
				t.Errorf("a recorder that waits for its predecessor: %v", err)
			}
			stop := make(chan struct{})
			sent := make(chan int)
			go func() {
				n := 200
				for ; ; n++ {
					link.Send(frame(n))
					time.Sleep(time.Millisecond)
					select {
					case <-stop:
						sent <- n + 1
						return
					default:
					}
				}
			}()
			old.Leave(takeover)
			old.stop()
			next.state(Recording)
			time.Sleep(time.Second)
			close(stop)
			n := <-sent
			first := old.end()
			second := next.end()
			if first.Received+second.Received != uint64(n) || first.Written+second.Written != uint64(n) {
				t.Errorf("%d sent: %+v, then %+v", n, first, second)
			}
			s.hold(0, n)
			if len(s.gaps()) > 0 {
				t.Errorf("gaps %q", s.gaps())
			}
		})
	}
}

// TestTakeoverCoarse: with a clock of 10 ms, frames that look the same are recorded once each, although some of
// them waited in the old ring when the new device began.
func TestTakeoverCoarse(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		old := s.record()
		n := 0
		send := func(count int) {
			now := time.Now().Truncate(10 * time.Millisecond)
			for range count {
				link.Deliver(pcap.Packet{Data: frame(0), Sec: uint32(now.Unix()), Nsec: uint32(now.Nanosecond())})
				n++
			}
		}
		takeover := NewTakeover(1, 1000, false)
		next := s.recorder(eth0, func(c *Config) { c.Takeover = takeover })
		if err := next.Open(); err != nil {
			t.Fatal(err)
		}
		next.run()
		old.Leave(takeover)
		old.stop()
		send(2000) // more than a block of the ring
		<-takeover.admitted
		for range 200 {
			send(3)
			time.Sleep(time.Millisecond)
		}
		next.state(Recording)
		first, second := old.end(), next.end()
		if first.Written+second.Written != uint64(n) || len(s.frames()) != n {
			t.Errorf("%d frames, %d and %d written: %d in files", n, first.Written, second.Written, len(s.frames()))
		}
	})
}

// TestLateLeave: a recorder that is ordered to leave after it has ended still
// completes the takeover.
func TestLateLeave(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		old := s.record()
		send(link, 0, 10)
		old.accepted(10)
		old.end()
		takeover := NewTakeover(1, 1000, false)
		next := s.recorder(eth0, func(c *Config) { c.Takeover = takeover })
		if err := next.Open(); err != nil {
			t.Fatal(err)
		}
		old.Leave(takeover)
		next.run()
		next.state(Recording)
		send(link, 10, 20)
		next.accepted(10)
		next.end()
		s.hold(0, 20)
		if n := len(s.shared.Claims.by); n != 0 {
			t.Errorf("%d recorders that are no more have claims", n)
		}
		if next.Sequence() != 2 {
			t.Errorf("sequence %d", next.Sequence())
		}
	})
}

// TestOrders: a recorder rotates and takes over settings at its next turn.
func TestOrders(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		a := s.record()
		if name, ok := a.Rotate(); ok {
			t.Errorf("without a file: %v", name)
		}
		send(link, 0, 10)
		a.accepted(10)
		name, ok := a.Rotate()
		if !ok || name.Sequence != 1 {
			t.Errorf("%v, %t", name, ok)
		}
		a.await("the file", func() bool { return a.EndedSequence() == 1 })
		c := settings("eth0")
		c.RotateInterval = config.Duration(2 * time.Second)
		a.Adjust(c)
		send(link, 10, 20)
		a.await("the second one", func() bool { return a.EndedSequence() == 2 })
		a.end()
		s.hold(0, 20)
	})
}

// TestGiveUp: after GiveUp, Run returns at once even if the disk hangs.
func TestGiveUp(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		stuck := make(chan struct{})
		a := s.recorder(eth0, func(c *Config) { c.Finished = func(writer.File) { <-stuck } }).run()
		a.state(Recording)
		send(link, 0, 10)
		a.accepted(10)
		a.stop()
		time.Sleep(time.Hour)
		if st := a.Status(); st.State == Ended {
			t.Errorf("%+v", st)
		}
		a.GiveUp()
		if err := <-a.done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(stuck)
	})
}

// TestStuck: Stuck reports a recorder that does not turn, and none that has
// ended.
func TestStuck(t *testing.T) {
	inBubble(t, func(s *stand) {
		s.sys.Add("eth0")
		s.look()
		a := s.record()
		for range 100 {
			time.Sleep(37 * time.Millisecond)
			if err := a.Progress().Stuck(time.Second, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Progress().Stuck(-1, time.Second); err == nil || !strings.HasPrefix(err.Error(), "interface eth0: the recorder has not turned for ") {
			t.Errorf("%v", err)
		}
		a.end()
		if err := a.Progress().Stuck(-1, time.Second); err != nil {
			t.Error(err)
		}
	})
}

// TestSnapshot: Find prefers the index to the name.
func TestSnapshot(t *testing.T) {
	s := &Snapshot{ByName: map[string]capture.Interface{"a": {Name: "a", Index: 1}, "b": {Name: "b", Index: 2}}}
	for _, c := range []struct {
		name  string
		index int
		want  string
	}{{"a", 0, "a"}, {"a", 2, "b"}, {"c", 0, ""}, {"a", 3, ""}} {
		got, ok := s.Find(c.name, c.index)
		if got.Name != c.want || ok != (c.want != "") {
			t.Errorf("%s, %d: %v, %t", c.name, c.index, got, ok)
		}
	}
}
