package recorder

import (
	"errors"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/capture/fake"
	"capd/ledger"
	"capd/pcap"
)

// TestTakeoverSkew: each device has its own timestamp of a frame, the newer
// device the earlier one. The successors leave out exactly the frames that the
// old recorder has, though most frames are alike. A frame that the old device
// drops is not lost.
func TestTakeoverSkew(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		h := newFrames(100)
		h.skew = 100 * time.Millisecond
		const frames = 600
		admitted, ended := 100+rng.IntN(100), 300+rng.IntN(200)
		drops := seed%3 == 0
		var now int64 = 1_700_000_000_000_000 // µs
		var old, successors []pcap.Packet
		sent, kept := map[byte]int{}, map[byte]int{}
		for i := range frames {
			like := byte(rng.IntN(2))
			now += 1 + rng.Int64N(40)
			sent[like]++
			if i >= admitted {
				successors = append(successors, frameAt(like, now))
			}
			now += rng.Int64N(20)
			if i < ended && (!drops || i < admitted || rng.IntN(10) > 0) {
				old = append(old, frameAt(like, now))
				kept[like]++
			}
		}
		h.add(old, nil)
		for len(successors) > 0 {
			n := min(len(successors), 1+rng.IntN(64))
			fresh, _ := h.fresh(successors[:n:n])
			for _, p := range fresh {
				kept[p.Data[0]]++
			}
			successors = successors[n:]
		}
		for like, n := range sent {
			if kept[like] != n {
				t.Errorf("seed %d: %d of %d frames %d", seed, kept[like], n, like)
			}
		}
		if len(h.seen) > 0 {
			t.Errorf("seed %d: %d seen without their times", seed, len(h.seen))
		}
	}
}

func frameAt(like byte, us int64) pcap.Packet {
	return pcap.Packet{Data: []byte{like, 1, 2}, Length: 3, Sec: uint32(us / 1e6), Nsec: uint32(us % 1e6 * 1000)}
}

// TestTakeoverRefused: a device that was to take over and admits no frame is
// opened again, and the ledger says for how long and why nothing was recorded.
func TestTakeoverRefused(t *testing.T) {
	for _, later := range []bool{false, true} {
		inBubble(t, func(s *stand) {
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
			link.Fail(fake.AtAdmit, syscall.ENOMEM)
			if later {
				next.source.fail(syscall.ENOMEM)
			}
			next.run()
			old.Leave(takeover)
			old.stop()
			var least time.Duration
			if later {
				next.await("why", func() bool { return strings.Contains(next.Status().Why, syscall.ENOMEM.Error()) })
				time.Sleep(5 * time.Second)
				next.source.fail(nil)
				least = 5 * time.Second
			}
			next.state(Recording)
			send(link, 100, 200)
			next.accepted(100)
			old.end()
			next.end()
			s.hold(0, 200)
			if got := s.gaps(); len(got) != 1 || !strings.HasPrefix(got[0], "interface not opened") {
				t.Errorf("gaps %q", got)
			}
			for _, e := range s.lines {
				if e.Kind != ledger.KindGap {
					continue
				}
				if !strings.Contains(e.Why, "admits no frame") {
					t.Errorf("the ledger does not say why: %+v", e)
				}
				if took := e.End.Sub(e.Begin); !e.End.IsZero() && (took < least || took > least+2*lookEvery) {
					t.Errorf("the gap took %v, want %v", took, least)
				}
			}
			s.inOrder()
		})
	}
}

// TestTakeoverCannotAttach: what can fail fails before the predecessor has to
// leave.
func TestTakeoverCannotAttach(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		old := s.record()
		link.Fail(fake.AtAttach, syscall.ENOMEM)
		next := s.recorder(eth0, func(c *Config) { c.Takeover = NewTakeover(1, 1000, false) })
		if err := next.Open(); !errors.Is(err, syscall.ENOMEM) {
			t.Error(err)
		}
		next.Discard()
		if n := link.Devices(); n != 1 {
			t.Errorf("%d devices are open", n)
		}
		send(link, 0, 10)
		old.accepted(10)
		old.end()
	})
}
