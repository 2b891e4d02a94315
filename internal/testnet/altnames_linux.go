package testnet

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// AddAltName gives the interface an alternative name, as ip link property add does. It skips the
// test if the kernel has none.
func AddAltName(tb testing.TB, name, alt string) {
	tb.Helper()
	changeAltName(tb, name, alt, unix.RTM_NEWLINKPROP, netlink.Create|netlink.Excl)
}

// RemoveAltName takes it back.
func RemoveAltName(tb testing.TB, name, alt string) {
	tb.Helper()
	changeAltName(tb, name, alt, unix.RTM_DELLINKPROP, 0)
}

func changeAltName(tb testing.TB, name, alt string, kind netlink.HeaderType, flags netlink.HeaderFlags) {
	tb.Helper()
	Need(tb)
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	ae := netlink.NewAttributeEncoder()
	ae.Nested(unix.IFLA_PROP_LIST, func(list *netlink.AttributeEncoder) error {
		list.String(unix.IFLA_ALT_IFNAME, alt)
		return nil
	})
	attributes, err := ae.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	info := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(info[4:], uint32(Index(tb, name)))
	header := netlink.Header{Type: kind, Flags: netlink.Request | netlink.Acknowledge | flags}
	_, err = conn.Execute(netlink.Message{Header: header, Data: append(info, attributes...)})
	if errors.Is(err, unix.EOPNOTSUPP) {
		tb.Skipf("this kernel has no alternative names: %v", err)
	}
	if err != nil {
		tb.Fatalf("alternative name %s of %s: %v", alt, name, err)
	}
}
