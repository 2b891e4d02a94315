package daemon

import (
	"capd/capture"
	"capd/config"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// What a pool has whose size is left open, however much or little memory there
// is. The most holds a second and a half of 10 Gbit/s.
const (
	leastPool = int64(32 * config.MiB)
	mostPool  = int64(2 * config.GiB)
)

// memory returns how many bytes capd may have at most: those of the machine, or
// of the control group if that has fewer.
func memory() int64 {
	total, err := memlimit.FromSystem()
	if err != nil {
		total = 0 // pools have the least
	}
	if limit, err := memlimit.FromCgroup(); err == nil && (total == 0 || limit < total) {
		total = limit
	}
	return int64(total)
}

// poolSize returns the bytes of the pool of each of the interface's recorders,
// old ones of the same interface apart: those end.
func (m *manager) poolSize(name string, c *config.Interface) int64 {
	return poolSize(c, m.memory/8, m.set.pools(name), rings(wanted(m.config.Load(), m.interfaces.there())))
}

// poolSize returns the bytes that the configuration gives to a pool. What it
// leaves open is so that all pools together stay within limit bytes, of which
// some are taken: each has the same part when all interfaces are there at the
// start, and none has more than half of it. Who comes later has of what is left.
// All have what they can't do without.
func poolSize(c *config.Interface, limit, taken, rings int64) int64 {
	if c.PoolSize != 0 {
		return int64(c.PoolSize)
	}
	size := min(limit/max(rings, 2), (limit-taken)/int64(c.Fanout), mostPool)
	return max(size, leastPool, 2*int64(c.ChunkSize))
}

// rings returns how many rings the interfaces have together.
func rings(wanted map[string]*config.Interface) (n int64) {
	for _, c := range wanted {
		n += int64(c.Fanout)
	}
	return n
}

// Memory returns how many bytes the rings and pools of the interfaces take that
// would be recorded now, and how many there are for capd at most; 0 if that is
// not known.
func Memory(cfg *config.Config, there []capture.Interface) (taken, total int64) {
	total = memory()
	all := wanted(cfg, newLinks(there))
	for _, c := range all {
		taken += (int64(c.RingSize) + poolSize(c, total/8, 0, rings(all))) * int64(c.Fanout)
	}
	return taken, total
}
