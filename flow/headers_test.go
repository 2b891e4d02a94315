package flow

import (
	"bytes"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"capd/pcap"
)

// rowsOf returns rows that can be kept, in the order in which they come.
func rowsOf(make func(b *Builder) int64) (rows []Row, all Rows, err error) {
	b := NewBuilder(func(r *Row) error {
		all.Add(r)
		again := *r
		again.Regions = slices.Clone(r.Regions)
		rows = append(rows, again)
		return nil
	})
	b.Describe(0)
	err = all.Finish(b, make(b))
	return rows, all, err
}

// read makes the rows of a file as it is read.
func read(t *testing.T, file []byte, b *Builder) int64 {
	t.Helper()
	src, err := pcap.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	at := int64(len(src.Header()))
	for {
		record, p, err := src.NextRecord()
		if err == io.EOF {
			return at
		}
		if err != nil {
			t.Fatal(err)
		}
		if p != nil {
			i := src.Interface()
			if i.Name == "" {
				i.Name = "none"
			}
			if err := b.Add(at, b.Interface(i.Name, i.LinkType), p); err != nil {
				t.Fatal(err)
			}
		} else if src.Translator().Informs(record) {
			b.Describe(at)
		}
		at += int64(len(record))
	}
}

// taken makes the rows of a file from its headers.
func taken(t *testing.T, s Shape, header, records []byte, b *Builder) int64 {
	t.Helper()
	d, h := NewDescribed(header, "none"), NewHeaders(4000)
	at := int64(len(header))
	for len(records) > 0 {
		n := h.Take(s, at, records)
		if at, records = at+int64(n), records[n:]; len(records) > 0 {
			if h.used == 0 {
				t.Fatal("nothing is taken")
			}
			if err := h.AddTo(b, d); err != nil {
				t.Fatal(err)
			}
			h.Reset()
		}
	}
	if err := h.AddTo(b, d); err != nil {
		t.Fatal(err)
	}
	return at
}

// TestHeaders: the headers of a file's packets make the rows that the file itself makes, of any format and of odd frames, and these
// rows come through another process as they are.
func TestHeaders(t *testing.T) {
	mixed := []*pcap.Interface{
		{Name: "eth0", LinkType: pcap.LinkTypeEthernet}, {Name: "tun0", LinkType: pcap.LinkTypeRaw}, {Name: "lo", LinkType: pcap.LinkTypeEthernet},
	}
	for _, h := range []pcap.Header{
		{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
		{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0", Snaplen: 60},
		{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeRaw, Interface: "tun0"},
		{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeMixed, Interface: "any"},
		{Format: pcap.PCAP, LinkType: pcap.LinkTypeEthernet},
		{Format: pcap.PCAP, LinkType: pcap.LinkTypeEthernet, Micro: true},
		{Format: pcap.PCAP, LinkType: pcap.LinkTypeLinuxSLL2},
	} {
		r := rand.New(rand.NewPCG(5, 6))
		c := randomCapture(r, 20000, 3000)
		for i := range c.packets {
			p := &c.packets[i]
			if h.LinkType == pcap.LinkTypeMixed {
				p.From = mixed[min(len(mixed)-1, r.IntN(1+i/3000))]
			}
			if r.IntN(3) == 0 {
				p.Flags = pcap.FlagOutbound
			}
			if r.IntN(500) == 0 {
				p.Sec, p.Nsec, p.Length = 0, 0, p.Length+1
			}
		}
		enc := pcap.NewEncoder(h)
		header, records := enc.Header(), make([]byte, 64<<20)
		n, count := enc.EncodeMixed(records, c.packets, new(pcap.Described))
		if count != len(c.packets) {
			t.Fatalf("%d packets", count)
		}
		records = enc.AppendFiller(records[:n], int64(len(header)+n), c.packets[0].Time())
		if h.Format == pcap.PCAP {
			records = records[:n]
		}
		want, all, err := rowsOf(func(b *Builder) int64 { return read(t, slices.Concat(header, records), b) })
		if err != nil {
			t.Fatal(err)
		}
		s := Shape{h.Format, h.Micro, h.LinkType == pcap.LinkTypeEthernet}
		got, other, err := rowsOf(func(b *Builder) int64 { return taken(t, s, header, records, b) })
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(other, all) {
			t.Errorf("%+v: the rows of the headers are others: %d and %d\n%+v\n%+v", h, len(got), len(want), other.Totals, all.Totals)
		}
		i := 0
		if _, err := other.Each(func(row *Row, _ string) error {
			if !reflect.DeepEqual(*row, want[i]) && len(row.Regions) > 0 {
				t.Fatalf("%+v\n%+v", *row, want[i])
			}
			i++
			return nil
		}); err != nil || i != len(want) {
			t.Errorf("%d rows of %d: %v", i, len(want), err)
		}
	}
}

// FuzzHeaders: the begin of a frame that is kept makes the rows of the whole frame, and what lies beyond MaxHeaders only matters
// where a row says that it was short, or to rows of what a tunnel carries.
func FuzzHeaders(f *testing.F) {
	for _, c := range frames {
		f.Add(uint16(1), c.b)
		f.Add(uint16(101), c.b)
	}
	f.Fuzz(func(t *testing.T, link uint16, frame []byte) {
		if len(frame) > pcap.MaxSnaplen {
			return
		}
		h := pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkType(link), Interface: "eth0"}
		enc := pcap.NewEncoder(h)
		records := make([]byte, enc.MaxRecord())
		n, _ := enc.Encode(records, []pcap.Packet{{Data: frame, Length: uint32(len(frame)), Sec: 1}})
		want, _, err := rowsOf(func(b *Builder) int64 { return read(t, slices.Concat(enc.Header(), records[:n]), b) })
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := rowsOf(func(b *Builder) int64 {
			return taken(t, Shape{Format: h.Format, Ethernet: h.LinkType == pcap.LinkTypeEthernet}, enc.Header(), records[:n], b)
		})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v\n%+v\n%+v", err, got, want)
		}
		var whole, begin Frame
		whole.Parse(h.LinkType, frame)
		begin.Parse(h.LinkType, frame[:min(len(frame), MaxHeaders)])
		switch h.LinkType {
		case pcap.LinkTypeEthernet, pcap.LinkTypeRaw, pcap.LinkTypeNull, pcap.LinkTypeLoop, pcap.LinkTypeLinuxSLL, pcap.LinkTypeLinuxSLL2:
		default:
			return // of others, rows tell conditions nothing
		}
		if t := begin.Layers[0].EtherType; t != etherIPv4 && t != etherIPv6 && t == whole.Layers[0].EtherType {
			return // nor of what is behind labels or PPPoE
		}
		if l := &begin.Layers[0]; l.Marks&Short == 0 && *l != whole.Layers[0] {
			t.Fatalf("%+v\n%+v", *l, whole.Layers[0])
		}
	})
}

