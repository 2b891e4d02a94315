package setup

import (
	"testing"

	"capd/config"
)

// TestRingSize: a ring holds a second of its link, within bounds, in whole blocks.
func TestRingSize(t *testing.T) {
	const mib = config.MiB
	for _, c := range []struct {
		ring  config.AutoSize
		block config.Size
		mbps  int
		want  config.Size
	}{
		{0, mib, 0, 128 * mib},        // unknown
		{0, mib, -1, 128 * mib},       // unknown
		{0, mib, 10, 128 * mib},       // of a tunnel
		{0, mib, 100, 16 * mib},       // 11.9 MiB in a second
		{0, mib, 200, 32 * mib},       // 23.8 MiB
		{0, mib, 300, 64 * mib},       // 35.8 MiB
		{0, mib, 1000, 128 * mib},     // 119.2 MiB
		{0, mib, 400_000, 128 * mib},  // the most
		{0, 64 * mib, 100, 256 * mib}, // 4 blocks at least
		{0, 3 * mib, 1000, 129 * mib}, // whole blocks
		{config.AutoSize(4 * mib), mib, 1000, 4 * mib},
		{config.AutoSize(2048 * mib), mib, 100, 2048 * mib},
	} {
		i := &config.Interface{Recording: config.Recording{RingSize: c.ring, BlockSize: c.block}}
		if got := RingSize(i, c.mbps); got != c.want {
			t.Errorf("ring_size %s, block_size %s, %d Mbit/s: %s, want %s", c.ring, c.block, c.mbps, got, c.want)
		}
	}
}
