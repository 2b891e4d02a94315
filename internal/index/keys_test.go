package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capd/filter"
	"capd/flow"
	"capd/pcap"
)

// A crowd is what random frames and random expressions are made of.
type crowd struct {
	*rand.Rand
	hosts   []netip.Addr
	ports   []uint16
	padding int // of each frame
}

func newCrowd(seed uint64) *crowd {
	c := &crowd{Rand: rand.New(rand.NewPCG(seed, 11))}
	for i := range 400 {
		c.hosts = append(c.hosts, netip.AddrFrom4([4]byte{10, byte(c.IntN(4)), byte(c.IntN(20)), byte(i)}))
		c.hosts = append(c.hosts, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(c.IntN(9)), 0, byte(c.IntN(9)), 15: byte(i)}))
		c.ports = append(c.ports, uint16(1024+c.IntN(60000)))
	}
	c.ports = append(c.ports, 22, 53, 80, 443)
	return c
}

func oneOf[T any](c *crowd, all []T) T { return all[c.IntN(len(all))] }

// frame returns a frame between two hosts that were chosen before.
func (c *crowd) frame(a, b netip.Addr, port uint16) []byte {
	data := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	u16 := binary.BigEndian.AppendUint16
	for range max(0, c.IntN(5)-2) {
		data = u16(u16(data, 0x8100), uint16(5+c.IntN(3)))
	}
	if c.IntN(20) == 0 {
		return append(u16(data, 0x88cc), make([]byte, 30)...)
	}
	service := oneOf(c, c.ports[len(c.ports)-4:])
	src, dst := port, service
	if c.IntN(2) == 0 {
		a, b, src, dst = b, a, dst, src
	}
	v4 := a.Is4() && b.Is4()
	proto := oneOf(c, []byte{6, 6, 17, 132, 58, 50})
	if v4 && proto == 58 {
		proto = 1
	}
	body := append(u16(u16(nil, src), dst), 0, 0, 0, 0, 0, 0, 0, 0, 0x50, byte(c.IntN(64)), 0, 0, 0, 0, 0, 0)
	if c.IntN(60) == 0 {
		body = body[:c.IntN(len(body))]
	}
	if v4 {
		data = append(u16(data, 0x0800), 0x45, 0, 0, 60, 0, 0, 0, 0, 64, proto, 0, 0)
		if c.IntN(20) == 0 {
			data[len(data)-5] = 1 // a later fragment
		}
		return slices.Concat(data, a.AsSlice(), b.AsSlice(), body)
	}
	x, y := a.As16(), b.As16()
	data = append(u16(data, 0x86dd), 0x60, 0, 0, 0, 0, 20, proto, 64)
	return slices.Concat(data, x[:], y[:], body)
}

// expr returns an expression about the crowd.
func (c *crowd) expr(depth int) string {
	if depth > 0 && c.IntN(3) > 0 {
		return "(" + c.expr(depth-1) + oneOf(c, []string{" and ", " and ", " or ", " and not "}) + c.expr(depth-1) + ")"
	}
	host := oneOf(c, c.hosts)
	switch c.IntN(9) {
	case 0, 1, 2:
		return oneOf(c, []string{"", "src ", "dst "}) + "host " + host.String()
	case 3, 4:
		return oneOf(c, []string{"", "tcp ", "src ", "dst "}) + fmt.Sprintf("port %d", oneOf(c, c.ports))
	case 5:
		bits := oneOf(c, []int{4, 12, 16, 20, 24, 28})
		if host.Is6() {
			bits = oneOf(c, []int{12, 32, 47, 48, 56, 64, 100})
		}
		p, _ := host.Prefix(bits)
		return "net " + p.String()
	case 6:
		return fmt.Sprintf("portrange %d-%d", 20+c.IntN(3), 22+c.IntN(4))
	case 7:
		return fmt.Sprintf("vlan %d", 4+c.IntN(5))
	}
	return oneOf(c, []string{"tcp", "udp", "ip6", "arp", "ip proto 89", "ether proto 0x88cc", "icmp", "tcp[13] & 2 != 0"})
}

