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
