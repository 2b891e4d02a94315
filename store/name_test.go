package store

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"capd/pcap"
)

func TestNameString(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name Name
		want string
	}{
		{Name{"eth0", at, 17, 0, pcap.PCAP, false}, "eth0-20260102T030405Z-000017.pcap"},
		{Name{"eth0", at, 17, 0, pcap.PCAPNG, true}, "eth0-20260102T030405Z-000017.pcapng.age"},
		{Name{"eth0", at, 17, 2, pcap.PCAP, true}, "eth0-20260102T030405Z-000017.2.pcap.age"},
		{Name{"eth0", at, 0, 0, pcap.PCAP, false}, "eth0-20260102T030405Z-000000.pcap"},
		{Name{"eth0", at, 10, 0, pcap.PCAP, false}, "eth0-20260102T030405Z-000010.pcap"},
		{Name{"eth0", at, 99999, 0, pcap.PCAP, false}, "eth0-20260102T030405Z-099999.pcap"},
		{Name{"eth0", at, 100000, 0, pcap.PCAP, false}, "eth0-20260102T030405Z-100000.pcap"},
		{Name{"br-lan", at, 17, 0, pcap.PCAPNG, false}, "br-lan-20260102T030405Z-000017.pcapng"},
		{Name{"eth0.100", at, 12345678, 0, pcap.PCAP, false}, "eth0.100-20260102T030405Z-12345678.pcap"},
		{Name{"eth0.1", at, 17, 12, pcap.PCAP, false}, "eth0.1-20260102T030405Z-000017.12.pcap"},
		{Name{"-rf", at, 1, 0, pcap.PCAP, false}, "%2Drf-20260102T030405Z-000001.pcap"},
		{Name{"..", at, 1, 0, pcap.PCAP, false}, "%2E.-20260102T030405Z-000001.pcap"},
		{Name{"a/b:%é", at, 1, 0, pcap.PCAP, false}, "a%2Fb%3A%25%C3%A9-20260102T030405Z-000001.pcap"},
	} {
		if got := c.name.String(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestNameInverse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		iface := make([]byte, 1+r.IntN(15))
		for i := range iface {
			iface[i] = byte(1 + r.IntN(255))
		}
		n := Name{string(iface), time.Unix(r.Int64N(1<<32), 0).UTC(), r.Uint64N(1 << r.UintN(64)), max(0, r.IntN(40)-20), pcap.Format(r.IntN(2)), r.IntN(2) == 0}
		got, err := ParseName(n.String())
		if err != nil || got != n {
			t.Fatalf("%+v -> %s -> %+v, %v", n, n, got, err)
		}
		if s := n.String(); strings.ContainsAny(s, "/\x00 \n") || s[0] == '-' || s[0] == '.' {
			t.Fatalf("%+v: unsafe name %q", n, s)
		}
	}
}

func TestParseNameRefuses(t *testing.T) {
	for _, s := range []string{
		"", ".pcap", "x.pcap", "eth0-20260102T030405Z-000017", "eth0-20260102T030405Z-000017.pcap.partial",
		"eth0-20260102T030405Z-17.pcap", "eth0-20260102T030405Z-+00017.pcap", "-20260102T030405Z-000017.pcap",
		"eth0-20260230T030405Z-000017.pcap", "eth%300-20260102T030405Z-000017.pcap", "eth0-20260102T030405Z-0000017.pcap",
		"eth0-20260102T030405Z-000017.0.pcap", "eth0-20260102T030405Z-000017.01.pcap", "eth0-20260102T030405Z-000017..pcap",
		"a/b-20260102T030405Z-000017.pcap", "eth0-20260102T030405Z-000017.PCAP", "%2-20260102T030405Z-000017.pcap",
	} {
		if n, err := ParseName(s); err == nil {
			t.Errorf("%q was taken for %+v", s, n)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("eth0-20260102T030405Z-000017.pcap")
	f.Add("%2Drf-20260102T030405Z-000001.pcapng")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err == nil && n.String() != s {
			t.Fatalf("%q -> %+v -> %q", s, n, n)
		}
	})
}

// BenchmarkParseName: a start parses a name for each file and each line of the ledger.
func BenchmarkParseName(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseName("eth0-20260102T030405Z-000017.pcapng"); err != nil {
			b.Fatal(err)
		}
	}
}
