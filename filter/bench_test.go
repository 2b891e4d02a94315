package filter

import (
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkCompile compiles the expression of testdata's list that takes longest.
func BenchmarkCompile(b *testing.B) {
	longest, most := sample{}, 0
	for _, s := range samples(b) {
		if p, err := Compile(s.expr, Target{LinkType: s.link}); err == nil && len(p.Instructions) > most {
			longest, most = s, len(p.Instructions)
		}
	}
	for name, s := range map[string]sample{
		"longest": longest,
		"usual":   {LinkEthernet, "not port 9102 and (vlan or ip)"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			best := time.Hour // the minimum is not affected by other load
			for b.Loop() {
				start := time.Now()
				if _, err := Compile(s.expr, Target{LinkType: s.link}); err != nil {
					b.Fatal(err)
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(float64(best), "best-ns/op")
		})
	}
}

// BenchmarkMatch measures one packet, of a file that has TCP and UDP over IPv4.
func BenchmarkMatch(b *testing.B) {
	packets := make([][]byte, 4096)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range packets {
		p := make([]byte, 64)
		copy(p[12:], []byte{8, 0, 0x45})
		p[23] = pick(maker{r}, []byte{6, 17})
		for j := 26; j < 38; j++ {
			p[j] = byte(r.Uint32())
		}
		packets[i] = p
	}
	for _, expr := range []string{
		"", "ip", "port 53", "host 10.0.0.1 and tcp port 443", "not net 192.168.0.0/16 and (tcp or udp) and len > 60",
		"tcp[tcpflags] & (tcp-syn|tcp-rst) != 0", "tcp and ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) != 0",
	} {
		b.Run(expr, func(b *testing.B) {
			p, err := Compile(expr, Target{LinkType: LinkEthernet})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				p.Match(packets[i%len(packets)], 64, nil)
				i++
			}
		})
	}
}
