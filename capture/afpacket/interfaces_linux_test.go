package afpacket

import (
	"slices"
	"strings"
	"testing"

	"capd/capture/device"
	"capd/internal/testnet"
)

func listed(t *testing.T, name string) device.Interface {
	t.Helper()
	all, err := Interfaces()
	i := slices.IndexFunc(all, func(i device.Interface) bool { return i.Name == name })
	if err != nil || i < 0 {
		t.Fatalf("%s is not among %+v, %v", name, all, err)
	}
	return all[i]
}

// TestXDP checks that the list of interfaces names a program that takes frames
// before any capture can.
func TestXDP(t *testing.T) {
	testnet.Veth(t, "x0", "x1", 1500)
	if i := listed(t, "x1"); i.XDP.Attached() || i.XDP.String() != "none" {
		t.Errorf("%+v", i.XDP)
	}
	testnet.AttachXDP(t, "x1", "drop_all", testnet.XDPDrop)
	i := listed(t, "x1")
	if i.XDP.Mode != "generic" || i.XDP.Program == 0 || i.XDP.Name != "drop_all" ||
		!strings.HasSuffix(i.XDP.String(), " drop_all, generic") || listed(t, "x0").XDP.Attached() {
		t.Errorf("%+v, %s", i.XDP, i.XDP)
	}
	testnet.DetachXDP(t, "x1")
	if i := listed(t, "x1"); i.XDP.Attached() {
		t.Errorf("%+v", i.XDP)
	}
}

// TestLargestFrame checks that an interface's large frames are known.
func TestLargestFrame(t *testing.T) {
	testnet.Veth(t, "x0", "x1", 1500)
	if d, err := Inspect("x1"); err != nil || d.LargestFrame < 65536 {
		t.Errorf("%+v, %v", d, err)
	}
}