// files makes files with tables, and returns the packets of each.
func (c *crowd) files(t testing.TB, dir string, files, packets int) map[string][][]byte {
	t.Helper()
	all := make(map[string][][]byte)
	var built []Built
	for i := range files {
		enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAP, LinkType: pcap.LinkTypeEthernet})
		file, record := slices.Clone(enc.Header()), make([]byte, enc.MaxRecord())
		path := filepath.Join(dir, fmt.Sprintf("%d.pcap", i))
		hosts := []netip.Addr{oneOf(c, c.hosts), oneOf(c, c.hosts), oneOf(c, c.hosts), oneOf(c, c.hosts)}
		for range packets {
			data := append(c.frame(oneOf(c, hosts), oneOf(c, hosts), oneOf(c, c.ports)), make([]byte, c.padding)...)
			n, _ := enc.Encode(record, []pcap.Packet{{Data: data, Length: uint32(len(data)), Sec: begin}})
			file = append(file, record[:n]...)
			all[path] = append(all[path], data)
		}
		put(t, path, file)
		b, err := Build(t.Context(), path, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			b.keys = nil // as of a table that was there
		}
		built = append(built, b)
	}
	if err := Catalogue(dir, built); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestCatalogueKeys: the catalogue never excludes a table with a packet that passes, and hardly one without a row that may have one
// is left.
func TestCatalogueKeys(t *testing.T) {
	c, dir := newCrowd(1), t.TempDir()
	all := c.files(t, dir, 60, 20)
	rows := make(map[string][]flow.Row)
	for path := range all {
		table, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := table.Each(func(r *flow.Row, _ string) error { rows[path] = append(rows[path], *r); return nil }); err != nil {
			t.Fatal(err)
		}
		table.Close()
	}
	type count struct{ excluded, left int }
	var exact, rough count // of expressions about single addresses and ports, and with networks, ranges and VLANs too
	found := 0
	for range 400 {
		expr := c.expr(3)
		p, err := filter.Compile(expr, filter.Target{LinkType: filter.LinkEthernet})
		if err != nil {
			t.Fatal(err)
		}
		cond, err := filter.Conditions(expr)
		if err != nil {
			t.Fatal(err)
		}
		to := &exact
		if strings.Contains(expr, "net") || strings.Contains(expr, "range") || strings.Contains(expr, "vlan") {
			to = &rough
		}
		n := NewNarrower(dir, Search{Condition: cond})
		for path, packets := range all {
			e, ok := n.catalogue.find(path)
			if !ok || e.Filter == nil {
				t.Fatalf("%s is not in the catalogue", path)
			}
			may, _ := n.mayHave(&e)
			passes := slices.ContainsFunc(packets, func(b []byte) bool { return p.Match(b, len(b), nil) > 0 })
			var f filter.Flow
			possible := slices.ContainsFunc(rows[path], func(r flow.Row) bool { r.Facts(&f); return cond.MayIn(allIn(&f)) })
			switch {
			case passes && !may:
				t.Fatalf("%q: %s is excluded: %s", expr, path, cond)
			case passes:
				found++
			case !may:
				to.excluded++
			case !possible:
				to.left++
			}
		}
		n.Close()
	}
	t.Logf("%d have a packet that passes; without a row with such keys are %+v and %+v", found, exact, rough)
	if exact.left*50 > exact.excluded || rough.left*10 > rough.excluded || exact.excluded < 3000 || rough.excluded < 3000 || found < 1000 {
		t.Error("the catalogue is not sharp")
	}
}

// allIn is what a table of one flow has.
func allIn(f *filter.Flow) func([]filter.Key) bool {
	return func(keys []filter.Key) bool {
		return !slices.ContainsFunc(keys, func(k filter.Key) bool { return !k.In(f) })
	}
}

