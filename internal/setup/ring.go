package setup

import "capd/config"

// Bounds of a ring whose size is not configured. The largest one holds a second of 1 Gbit/s.
const (
	leastRing = 16 * config.MiB
	mostRing  = 128 * config.MiB
)

// leastSpeed is the lowest speed in Mbit/s that is believed: tunnels and other interfaces without hardware say 10.
const leastSpeed = 100

// RingSize returns the configured size of an interface's ring, or else what the link fills in a second, since a restart
// may take nearly that long. The speed is in Mbit/s. Where it is unknown, as when there is no carrier, or not to be
// believed, the ring has the most.
func RingSize(c *config.Interface, mbps int) config.Size {
	if c.RingSize != 0 {
		return config.Size(c.RingSize)
	}
	size := mostRing
	if mbps >= leastSpeed {
		second := min(config.Size(mbps), 1000) * 1_000_000 / 8
		size = leastRing
		for size < min(second, mostRing) {
			size *= 2
		}
	}
	blocks := max((size+c.BlockSize-1)/c.BlockSize, config.MinBlocks)
	return blocks * c.BlockSize
}
