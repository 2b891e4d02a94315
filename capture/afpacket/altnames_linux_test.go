package afpacket

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"capd/capture/device"
	"capd/internal/testnet"
	"capd/pcap"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// TestAltNames: each name of an interface opens it, and all are listed.
func TestAltNames(t *testing.T) {
	testnet.Veth(t, "n0", "n1", 1500)
	names := []string{"enp3s0f0", "enp3s0f0np0-port-to-core-a", strings.Repeat("x", maxAltName)}
	for _, name := range names {
		testnet.AddAltName(t, "n0", name)
	}
	all, err := Interfaces()
	at := slices.IndexFunc(all, func(i device.Interface) bool { return i.Name == "n0" })
	if err != nil || at < 0 || !slices.Equal(all[at].AltNames, names) {
		t.Fatalf("%+v, %v", all, err)
	}
	index := testnet.Index(t, "n0")
	for _, name := range append(names, "n0") {
		links, got, err := lookup(name)
		if err != nil || got != index || links[0] != pcap.LinkTypeEthernet {
			t.Errorf("%s: %v, %d, %v", name, links, got, err)
		}
		if d, err := Inspect(name); err != nil || d.Driver != "veth" || d.LargestFrame == 0 || d.SpeedMbps == 0 || Speed(name) != d.SpeedMbps {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	for _, name := range []string{"enp3s0f1", "enp3s0f0np0-port-to-core-b", strings.Repeat("x", maxAltName+1)} {
		if _, _, err := lookup(name); !errors.Is(err, device.ErrNoInterface) {
			t.Errorf("%s: %v", name, err)
		}
	}
	testnet.RemoveAltName(t, "n0", names[1])
	if _, _, err := lookup(names[1]); !errors.Is(err, device.ErrNoInterface) {
		t.Errorf("removed: %v", err)
	}
}

// FuzzAltNames: no list of attributes makes it panic.
func FuzzAltNames(f *testing.F) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.IFLA_IFNAME, "n0")
	ae.Nested(unix.IFLA_PROP_LIST, func(list *netlink.AttributeEncoder) error {
		list.String(unix.IFLA_ALT_IFNAME, "enp3s0f0")
		return nil
	})
	seed, err := ae.Encode()
	if err != nil {
		f.Fatal(err)
	}
	if names, err := altNames(seed); err != nil || !slices.Equal(names, []string{"enp3s0f0"}) {
		f.Fatalf("%q, %v", names, err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)-5])
	f.Fuzz(func(_ *testing.T, attributes []byte) { _, _ = altNames(attributes) })
}
