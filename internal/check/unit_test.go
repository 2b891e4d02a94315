package check

import (
	"strings"
	"testing"

	"capd/config"
)

func TestForbids(t *testing.T) {
	for properties, want := range map[string]string{
		"": "",
		"LoadState=not-found\nRestrictAddressFamilies=AF_UNIX\n":                                      "",
		"LoadState=loaded\nRestrictAddressFamilies=AF_NETLINK AF_PACKET AF_UNIX\n":                    "RestrictAddressFamilies",
		"LoadState=loaded\nRestrictAddressFamilies=AF_INET AF_PACKET\n":                               "",
		"LoadState=loaded\nRestrictAddressFamilies=AF_INET AF_PACKET\nIPAddressDeny=::/0 0.0.0.0/0\n": "IPAddressDeny",
		"LoadState=loaded\nIPAddressDeny=::/0 0.0.0.0/0\nIPAddressAllow=127.0.0.0/8\n":                "",
		"LoadState=loaded\nRestrictAddressFamilies=~AF_INET AF_INET6\n":                               "RestrictAddressFamilies",
		"LoadState=loaded\nRestrictAddressFamilies=~AF_BLUETOOTH\n":                                   "",
		"LoadState=loaded\nRestrictAddressFamilies=\nIPAddressDeny=\n":                                "",
	} {
		if got := forbids(properties); got != want {
			t.Errorf("%q: %q, want %q", properties, got, want)
		}
	}
}

// TestOutlives: a store that is too small for the rings is found before frames are lost.
func TestOutlives(t *testing.T) {
	loaded := "LoadState=loaded\nFileDescriptorStoreMax="
	for _, c := range []struct {
		properties string
		rings      int
		want       string
	}{
		{loaded + "4096\n", 2, "ok restart: a restart loses no frame"},
		{loaded + "12\n", 2, "ok restart: a restart loses no frame"},
		{loaded + "11\n", 2, "warn restart: a restart after a reload may lose frames"},
		{loaded + "5\n", 2, "warn restart: a restart loses frames: capd.service needs 6 stored descriptors, and 12 for a reload; its FileDescriptorStoreMax is 5"},
		{loaded + "0\n", 1, "FileDescriptorStoreMax=6 in [Service]"},
		{loaded + "0\n", 0, ""},
		{"LoadState=not-found\nFileDescriptorStoreMax=0\n", 1, ""},
		{"LoadState=loaded\n", 1, ""},
		{"", 1, ""},
	} {
		k := &Checker{}
		outlives(k, c.properties, c.rings)
		if out := printed(k); k.Failed() || !strings.Contains(out, c.want) || (c.want == "") != (out == "") {
			t.Errorf("%q, %d rings: %q, want %q", c.properties, c.rings, out, c.want)
		}
	}
}

// TestMetricsAddress: one that can't be had is a warning, as it stops no recording.
func TestMetricsAddress(t *testing.T) {
	cfg := config.Default()
	cfg.Control.Metrics = "[2001:db8::1]:9469" // in a new namespace, any address of IPv4 can be had
	c := &Checker{}
	metrics(c, cfg)
	if out := printed(c); c.Failed() || !strings.Contains(out, "warn control: control.metrics = ") {
		t.Error(out)
	}
}
