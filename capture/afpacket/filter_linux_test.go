package afpacket

import (
	"errors"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"

	"capd/capture/device"
	"capd/internal/testnet"

	"golang.org/x/sys/unix"
)

// openFiltered opens the interface, behind a gate or without one.
func openFiltered(t *testing.T, name string, filter []device.Instruction, gated bool) (d *socket, err error) {
	t.Helper()
	_, err = device.Open(device.Config{Interface: name, RingSize: 4 << 20, Filter: filter, Gated: gated},
		func(c device.Config) (*device.Device, error) {
			d, err = open(c)
			return nil, err
		})
	if err == nil {
		t.Cleanup(func() { d.Close() })
	}
	return d, err
}

// TestFilterIsLocked checks that the filter can't be changed once the requested one is set.
func TestFilterIsLocked(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1500)
	for _, filter := range [][]device.Instruction{nil, {{Code: device.OpReturn, K: 100}}} {
		for _, gated := range []bool{false, true} {
			d, err := openFiltered(t, "a1", filter, gated)
			if err != nil {
				t.Fatal(err)
			}
			if gated {
				if err := d.Admit(); err != nil {
					t.Fatal(err)
				}
			}
			if err := setFilter(d.fd, []device.Instruction{{Code: device.OpReturn}}); err != unix.EPERM {
				t.Errorf("%d instructions, gated %v: change: %v", len(filter), gated, err)
			}
			if err := d.Stop(); err != nil {
				t.Errorf("%d instructions, gated %v: stop: %v", len(filter), gated, err)
			}
		}
	}
}

// largeFilter is a program of that many instructions.
func largeFilter(n int) []device.Instruction {
	filter := make([]device.Instruction, n)
	for i := range filter {
		filter[i] = device.Instruction{Code: device.OpReturn}
	}
	return filter
}

// limitMemory sets how much memory the options of a socket may take.
func limitMemory(t *testing.T, bytes int) {
	t.Helper()
	const limit = "/proc/sys/net/core/optmem_max" // of the namespace since Linux 6.8
	was, _ := os.ReadFile(limit)
	if err := os.WriteFile(limit, []byte(strconv.Itoa(bytes)), 0); err != nil {
		t.Skip("the limit can't be set for the namespace: ", err)
	}
	t.Cleanup(func() { _ = os.WriteFile(limit, was, 0) })
}

// TestFilterTooLargeForSocket checks that the error names the limit.
func TestFilterTooLargeForSocket(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1500)
	limitMemory(t, 20480)
	for _, gated := range []bool{false, true} {
		_, err := openFiltered(t, "a1", largeFilter(4096), gated)
		if !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), "4096 instructions need more memory than net.core.optmem_max") {
			t.Errorf("gated %v: %v", gated, err)
		}
	}
}

// TestGateHasRoom: with the lowest limit that lets a gated device open, it admits
// frames, though the kernel then needs memory for gate and program at the same time.
func TestGateHasRoom(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1500)
	const most = 20_000
	least := 1000 + sort.Search(most, func(limit int) bool {
		limitMemory(t, 1000+limit)
		d, err := openFiltered(t, "a1", largeFilter(500), true)
		if err == nil {
			d.Close()
		}
		return err == nil
	})
	limitMemory(t, least)
	d, err := openFiltered(t, "a1", largeFilter(500), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Admit(); err != nil {
		t.Errorf("with %d bytes: %v", least, err)
	}
}
