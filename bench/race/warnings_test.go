//go:build linux

package main

import "testing"

func TestDiscardsIn(t *testing.T) {
	const table = `27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard,resuid=65534
30 27 0:99 / /fast rw,relatime - ext4 /dev/none rw
31 27 0:99 / /b rw,relatime shared:7 master:1 - btrfs /dev/none rw,ssd,discard=async,space_cache=v2
32 27 0:99 / /s rw,relatime - btrfs /dev/none rw,ssd,discard=sync
33 27 0:99 / /odd\040name rw,relatime - xfs /dev/none rw,discard
34 27 0:99 / /f rw - f2fs /dev/none rw,discard,discard_unit=block
35 27 0:99 / /m rw - ext4 /dev/none rw,nodiscard
36 27 0:99
`
	for id, want := range map[uint64]bool{2: false, 30: false, 31: false, 32: true, 33: true, 34: false, 35: false, 36: false} {
		if got := discardsIn(table, id); got != want {
			t.Errorf("mount %d: %v", id, got)
		}
	}
}

func TestHasCapability(t *testing.T) {
	const nice = 23
	for status, want := range map[string]bool{
		"Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000800000\n": true,
		"CapPrm:\t000001ffffffffff\nCapEff:\t00000000a80425fb\n":           false, // a container's root
		"": false,
	} {
		if got := has(status, nice); got != want {
			t.Errorf("%q: %v", status, got)
		}
	}
}
