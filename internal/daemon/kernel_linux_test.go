package daemon

import (
	"sync"
	"testing"
	"time"

	"capd/capture"
	"capd/config"
	"capd/internal/testnet"
	"capd/pcap"
)

// TestMillionFrames: every frame is in the files exactly once, in order and
// unchanged, and the counters add up.
func TestMillionFrames(t *testing.T) {
	onVeth(t, func(t *testing.T, n network) {
		count := uint64(1_000_000)
		if testing.Short() {
			count = 50_000
		}
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		r.send(v1, 1, 0, count, "v1")
		s := r.end()[0]
		if s.Received != count || s.Written != count || s.NICDropped != 0 {
			t.Errorf("%+v, want %d frames", s, count)
		}
		verify(t, r.files("v1"), 1, count, 0)
	})
}

// TestRotateFast records four interfaces and any at once, into new files every
// MiB and every second.
func TestRotateFast(t *testing.T) {
	onVeth(t, func(t *testing.T, n network) {
		const count = 30_000
		names := []string{"b0", "b1", "b2", "b3", capture.Any}
		wires := make([]wire, 4)
		for i := range wires {
			wires[i] = n.add(names[i])
		}
		r := newRig(t, n, func(c *config.Config) {
			c.RotateSize, c.RotateInterval = config.MiB, config.Duration(time.Second)
			c.Direction = config.DirectionIn
			c.RingSize = config.AutoSize(16 * config.MiB)
		}, names...)
		r.cfg.Interfaces[1].Format = config.FormatPcap
		r.start(r.options())
		var senders sync.WaitGroup
		for i := range 4 {
			senders.Go(func() { r.send(wires[i], byte(i), 0, count, names[i]) })
		}
		senders.Wait()
		all := r.end()
		if all[0].Interface != capture.Any || all[0].Written != 4*count || all[0].Dropped+all[0].KernelDropped > 0 {
			t.Errorf("any: %+v", all[0])
		}
		for i := range 4 {
			files := r.files(names[i])
			if len(files) < 10 {
				t.Errorf("%s: %d files", names[i], len(files))
			}
			verify(t, files, byte(i), count, 0)
		}
		next := map[byte]uint64{}
		walk(t, r.files(capture.Any), func(p pcap.Packet) {
			stream := p.Data[14]
			want := appendFrame(nil, stream, next[stream])
			if string(p.Data) != string(want) {
				t.Fatalf("any: frame %d of stream %d differs", next[stream], stream)
			}
			next[stream]++
		})
		for i := range 4 {
			if next[byte(i)] != count {
				t.Errorf("any: %d frames of stream %d, want %d", next[byte(i)], i, count)
			}
		}
	})
}

// TestMovedAway: an interface that moves to another network namespace counts as
// gone, and another one of its name is recorded.
func TestMovedAway(t *testing.T) {
	onVeth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		vx := n.add("vx")
		r := newRig(t, n, func(c *config.Config) { c.Exclude = []string{"vx"} }, "v*")
		r.start(r.options())
		r.await("start", func() bool { return r.status("v1").State == Recording })
		v1.Send(appendFrame(nil, 1, 0))
		r.accepted(1)
		testnet.MoveAway(t, "v1")
		r.await("waiting", func() bool { return r.status("v1").State == Waiting })
		vx.Rename("v1") // the exclusion does not match this name
		r.await("the other one", func() bool { return r.status("v1").State == Recording })
		vx.Send(appendFrame(nil, 1, 1))
		r.accepted(2)
		if sum := Sum(r.end()); sum.Written != 2 {
			t.Errorf("%+v", sum)
		}
		verify(t, r.files("v1"), 1, 2, 0)
		if len(r.files("vx")) > 0 {
			t.Errorf("excluded, and recorded: %q", r.files("vx"))
		}
	})
}
