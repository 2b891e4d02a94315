package daemon

import (
	"sync/atomic"
	"testing"

	"capd/config"
)

// TestRingFollowsSpeed: without a ring_size the speed that the link has when the ring is opened decides. A restart goes
// on with the ring that is there, and a reload opens none for another speed alone.
func TestRingFollowsSpeed(t *testing.T) {
	inBubble(t, func(c *config.Config) { c.RingSize = 0 }, func(r *restarted) {
		auto := func(c *config.Config) { c.RingSize = 0 }
		want := func(when string, size config.Size) {
			t.Helper()
			r.await("a recorder", func() bool { return r.status("eth0").State == Recording && r.handed() })
			if s := r.status("eth0"); s.RingSize != int64(size) {
				t.Errorf("%s: a ring of %d MiB, want %d", when, s.RingSize/int64(config.MiB), size/config.MiB)
			}
		}
		want("unknown", 128*config.MiB)
		r.net.mbps = new(atomic.Int32)
		r.net.mbps.Store(100)
		r.frames(300)
		r.kill()
		r.frames(300)
		r.again(auto)
		want("after a restart at 100 Mbit/s", 128*config.MiB)
		r.frames(300)
		if err := r.d.Reload(r.change(func(i *config.Interface) { i.RotateSize = 8 * config.MiB })); err != nil {
			t.Fatal(err)
		}
		want("after a change in place", 128*config.MiB)
		if err := r.d.Reload(r.change(func(i *config.Interface) { i.Snaplen = 100_000 })); err != nil {
			t.Fatal(err)
		}
		want("opened anew", 16*config.MiB)
		r.net.mbps.Store(1000)
		r.frames(300)
		r.kill()
		r.frames(300)
		r.again(func(c *config.Config) { auto(c); c.Snaplen, c.RotateSize = 100_000, 8*config.MiB })
		want("after a restart at 1 Gbit/s", 16*config.MiB)
		r.frames(300)
		r.goesOn()
	})
}
