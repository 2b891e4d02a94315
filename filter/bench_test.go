package filter

import (
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

func BenchmarkMatch(b *testing.B) {
	p, err := Compile("tcp port 80", Target{LinkType: LinkEthernet})
	if err != nil {
		b.Fatal(err)
	}
	fs := corpus(LinkEthernet)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		f := fs[i%len(fs)]
		p.Match(f.data, f.wirelen, nil)
		i++
	}
}
