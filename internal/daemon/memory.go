package daemon

import (
	"github.com/KimMachineGun/automemlimit/memlimit"

	"capd/capture"
	"capd/config"
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

// poolSize returns the bytes of the pool of each of the interface's recorders.
// What is left open is so that all pools together stay within an eighth of the
// memory: each has the same part when all interfaces are there at the start, and
// none has more than half of it. Who comes later has of what is left. The caller
// holds mu.
func (d *Daemon) poolSize(name string, c *config.Interface) int64 {
	if c.PoolSize != 0 {
		return int64(c.PoolSize)
	}
	all := d.memory / 8
	left, rings := all, int64(0)
	for _, other := range d.wanted() {
		rings += int64(other.Fanout)
	}
	for lane, r := range d.recorders {
		if lane.Interface != name { // these will end, where there are any
			left -= r.pool
		}
	}
	size := min(all/max(rings, 2), left/int64(c.Fanout), mostPool)
	return max(size, leastPool)
}

// Memory returns how many bytes the rings and pools of the interfaces take that
// would be recorded now, and how many there are for capd at most; 0 if that is
// not known.
func Memory(cfg *config.Config, there []capture.Interface) (taken, total int64) {
	d := &Daemon{memory: memory()}
	d.current.Store(cfg)
	l := newLinks(there)
	d.links.Store(&l)
	for name, c := range d.wanted() {
		taken += (int64(c.RingSize) + d.poolSize(name, c)) * int64(c.Fanout)
	}
	return taken, d.memory
}