// TestCatalogueDoubt: a filter that is damaged, cut, of another table or gone excludes nothing that it should not.
func TestCatalogueDoubt(t *testing.T) {
	c, dir := newCrowd(2), t.TempDir()
	all := c.files(t, dir, 20, 20)
	path := filepath.Join(dir, filtersName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	candidates := func(host netip.Addr) (found []string) {
		cond, err := filter.Conditions("host " + host.String())
		if err != nil {
			t.Fatal(err)
		}
		n := NewNarrower(dir, Search{Condition: cond})
		defer n.Close()
		for path := range all {
			e, ok := n.catalogue.find(path)
			if may, _ := n.mayHave(&e); !ok || may {
				found = append(found, path)
			}
		}
		slices.Sort(found)
		return found
	}
	for i := range 200 {
		host := oneOf(c, c.hosts)
		want := candidates(host)
		bad := slices.Clone(b)
		switch i % 5 {
		case 0:
			bad = bad[:c.IntN(len(bad))]
		case 1:
			slices.Reverse(bad)
		case 2:
			from := c.IntN(len(bad)/blockSize-1) * blockSize
			copy(bad, bad[from:])
		default:
			for at := range bad {
				if bit := c.IntN(64); bit < 8 {
					bad[at] &^= 1 << bit
				}
			}
		}
		put(t, path, bad)
		got := candidates(host)
		for _, p := range want {
			if !slices.Contains(got, p) {
				t.Fatalf("%d: %s is excluded", i, p)
			}
		}
		put(t, path, b)
	}
	// What is in doubt is made anew.
	for _, remove := range []bool{false, true} {
		put(t, path, b[:len(b)/2])
		if remove {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		host := oneOf(c, c.hosts)
		if index(t, dir); len(candidates(host)) > 15 {
			t.Errorf("%d of 20 candidates", len(candidates(host)))
		}
		for name, e := range readCatalogue(dir) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if !e.intact(f) {
				t.Errorf("the filter of %s is not as it should be", name)
			}
			f.Close()
		}
	}
	// Deleted tables leave the file in the end.
	for path := range all {
		if err := os.Remove(TablePath(path)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, path, make([]byte, filterSlack+1))
	if err := Catalogue(dir, nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("%v, %v", info, err)
	}
}

// BenchmarkNarrow asks a directory where a connection is, between hosts that talk to others in many files.
func BenchmarkNarrow(b *testing.B) {
	c, dir := newCrowd(5), b.TempDir()
	all := c.files(b, dir, 100, 300)
	opened := 0
	for b.Loop() {
		cond, err := filter.Conditions(fmt.Sprintf("host %v and host %v and port %d", c.hosts[0], c.hosts[2], c.ports[0]))
		if err != nil {
			b.Fatal(err)
		}
		n := NewNarrower(dir, Search{Condition: cond})
		for path := range all {
			got, err := n.Narrow(path)
			if err != nil {
				b.Fatal(err)
			}
			if got.Regions != nil {
				opened++
			}
		}
		n.Close()
	}
	b.ReportMetric(float64(opened)/float64(b.N), "opened/op")
}

// TestKeysOfFlood: the filter of a flood, in which each packet is a flow of its own, has no more than its part of the file, and hardly
// takes a key that is not in it.
func TestKeysOfFlood(t *testing.T) {
	const rows, length = 30_000, 33 << 20
	var keys keySet
	addr := func(i int) netip.Addr {
		h := mixed(uint64(i))
		return netip.AddrFrom4([4]byte{byte(h), byte(h >> 8), byte(h >> 16), byte(h >> 24)})
	}
	for i := range rows {
		r := flow.Row{Key: flow.Key{Src: addr(i), Dst: netip.AddrFrom4([4]byte{10, 0, 0, 1}), EtherType: 0x0800, Proto: 6, SrcPort: uint16(i), DstPort: 80}, Link: pcap.LinkTypeEthernet}
		r.Has = flow.HasInterface | flow.HasProto | flow.HasPorts
		keys.add(&r)
	}
	b := keys.filter(1, length)
	k := keyReader{keyFilter: &keyFilter{Blocks: len(b) / blockSize}, file: bytes.NewReader(b), checksum: 1}
	wrong := 0
	for i := range 2 * rows {
		may := k.may(hashAddr(kindAddr, addr(i)))
		if i < rows && !may {
			t.Fatalf("%v is not in the filter", addr(i))
		}
		if i >= rows && may {
			wrong++
		}
	}
	t.Logf("%d keys in %d bytes; %d of %d others are taken", len(keys.hashes), len(b), wrong, rows)
	if len(b) > length/maxKeyPart || wrong > rows/20 {
		t.Errorf("%d bytes, and %d of %d others are taken", len(b), wrong, rows)
	}
}
