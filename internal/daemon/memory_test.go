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
		"two":          {4 * gib, "", []string{"eth0", "eth1"}, nil, []int64{256 * mib, 256 * mib}, gib / 2},
		"four":         {4 * gib, "", []string{"eth0", "eth1", "eth2", "eth3"}, nil, []int64{128 * mib, 128 * mib, 128 * mib, 128 * mib}, gib / 2},
		"fanout":       {8 * gib, "fanout = 4", []string{"eth0"}, nil, []int64{256 * mib}, gib},
		"large chunks": {gib, `chunk_size = "64MiB"`, []string{"eth0"}, nil, []int64{128 * mib}, 128 * mib},
		"set":          {4 * gib, `pool_size = "8GiB"`, []string{"eth0"}, nil, []int64{8 * gib}, 8 * gib},
		"later":        {4 * gib, "", []string{"eth0"}, []string{"eth1", "eth2"}, []int64{256 * mib, 256 * mib, 32 * mib}, gib/2 + 32*mib},
		"fanout later": {8 * gib, "fanout = 2", []string{"eth0"}, []string{"eth1"}, []int64{512 * mib, 32 * mib}, gib + 64*mib},
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
