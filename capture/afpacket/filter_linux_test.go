package afpacket

import (
	"errors"
	"os"
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

// TestFilterTooLargeForSocket checks that the error names the limit.
func TestFilterTooLargeForSocket(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1500)
	const limit = "/proc/sys/net/core/optmem_max" // of the namespace since Linux 6.8
	if err := os.WriteFile(limit, []byte("20480"), 0); err != nil {
		t.Skip("the limit can't be set for the namespace: ", err)
	}
	filter := make([]device.Instruction, 4096)
	for i := range filter {
		filter[i] = device.Instruction{Code: device.OpReturn}
	}
	_, err := openFiltered(t, "a1", filter, false)
	if !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), "4096 instructions need more memory than net.core.optmem_max") {
		t.Error(err)
	}
}
