package filter

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A sample is one expression of the list for one link type.
type sample struct {
	link LinkType
	expr string
}

// samples reads the list of expressions.
func samples(tb testing.TB) []sample {
	tb.Helper()
	f, err := os.Open("testdata/expressions.txt")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var all []sample
	var links []LinkType
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		switch {
		case strings.HasPrefix(line, "# "):
		case strings.HasPrefix(line, "["):
			links = nil
			for n := range strings.SplitSeq(strings.Trim(line, "[]"), ",") {
				l, err := strconv.Atoi(n)
				if err != nil {
					tb.Fatal(err)
				}
				links = append(links, LinkType(l))
			}
		default:
			for _, l := range links {
				all = append(all, sample{l, line})
			}
		}
	}
	return all
}

// TestListAgainstTcpdump compares every expression of the list with tcpdump's
// program for it; with -v it prints the lengths of both.
func TestListAgainstTcpdump(t *testing.T) {
	r := newBoth(t)
	list := samples(t)
	if testing.Short() {
		list = slices.DeleteFunc(list, func(s sample) bool { return len(s.expr)%4 != 0 })
	}
	verdicts := make([]verdict, len(list))
	inParallel(len(list), func(i int) { verdicts[i] = r.compare(list[i].expr, list[i].link) })
	var ratios []float64
	for i, v := range verdicts {
		s := list[i]
		if v.err != nil {
			t.Errorf("%s: %q: %v", s.link, s.expr, v.err)
			continue
		}
		if v.ours == 0 || v.ref == 0 {
			t.Logf("%-16s %3d %3d       %s %s", s.link, v.ours, v.ref, s.expr, v.name)
			continue
		}
		ratio := float64(v.ours) / float64(v.ref)
		t.Logf("%-16s %3d %3d %.2f  %s %s", s.link, v.ours, v.ref, ratio, s.expr, v.name)
		if v.always {
			continue // whether the packet has the byte matters, not the byte's value
		}
		ratios = append(ratios, ratio)
		if ratio > 1.5 {
			t.Errorf("%s: %q: %d instructions, tcpdump needs %d", s.link, s.expr, v.ours, v.ref)
		}
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	t.Logf("%d expressions, %d compiled by both; length compared with tcpdump's: median %.2f, largest %.2f", len(list), len(ratios), median, ratios[len(ratios)-1])
	if median > 1.1 {
		t.Errorf("the median length is %.2f times tcpdump's", median)
	}
}

// TestListReachesPackets checks that, for each expression of the list, the corpus has packets that
// it accepts and packets that it rejects; otherwise comparisons would prove nothing.
func TestListReachesPackets(t *testing.T) {
	impossible := []string{"ether proto 65536", "ether[2:2] = 0x0800", "ether[0:4] = 2"} // of the corpus' addresses
	n := 0
	for _, s := range samples(t) {
		p, err := Compile(s.expr, Target{LinkType: s.link})
		if s.link != LinkEthernet || err != nil || p.NeverMatches() || p.AlwaysMatches() {
			continue
		}
		accepted, rejected := false, false
		for _, f := range corpus(s.link) {
			if f.passes(p.Instructions) {
				accepted = true
			} else {
				rejected = true
			}
		}
		if n++; !accepted && !slices.Contains(impossible, s.expr) || !rejected {
			t.Errorf("%q: some packets are accepted: %v, rejected: %v", s.expr, accepted, rejected)
		}
	}
	if n < 400 {
		t.Errorf("only %d expressions", n)
	}
	t.Logf("%d expressions, %d packets", n, len(corpus(LinkEthernet)))
}
