package recorder

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"capd/capture"
	"capd/capture/fake"
	"capd/ledger"
)

// TestAnyLife: after any sequence of changes and failures the files have each
// frame at most once and in order, all frames that the kernel counted are
// accounted for, each gap in the ledger has an end, and no other line says that
// the time of a gap was recorded.
func TestAnyLife(t *testing.T) {
	for seed := range uint64(40) {
		inBubble(t, func(s *stand) {
			rng := rand.New(rand.NewPCG(seed, 7))
			link := s.sys.Add("eth0")
			s.look()
			a := s.recorder(eth0, nil).run()
			sent := 0
			for range 40 {
				n := rng.IntN(200)
				if link != nil {
					send(link, sent, sent+n)
				}
				sent += n
				link = s.disturb(rng, a, link)
				if rng.IntN(4) > 0 {
					s.look()
				}
				time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
			}
			a.end()
			last := -1
			for _, f := range s.frames() {
				n, err := strconv.Atoi(strings.TrimSpace(f))
				if err != nil || n <= last {
					t.Fatalf("seed %d: frame %q after %d", seed, f, last)
				}
				last = n
			}
			open := 0
			for _, e := range s.lines {
				if e.Kind != ledger.KindGap {
					continue
				}
				open++
				if !e.End.IsZero() {
					open -= 2
				}
			}
			if open != 0 {
				t.Errorf("seed %d: %d gaps have no end", seed, open)
			}
			s.inOrder()
		})
	}
}

// disturb makes one random change and returns the present interface; nil if
// there is none.
func (s *stand) disturb(rng *rand.Rand, a *attempt, link *fake.Link) *fake.Link {
	if link == nil {
		return s.sys.Add("eth0")
	}
	switch rng.IntN(8) {
	case 0:
		link.SetUp(false)
	case 1:
		link.SetUp(true)
	case 2:
		link.Remove()
		return nil
	case 3:
		link.Rename("other" + strconv.Itoa(link.Index()))
		return nil
	case 4:
		link.Fail(fake.AtNext, errors.New("broken"))
	case 5:
		a.source.fail(capture.ErrPermission)
	case 6:
		a.source.fail(nil)
	case 7:
		a.Rotate()
	}
	return link
}
