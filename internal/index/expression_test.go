package index

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/filter"
	"capd/flow"
	"capd/internal/read"
	"capd/pcap"
)

// TestExpression: an expression has the same answer with tables as without, and counts just the packets that pass.
func TestExpression(t *testing.T) {
	c, dir := newCrowd(3), t.TempDir()
	all := c.files(t, dir, 6, 200)
	bare := t.TempDir()
	for path := range all {
		if err := os.Link(path, filepath.Join(bare, filepath.Base(path))); err != nil {
			t.Fatal(err)
		}
	}
	var tables, undecided, skipped int
	for range 80 {
		expr := c.expr(2)
		p, err := filter.Compile(expr, filter.Target{LinkType: filter.LinkEthernet})
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(0)
		for _, packets := range all {
			for _, b := range packets {
				if p.Match(b, len(b), nil) > 0 {
					want++
				}
			}
		}
		with, a := ask(t, dir, Query{Expression: expr})
		without, b := ask(t, bare, Query{Expression: expr})
		if with != without || a.Total.APackets+a.Total.BPackets != want || b.Scanned != len(all) || a.Scanned != 0 {
			t.Fatalf("%q: %d packets, not %d: tables %d, undecided %d\n%.2000s, without tables\n%.2000s", expr, a.Total.APackets+a.Total.BPackets, want, a.Tables, a.Undecided, with, without)
		}
		tables, undecided, skipped = tables+a.Tables, undecided+a.Undecided, skipped+a.Skipped
	}
	t.Logf("%d files by table, %d undecided, %d skipped", tables, undecided, skipped)
	if tables < 50 || undecided == 0 || skipped < 100 {
		t.Error("the tables are of little use")
	}
	if _, err := Flows(t.Context(), dir, Query{Expression: "host"}); err == nil {
		t.Error("no error")
	}
}

// TestExpressionRefused: packets that an expression does not fit are said, with a table and without.
func TestExpressionRefused(t *testing.T) {
	dir := t.TempDir()
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAP, LinkType: pcap.LinkTypeRaw})
	record := make([]byte, enc.MaxRecord())
	n, _ := enc.Encode(record, []pcap.Packet{{Data: make([]byte, 20), Length: 20, Sec: begin}})
	put(t, filepath.Join(dir, "x.pcap"), append(slices.Clone(enc.Header()), record[:n]...))
	for range 2 {
		_, a := ask(t, dir, Query{Expression: "ether host 02:00:00:00:00:01"})
		if len(a.Trouble) != 1 || !strings.HasPrefix(a.Trouble[0], "x.pcap: ") || len(a.Flows) != 0 {
			t.Errorf("%+v", a)
		}
		index(t, dir)
	}
}

// TestNarrow: packets that are searched for are in the regions that a table names, and others are left out.
func TestNarrow(t *testing.T) {
	c, dir := newCrowd(4), t.TempDir()
	c.padding = 1300
	all := c.files(t, dir, 3, 1500)
	wanted, left, catalogued := 0, 0, 0
	packets := make(map[string]map[uint32][][]byte) // by region
	for path := range all {
		packets[path] = make(map[uint32][][]byte)
		eachOffset(t, path, func(offset int64, p *pcap.Packet) {
			region := uint32(offset / flow.RegionSize)
			packets[path][region] = append(packets[path][region], slices.Clone(p.Data))
		})
	}
	for range 100 {
		expr := c.expr(2)
		p, err := filter.Compile(expr, filter.Target{LinkType: filter.LinkEthernet})
		if err != nil {
			t.Fatal(err)
		}
		cond, err := filter.Conditions(expr)
		if err != nil {
			t.Fatal(err)
		}
		n := NewNarrower(dir, Search{Condition: cond})
		for path := range all {
			got, err := n.Narrow(path)
			if err != nil {
				t.Fatal(err)
			}
			if got.Regions == nil {
				catalogued++
			}
			wanted, left = wanted+len(got.Wanted), left+len(got.Regions)-len(got.Wanted)
			for region, in := range packets[path] {
				if !slices.Contains(got.Wanted, region) && slices.ContainsFunc(in, func(b []byte) bool { return p.Match(b, len(b), nil) > 0 }) {
					t.Fatalf("%q: a packet of region %d of %s is not in %v", expr, region, path, got.Wanted)
				}
			}
		}
		n.Close()
	}
	t.Logf("%d regions are wanted, %d are not; %d times no table was opened", wanted, left, catalogued)
	if left < 100 || catalogued < 20 {
		t.Error("nothing is narrow")
	}
}

