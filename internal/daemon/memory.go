package daemon

import (
	"capd/capture"
	"capd/config"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Bounds of pools whose size is not configured. The largest one holds 1.5 seconds
// of 10 Gbit/s.
const (
	leastLimit = int64(64 * config.MiB) // of all pools together, where memory is small or its size unknown
	mostPool   = int64(2 * config.GiB)
	leastRows  = int64(32 * config.MiB)
	mostRows   = int64(512 * config.MiB)
)

// rowsLimit returns what rows of flow tables, and what they are made of, may take of so much memory.
func rowsLimit(memory int64) int64 { return min(max(memory/16, leastRows), mostRows) }

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
	return poolSize(c, poolLimit(m.memory), m.set.pools(name), rings(m.interfaces.wanted))
}

// poolLimit returns what all pools together may take of so much memory.
func poolLimit(memory int64) int64 { return max(memory/8, leastLimit) }

// poolSize returns the configured size of a pool, or else a size such that all
// pools together stay within limit bytes, of which taken are in use. Interfaces
// that exist at the start get equal shares, and one more share is left for those
// that come later, each of which leaves as much as each of its rings gets. No
// pool works with fewer than two chunks, so that is what it gets even beyond the
// limit.
func poolSize(c *config.Interface, limit, taken, rings int64) int64 {
	if c.PoolSize != 0 {
		return int64(c.PoolSize)
	}
	size := min(limit/(rings+1), (limit-taken)/int64(c.Fanout+1), mostPool)
	return max(size, 2*int64(c.ChunkSize))
}

// rings returns the number of rings of all interfaces.
func rings(wanted map[string]*config.Interface) (n int64) {
	for _, c := range wanted {
		n += int64(c.Fanout)
	}
	return n
}

// Rings returns how many rings recording would have if it began now.
func Rings(cfg *config.Config, there []capture.Interface) int {
	all, _ := wanted(cfg, newLinks(there))
	return int(rings(all))
}

// Memory returns how many bytes the rings and pools would take if recording
// began now, and how many bytes capd may use; 0 if that is unknown.
func Memory(cfg *config.Config, there []capture.Interface) (taken, total int64) {
	total = memory()
	all, _ := wanted(cfg, newLinks(there))
	for name, c := range all {
		taken += (int64(ringSize(underneath{}, name, c)) + poolSize(c, poolLimit(total), 0, rings(all))) * int64(c.Fanout)
	}
	return taken, total
}
