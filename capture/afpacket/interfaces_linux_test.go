package afpacket

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"capd/capture/device"
	"capd/internal/testnet"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
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

// TestLargestFrame checks that it is known of an interface how large the frames
// are that the host joins.
func TestLargestFrame(t *testing.T) {
	testnet.Veth(t, "x0", "x1", 1500)
	for _, attribute := range []uint16{unix.IFLA_GSO_MAX_SIZE, unix.IFLA_GRO_MAX_SIZE} {
		if d, err := Inspect("x1"); err != nil || d.LargestFrame < 1500 || d.LargestFrame > 65536 {
			t.Errorf("%+v, %v", d, err)
		}
		for _, size := range []uint32{400_000, 65536} {
			setSize(t, "x1", attribute, size)
			if d, err := Inspect("x1"); err != nil || d.LargestFrame != int(size) {
				t.Errorf("attribute %d: %+v, %v, want %d", attribute, d, err, size)
			}
		}
	}
}

// setSize sets a size of an interface, as ip link does.
func setSize(t *testing.T, name string, attribute uint16, size uint32) {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	info := make([]byte, unix.SizeofIfInfomsg)
	host.PutUint32(info[4:], uint32(testnet.Index(t, name)))
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(attribute, size)
	data, err := attributes.Encode()
	if err != nil {
		t.Fatal(err)
	}
	header := netlink.Header{Type: unix.RTM_NEWLINK, Flags: netlink.Request | netlink.Acknowledge}
	if _, err := conn.Execute(netlink.Message{Header: header, Data: append(info, data...)}); err != nil {
		if errors.Is(err, unix.EINVAL) {
			t.Skipf("this kernel has no frames of %d bytes: %v", size, err)
		}
		t.Fatal(err)
	}
}
