package daemon

import (
	"capd/capture"
	"capd/config"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Bounds of a pool whose size is not configured. The largest holds 1.5 seconds
// of 10 Gbit/s.
const (
	leastPool = int64(32 * config.MiB)
	mostPool  = int64(2 * config.GiB)
)

// memory returns how many bytes capd may use: the memory of the machine, or the
// limit of the control group if that is lower.
func memory() int64 {
	total, err := memlimit.FromSystem()
	if err != nil {
		total = 0 // unknown: pools get their least size
	}
	if limit, err := memlimit.FromCgroup(); err == nil && (total == 0 || limit < total) {
		total = limit
	}
	return int64(total)
}

// poolSize returns the size of the pool of each recorder of the interface.
// Pools of older recorders of the same interface do not count, since these
// recorders end.
func (m *manager) poolSize(name string, c *config.Interface) int64 {
	if c.PoolSize != 0 {
		return int64(c.PoolSize)
	}
	return poolSize(c, m.memory/8, m.set.pools(name), rings(m.interfaces.wanted))
}

// poolSize returns the configured size of a pool, or else a size such that all
// pools together stay within limit bytes, of which taken are in use. Interfaces
// that exist at the start get equal shares, and no pool gets more than half of
// the limit. A later interface gets its share of the rest. Each pool gets at
// least leastPool and two chunks, even beyond the limit.
func poolSize(c *config.Interface, limit, taken, rings int64) int64 {
	if c.PoolSize != 0 {
		return int64(c.PoolSize)
	}
	size := min(limit/max(rings, 2), (limit-taken)/int64(c.Fanout), mostPool)
	return max(size, leastPool, 2*int64(c.ChunkSize))
}

// rings returns the number of rings of all interfaces.
func rings(wanted map[string]*config.Interface) (n int64) {
	for _, c := range wanted {
		n += int64(c.Fanout)
	}
	return n
}

// Memory returns how many bytes the rings and pools would take if recording
// began now, and how many bytes capd may use; 0 if that is unknown.
func Memory(cfg *config.Config, there []capture.Interface) (taken, total int64) {
	total = memory()
	all, _ := wanted(cfg, newLinks(there))
	for _, c := range all {
		taken += (int64(c.RingSize) + poolSize(c, total/8, 0, rings(all))) * int64(c.Fanout)
	}
	return taken, total
}