// eachOffset calls f for each packet and where its record begins.
func eachOffset(t *testing.T, path string, f func(offset int64, p *pcap.Packet)) {
	t.Helper()
	src, err := read.Open(path, read.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	header, err := src.Header()
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(len(header)); ; {
		record, p, err := src.NextRecord()
		if err != nil {
			return
		}
		if p != nil {
			f(at, p)
		}
		at += int64(len(record))
	}
}

// TestNarrowSays: why all of a file is to be read, and what else than an expression is asked for.
func TestNarrowSays(t *testing.T) {
	dir := t.TempDir()
	b := captureOf(pcap.PCAPNG, rand.New(rand.NewPCG(1, 1)), 100, begin)
	whole, torn := filepath.Join(dir, "whole.pcapng"), filepath.Join(dir, "torn.pcapng")
	put(t, whole, b)
	put(t, torn, b[:len(b)-10])
	cond, err := filter.Conditions("tcp")
	if err != nil {
		t.Fatal(err)
	}
	narrow := func(path string, s Search) (*Narrowed, error) {
		n := NewNarrower(dir, s)
		defer n.Close()
		return n.Narrow(path)
	}
	if _, err := narrow(whole, Search{}); !os.IsNotExist(err) {
		t.Errorf("no table: %v", err)
	}
	index(t, dir)
	if _, err := narrow(torn, Search{Condition: cond}); err == nil {
		t.Error("a torn file")
	}
	var one flow.Row
	table, err := Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Each(func(r *flow.Row, _ string) error { one = *r; return nil }); err != nil {
		t.Fatal(err)
	}
	table.Close()
	id := flow.CommunityID(&one.Key, 0)
	is := func(r *flow.Row) bool { return flow.CommunityID(&r.Key, 0) == id }
	late := time.Unix(begin+200, 0)
	for _, catalogued := range []bool{true, false} {
		for _, test := range []struct {
			name   string
			search Search
			want   int
		}{
			{"all", Search{}, 1},
			{"no such packet", Search{Condition: cond}, 0},
			{"a link type that the expression does not fit", Search{Condition: cond, Always: func(pcap.LinkType) bool { return true }}, 1},
			{"later", Search{Since: late}, 0},
			{"earlier", Search{Until: time.Unix(begin, 0)}, 0},
			{"a flow", Search{Flow: is, Flows: []FlowKey{{CommunityID: id}}}, 1},
			{"its ends", Search{Flow: is, Flows: []FlowKey{{A: one.Dst, B: one.Src}}}, 1},
			{"another flow", Search{Flow: func(*flow.Row) bool { return false }, Flows: []FlowKey{{CommunityID: "1:xxxxxxxxxxxxxxxxxxxxxxxxxxx="}}}, 0},
		} {
			got, err := narrow(whole, test.search)
			if err != nil || len(got.Wanted) != test.want || got.Source.Totals.Packets != 100 {
				t.Errorf("%s: %+v, %v", test.name, got, err)
			}
			if err == nil && (got.Regions == nil) != (catalogued && test.want == 0) {
				t.Errorf("%s: the catalogue was not asked", test.name)
			}
		}
		if err := os.Remove(filepath.Join(dir, CatalogueName)); catalogued && err != nil {
			t.Fatal(err)
		}
	}
	put(t, TablePath(whole), []byte("no table"))
	if _, err := narrow(whole, Search{Condition: cond}); err == nil {
		t.Error("a table that is damaged")
	}
}
