package recorder

import (
	"math/rand/v2"
	"testing"
	"time"

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
		h.add(old)
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
