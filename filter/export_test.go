package filter

import (
	"math/rand/v2"
	"slices"
)

// A Sample is a frame of the tests, for those that join this package with others.
type Sample struct {
	Data    []byte
	Wirelen int
}

// Samples returns frames of all kinds of a link type.
func Samples(l LinkType) (all []Sample) {
	frames := append(slices.Clone(corpus(l)), conversations(l)...)
	if l == LinkEthernet {
		frames = append(frames, deceptive()...)
	}
	for _, f := range frames {
		all = append(all, Sample{f.data, f.wirelen})
	}
	return all
}

// RandomExpr returns a random expression; TrickyExprs are those whose meaning is easily missed.
func RandomExpr(n uint64, l LinkType) string {
	m := maker{rand.New(rand.NewPCG(*randomSeed+19, n))}
	return writer{m, l}.expr(m.IntN(6))
}

func TrickyExprs() []string { return tricky }

// RandomCount is how many expressions a test is asked to try.
func RandomCount() int { return *randomCount }