// BenchmarkTake is what it costs to record packets of memory that no cache has, without headers and with them.
func BenchmarkTake(b *testing.B) {
	for _, w := range workloads {
		for _, with := range []bool{false, true} {
			name, group := w.name+"/without", 64
			if with {
				name, group = w.name+"/with", 16 // as a Writer does it
			}
			b.Run(name, func(b *testing.B) {
				enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
				chunk := make([]byte, 4<<20)
				h := NewHeaders(256 << 10)
				var pkts []pcap.Packet
				w.run(b, func(file []byte) int {
					fill := 0
					write := func() {
						if fill > len(chunk)-1<<18 {
							fill = 0
						}
						n, _ := enc.Encode(chunk[fill:], pkts)
						for at := 0; with && at < n; {
							took := h.Take(Shape{Format: pcap.PCAPNG, Ethernet: true}, int64(fill), chunk[fill+at:fill+n])
							if at += took; at < n {
								h.Reset()
							}
						}
						fill += n
						pkts = pkts[:0]
					}
					return walk(file, func(_ int64, p *pcap.Packet) {
						if pkts = append(pkts, *p); len(pkts) == group {
							write()
						}
					})
				})
			})
		}
	}
}

// BenchmarkHeaders is what rows cost whose headers were taken on another processor.
func BenchmarkHeaders(b *testing.B) {
	for _, w := range workloads {
		b.Run(w.name, func(b *testing.B) {
			header := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"}).Header()
			file := w.file()
			var all []*Headers
			packets := walk(file, func(int64, *pcap.Packet) {})
			for at := 0; at < len(file); {
				h := NewHeaders(256 << 10)
				at += h.Take(Shape{Format: pcap.PCAPNG, Ethernet: true}, int64(at), file[at:])
				all = append(all, h)
			}
			b.ResetTimer()
			begin, n := processor(), 0
			for b.Loop() {
				builder := NewBuilder(func(*Row) error { return nil })
				d := NewDescribed(header, "")
				for pass := range passes {
					for _, h := range all {
						base := h.base
						h.base += int64(pass * len(file))
						if err := h.AddTo(builder, d); err != nil {
							b.Fatal(err)
						}
						h.base = base
					}
					n += packets
				}
				if _, _, err := builder.Finish(int64(passes * len(file))); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processor()-begin)/float64(n), "cpu-ns/packet")
		})
	}
}
