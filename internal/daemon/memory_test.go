package daemon

import (
	"maps"
	"sync/atomic"
	"testing"

	"capd/capture"
	"capd/config"
	"capd/internal/recorder"
	"capd/store"
)

// TestPoolSize adds interfaces on machines with different amounts of memory,
// and sums up their pools.
func TestPoolSize(t *testing.T) {
	const mib, gib = int64(config.MiB), int64(config.GiB)
	for name, c := range map[string]struct {
		memory int64
		toml   string
		links  []string // exist at the start
		later  []string // appear later, one by one
		pools  []int64  // size of the pool of each interface's recorder, in this order
		most   int64    // sum of all pools
	}{
		"one":          {24 * gib, "", []string{"eth0"}, nil, []int64{1536 * mib}, 1536 * mib},
		"large":        {256 * gib, "", []string{"eth0"}, nil, []int64{2 * gib}, 2 * gib},
		"small":        {2 * gib, "", []string{"eth0"}, nil, []int64{128 * mib}, 128 * mib},
		"tiny":         {128 * mib, "", []string{"eth0"}, nil, []int64{32 * mib}, 32 * mib},
		"unknown":      {0, "", []string{"eth0"}, nil, []int64{32 * mib}, 32 * mib},
		"two":          {6 * gib, "", []string{"eth0", "eth1"}, nil, []int64{256 * mib, 256 * mib}, gib / 2},
		"three":        {4 * gib, "", []string{"eth0", "eth1", "eth2"}, nil, []int64{128 * mib, 128 * mib, 128 * mib}, 384 * mib},
		"fanout":       {10 * gib, "fanout = 4", []string{"eth0"}, nil, []int64{256 * mib}, gib},
		"large chunks": {gib, `chunk_size = "64MiB"`, []string{"eth0"}, nil, []int64{128 * mib}, 128 * mib},
		"set":          {4 * gib, `pool_size = "8GiB"`, []string{"eth0"}, nil, []int64{8 * gib}, 8 * gib},
		"later":        {4 * gib, "", []string{"eth0"}, []string{"eth1", "eth2"}, []int64{256 * mib, 128 * mib, 64 * mib}, 448 * mib},
		"fanout later": {9 * gib, "fanout = 2", []string{"eth0"}, []string{"eth1"}, []int64{384 * mib, 128 * mib}, gib},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := config.Parse("capd.toml", []byte(c.toml+"\n[[interface]]\nname = \"eth*\"\n"))
			if err != nil {
				t.Fatal(err)
			}
			m := &manager{memory: c.memory, config: new(atomic.Pointer[config.Config]), set: newSet(), interfaces: &interfaces{news: new(recorder.Links)}}
			m.config.Store(cfg)
			there := make(links)
			begin := func(names ...string) {
				there = maps.Clone(there)
				for _, name := range names {
					there[name] = capture.Interface{Name: name}
				}
				m.interfaces.publish(there, cfg)
				for _, name := range names {
					one := m.interfaces.wanted[name]
					pool := m.poolSize(name, one)
					for i := range one.Fanout {
						lane := store.Lane{Interface: name, Number: i}
						m.set.add(&member{lane: lane, pool: pool})
					}
				}
			}
			begin(c.links...)
			for _, name := range c.later {
				begin(name)
			}
			sum := int64(0)
			for _, r := range m.set.members() {
				sum += r.pool
			}
			for i, name := range append(c.links, c.later...) {
				r := m.set.at(store.Lane{Interface: name})
				if r.pool != c.pools[i] {
					t.Errorf("%s has %d MiB, want %d", name, r.pool/mib, c.pools[i]/mib)
				}
				if again := m.poolSize(name, m.interfaces.wanted[name]); len(c.later) == 0 && again != r.pool {
					t.Errorf("opened again %s has %d MiB, had %d", name, again/mib, r.pool/mib)
				}
			}
			if sum != c.most {
				t.Errorf("all have %d MiB, want %d", sum/mib, c.most/mib)
			}
		})
	}
}

// TestPoolsHaveALimit: however many interfaces come, their pools together stay within an eighth of
// the memory, until two chunks for each are more: that is what later ones then get.
func TestPoolsHaveALimit(t *testing.T) {
	for _, c := range []struct{ memory, atStart, later, fanout int64 }{
		{24, 600, 0, 1}, {64, 600, 300, 1}, {8, 1, 100, 1}, {16, 0, 200, 1}, {32, 20, 20, 4}, {0, 1, 5, 1},
	} {
		memory := c.memory * int64(config.GiB)
		one := config.Default().Recording
		one.Fanout = int(c.fanout)
		i := &config.Interface{Recording: one}
		limit, least := poolLimit(memory), 2*int64(one.ChunkSize)
		var sum, rings int64
		for n := range c.atStart + c.later {
			rings = max(c.atStart, n+1) * c.fanout
			size := poolSize(i, limit, sum, rings)
			if sum += size * c.fanout; sum > limit && size > least {
				t.Errorf("%d GiB, pool %d of %d has %d bytes, all have %d of %d", c.memory, n, c.atStart, size, sum, limit)
			}
		}
		if most := max(limit, c.atStart*c.fanout*least) + c.later*c.fanout*least; sum > most {
			t.Errorf("%d GiB, %d interfaces and %d later: pools of %d bytes, at most %d", c.memory, c.atStart, c.later, sum, most)
		}
	}
}
