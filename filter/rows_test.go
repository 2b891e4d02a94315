package filter_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"capd/filter"
	"capd/flow"
	"capd/pcap"
)

// rowLinks are link types whose rows tell something, and some whose rows do not.
var rowLinks = []filter.LinkType{
	filter.LinkEthernet, filter.LinkEthernet, filter.LinkEthernet, filter.LinkNull, filter.LinkRaw, filter.LinkLoop, filter.LinkSLL, filter.LinkSLL2,
	filter.LinkIPv4, filter.LinkIPv6, filter.LinkPPP,
}

// A rowTable is the rows of a capture in which each frame has a region of its own, so that rows say which frames they are made of.
type rowTable struct {
	frames []filter.Sample // by region; of the first and the last there is none
	rows   []flow.Row
}

// newRowTable makes rows of frames. With a flood, not all flows are listed, and some are in parts.
func newRowTable(t *testing.T, l filter.LinkType, flood bool) *rowTable {
	t.Helper()
	rt := &rowTable{frames: []filter.Sample{{}}}
	filler := uint32(0) // region that has frames of the flood
	b := flow.NewBuilder(func(r *flow.Row) error {
		if !r.Inner() && !slices.Equal(r.Regions, []uint32{filler}) {
			again := *r
			again.Regions = slices.Clone(r.Regions)
			rt.rows = append(rt.rows, again)
		}
		return nil
	})
	iface := b.Interface("eth0", pcap.LinkType(l))
	add := func(region int, s filter.Sample) {
		p := pcap.Packet{Data: s.Data, Length: uint32(s.Wirelen), Sec: 1}
		if err := b.Add(int64(region)*flow.RegionSize, iface, &p); err != nil {
			t.Fatal(err)
		}
	}
	frames := filter.Samples(l)
	r := rand.New(rand.NewPCG(3, uint64(l)))
	r.Shuffle(len(frames), func(i, k int) { frames[i], frames[k] = frames[k], frames[i] })
	for i, s := range frames {
		rt.frames = append(rt.frames, s)
		add(i+1, s)
		if flood && i == len(frames)/2 {
			packet := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 9, 0, 53, 0, 8, 0, 0}
			data := append(make([]byte, 12), 8, 0)
			if l == filter.LinkRaw {
				data = nil
			}
			data = append(data, packet...)
			for n := range uint32(256<<10 + 100) { // more than a Builder follows
				binary.BigEndian.PutUint32(data[len(data)-16:], 11<<24+n)
				add(0, filter.Sample{Data: data, Wirelen: len(data)})
			}
		}
	}
	size := int64(len(rt.frames)) * flow.RegionSize
	if flood {
		size = 0 // so that few rows are allowed
	}
	if _, _, err := b.Finish(size); err != nil {
		t.Fatal(err)
	}
	return rt
}

// check compares a condition with the program that decides, over some of the rows. Frames of flows that are not listed must be
// in a region of some row that the condition does not exclude.
func (rt *rowTable) check(t *testing.T, expr string, c *filter.Condition, p *filter.Program, from, step int) (n counted) {
	passes := func(region uint32) bool {
		s := &rt.frames[region]
		return p.Match(s.Data, s.Wirelen, nil) > 0
	}
	var f filter.Flow
	reachable, listed := make([]bool, len(rt.frames)), make([]bool, len(rt.frames))
	for i := range rt.rows {
		r := &rt.rows[i]
		if !r.Unlisted && i%step != from {
			for _, region := range r.Regions {
				listed[region] = true
			}
			continue
		}
		r.Facts(&f)
		may, must := c.May(&f), c.Must(&f)
		n.pairs++
		if r.Unlisted {
			for _, region := range r.Regions {
				reachable[region] = reachable[region] || may
			}
			continue
		}
		any, all := false, true
		for _, region := range r.Regions {
			listed[region] = true
			ok := passes(region)
			any, all = any || ok, all && ok
			if ok && !may {
				t.Errorf("%q excludes %+v: %+v, of which %x passes: %s", expr, r, f, rt.frames[region].Data, c)
			}
			if !ok && must {
				t.Errorf("%q takes all of %+v: %+v, of which %x does not pass: %s", expr, r, f, rt.frames[region].Data, c)
			}
		}
		if !any {
			n.could++
		}
		if !may {
			n.excluded++
		}
		if all && !must {
			n.mustNot++
		}
		if must {
			n.must++
		}
	}
	for region := 1; region < len(rt.frames); region++ {
		if !listed[region] && !reachable[region] && passes(uint32(region)) {
			t.Errorf("%q: no row leads to %x: %s", expr, rt.frames[region].Data, c)
		}
	}
	return n
}

// counted are pairs of an expression and a row.
type counted struct {
	pairs    int
	could    int // have no packet that passes
	excluded int // of these
	must     int // have only packets that pass, which is known
	mustNot  int // the same, which is not known
}

func (c *counted) add(o counted) {
	c.pairs, c.could, c.excluded, c.must, c.mustNot = c.pairs+o.pairs, c.could+o.could, c.excluded+o.excluded, c.must+o.must, c.mustNot+o.mustNot
}

// TestConditionOfRows: what rows of a real table say of their frames is true: a condition excludes no row of which a frame
// passes the program, and takes none as a whole of which one does not. A long run is with -random 1000000.
func TestConditionOfRows(t *testing.T) {
	tables := make(map[filter.LinkType]*rowTable)
	flooded := newRowTable(t, filter.LinkEthernet, true)
	unlisted, flows := 0, make(map[flow.Key]int)
	for i := range flooded.rows {
		if flooded.rows[i].Unlisted {
			unlisted++
		} else {
			flows[flooded.rows[i].Key]++
		}
	}
	if n := len(flooded.rows) - unlisted; unlisted < 100 || n < 100 || len(flows) > n-10 {
		t.Errorf("%d rows, of which %d are unlisted and %d of a flow of which there are others", len(flooded.rows), unlisted, n-len(flows))
	}
	exprs := filter.RandomCount() / 10
	if testing.Short() {
		exprs = min(exprs, 100)
	}
	var sum counted
	try := func(i int, expr string, l filter.LinkType, rt *rowTable) {
		p, err := filter.Compile(expr, filter.Target{LinkType: l, Netmask: 0xffffff00})
		if err != nil {
			return
		}
		c, err := filter.Conditions(expr)
		if err != nil {
			t.Fatalf("%q: %v", expr, err)
		}
		sum.add(rt.check(t, expr, c, p, i%8, 8))
	}
	for i := range exprs {
		l := rowLinks[i%len(rowLinks)]
		if tables[l] == nil {
			tables[l] = newRowTable(t, l, false)
		}
		expr := filter.RandomExpr(uint64(i), l)
		try(i, expr, l, tables[l])
		if l == filter.LinkEthernet && i%5 == 0 {
			try(i, expr, l, flooded)
		}
		if t.Failed() {
			return
		}
	}
	for i, expr := range filter.TrickyExprs() {
		for n, expr := range []string{expr, "not (" + expr + ")"} {
			try(i+n, expr, filter.LinkEthernet, tables[filter.LinkEthernet])
			try(i+n, expr, filter.LinkEthernet, flooded)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d pairs of expression and row; of %d that have no packet that passes, %d are excluded; %d have only such packets, which is not known of %d more",
		sum.pairs, sum.could, sum.excluded, sum.must, sum.mustNot)
	if sum.pairs < 50000 || sum.excluded*10 < sum.could*6 {
		t.Errorf("%d pairs, of which %d are excluded, are too few", sum.pairs, sum.excluded)
	}
}
