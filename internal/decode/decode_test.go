package decode

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"capd/pcap"
)

var packets = flag.Int("packets", 200_000, "the number of packets of TestMemoryIsFlat")

// What a hostile packet can make the decoder print, at the most.
const (
	mostLine   = 8 << 10
	mostLayers = 256 << 10
	mostJSON   = 1 << 20
)

// check holds what is true of any packet; of its object only where asked, as
// that takes long.
func check(t *testing.T, d *Decoder, p *pcap.Packet, object bool) {
	t.Helper()
	f := d.Decode(p)
	line := string(f.AppendLine(nil))
	b := []byte("{}")
	if object {
		var err error
		if b, err = json.Marshal(f); err != nil {
			t.Fatal(err)
		}
	}
	layers := string(f.AppendLayers(nil))
	if d.Panics() > 0 {
		t.Fatalf("%x: %s", p.Data, d.Stack())
	}
	if again := string(f.AppendLine(nil)); again != line {
		t.Errorf("%x: %q, then %q", p.Data, line, again)
	}
	if len(line) > mostLine || len(layers) > mostLayers || len(b) > mostJSON {
		t.Errorf("%x: %d bytes of line, %d of layers, %d of JSON", p.Data, len(line), len(layers), len(b))
	}
	for _, text := range []string{line, strings.ReplaceAll(layers, "\n", ""), unmarshalled(t, b)} {
		if i := strings.IndexFunc(text, dangerous); i >= 0 || !utf8.ValidString(text) {
			t.Fatalf("%x: not printable at %d: %q", p.Data, i, text)
		}
	}
}

// unmarshalled is all text of an object, without the escapes of JSON.
func unmarshalled(t *testing.T, b []byte) string {
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(v)
}

func dangerous(r rune) bool { return !unicode.IsPrint(r) }

// TestEveryLength decodes the beginnings of all packets: cut by the capture, and
// short on the wire; and a few bytes changed.
func TestEveryLength(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, s := range corpus() {
		d := New(s.link, Options{Flows: NewFlows()})
		for n := 0; n <= len(s.Data); n++ {
			b := cat(s.Data[:n])
			check(t, d, &pcap.Packet{Data: b, Length: s.Length}, n%8 == 0)
			check(t, d, &pcap.Packet{Data: b, Length: uint32(n)}, n%8 == 1)
			if n > 0 {
				c := cat(s.Data)
				c[n-1] = byte(r.Uint32())
				check(t, d, &pcap.Packet{Data: c, Length: s.Length}, n%8 == 2)
			}
			if n > 200 {
				n += 40 // little is decoded there
			}
		}
	}
}

// FuzzDecode decodes any bytes of any link type.
func FuzzDecode(f *testing.F) {
	for _, s := range corpus() {
		f.Add(s.Data, uint16(s.link), uint16(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, link, more uint16) {
		d := New(pcap.LinkType(link), Options{Names: more&1 != 0, Flows: NewFlows()})
		check(t, d, &pcap.Packet{Data: b, Length: uint32(len(b)) + uint32(more), Flags: pcap.Flags(more)}, true)
	})
}

// FuzzHello decodes the content of a QUIC packet, to which no fuzzer finds the
// way through its protection.
func FuzzHello(f *testing.F) {
	client := handshake(1, hello("secret.example.org", false))
	f.Add([]byte(cat(raw{6, 0}, be16(0x4000|len(client)), client)))
	f.Add([]byte(cat(raw{6, 20}, raw{10}, client[20:30], raw{6, 0, 20}, client[:20])))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := New(pcap.LinkTypeEthernet, Options{Layers: true})
		d.frame.reset()
		d.guarded(func(s *sink, x data) { quicHello(s, x.b) }, data{cryptoFrames(b), maxHello})
		if d.Panics() > 0 {
			t.Fatalf("%s", d.Stack())
		}
		if s := d.frame.TLS; s != nil && strings.IndexFunc(s.ServerName+strings.Join(s.ALPN, ""), dangerous) >= 0 {
			t.Errorf("%q", s)
		}
	})
}

// TestCorpusSize: the corpus has as many protocols as was promised.
func TestCorpusSize(t *testing.T) {
	protocols := map[string]bool{}
	for _, s := range corpus() {
		for _, p := range New(s.link, Options{}).Decode(&s.Packet).Path {
			protocols[p] = true
		}
	}
	if len(protocols) < 100 {
		t.Errorf("%d protocols", len(protocols))
	}
}

// TestMemoryIsFlat decodes many packets: what each costs is bounded and given
// back. It took 10 million of them with -packets=10000000.
func TestMemoryIsFlat(t *testing.T) {
	all := corpus()
	decoders := map[pcap.LinkType]*Decoder{}
	for _, s := range all {
		decoders[s.link] = New(s.link, Options{})
	}
	var line []byte
	run := func(n int) (live, total uint64) {
		for i := range n {
			s := &all[i%len(all)]
			line = decoders[s.link].Decode(&s.Packet).AppendLine(line[:0])
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, m.TotalAlloc
	}
	live0, total0 := run(2 * len(all))
	live1, total1 := run(*packets)
	if live1 > live0+256<<10 {
		t.Errorf("%d bytes in use after %d packets, %d before", live1, *packets, live0)
	}
	if each := (total1 - total0) / uint64(*packets); each > 2048 {
		t.Errorf("%d bytes allocated for a packet", each)
	}
	runtime.KeepAlive(decoders)
}

// TestNoAllocations: what most frames are costs no memory, line included.
func TestNoAllocations(t *testing.T) {
	for name, b := range map[string]raw{
		"tcp":   eth(0x8100, cat(be16(5, 0x0800), tcp4(40000, 40001, 0x18, nil, str("anything")))),
		"udp":   eth(0x86dd, udp6(40000, 40001, str("anything"))),
		"gre":   eth(0x0800, ip4(47, cat(be16(0x2000, 0x6558), be32(77777), eth(0x0800, udp4(40000, 40001, nil))))),
		"vxlan": eth(0x0800, udp4(50000, 4789, cat(raw{8, 0, 0, 0}, be32(5<<8), eth(0x0800, tcp4(40000, 40001, 0x18, nil, nil))))),
	} {
		d := New(pcap.LinkTypeEthernet, Options{Flows: NewFlows()})
		p, line := packetOf(b), []byte(nil)
		if n := testing.AllocsPerRun(100, func() { line = d.Decode(p).AppendLine(line[:0]) }); n > 0 {
			t.Errorf("%s: %v allocations for %s", name, n, line)
		}
	}
}

// TestPanicCostsAFrame: a mistake is survived and counted.
func TestPanicCostsAFrame(t *testing.T) {
	d := New(pcap.LinkTypeEthernet, Options{})
	d.guarded(func(s *sink, x data) { ethernet(s, x); panic("a mistake") }, data{corpus()[0].Data, 60})
	if d.Panics() != 1 || d.frame.Malformed == "" || !strings.Contains(string(d.Stack()), "TestPanicCostsAFrame") {
		t.Errorf("%d panics, %q, %s", d.Panics(), d.frame.Malformed, d.Stack())
	}
	p := corpus()[0].Packet
	if f := d.Decode(&p); f.Malformed != "" || f.Protocol != "arp" || d.Panics() != 1 {
		t.Errorf("%+v", f)
	}
}

// TestChecksums distinguishes the states of a checksum.
func TestChecksums(t *testing.T) {
	wrong := eth(0x0800, tcp4(1000, 2000, 0x10, nil, str("abc")))
	wrong[50]++
	partial := eth(0x0800, tcp4(1000, 2000, 0x10, nil, str("abc")))
	half := slowSum(pseudo4(6, 23))
	partial[50], partial[51] = ^half[0], ^half[1]
	for _, c := range []struct {
		b      []byte
		length int
		flags  pcap.Flags
		want   Checksum
	}{
		{eth(0x0800, tcp4(1000, 2000, 0x10, nil, str("abc"))), 57, 0, ChecksumRight},
		{eth(0x0800, tcp4(1000, 2000, 0x10, nil, str("abc"))), 57, pcap.FlagChecksumNotReady, ChecksumRight},
		{wrong, 57, 0, ChecksumWrong},
		{wrong, 57, pcap.FlagChecksumNotReady, ChecksumNotYet},
		{wrong[:56], 57, 0, ChecksumUnknown},
		{partial, 57, 0, ChecksumNotYet},
	} {
		f := New(pcap.LinkTypeEthernet, Options{}).Decode(&pcap.Packet{Data: c.b, Length: uint32(c.length), Flags: c.flags})
		if f.TCP == nil || f.TCP.Checksum != c.want {
			t.Errorf("%+v, not %s", f.TCP, c.want)
		}
		if layers := string(f.AppendLayers(nil)); !strings.Contains(layers, "("+string(c.want)+"), urgent") {
			t.Error(layers)
		}
	}
}

func TestNames(t *testing.T) {
	d := New(pcap.LinkTypeEthernet, Options{Names: true})
	for _, c := range []struct {
		b    []byte
		want string
	}{
		{tcp4(40000, 22, 2, nil, nil), "192.0.2.1:40000 > 198.51.100.2:ssh, tcp"},
		{udp4(123, 123, nil), "192.0.2.1:ntp > 198.51.100.2:ntp, udp"},
		{udp6(53, 22, nil), "[2001:db8::1]:domain > [2001:db8::2]:22, udp"},
	} {
		t4 := map[bool]int{true: 0x0800, false: 0x86dd}[c.b[0]>>4 == 4]
		b := eth(t4, c.b)
		if got := string(d.Decode(&pcap.Packet{Data: b, Length: uint32(len(b))}).AppendLine(nil)); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q, not %q", got, c.want)
		}
	}
}

// TestLayers: they are there where they were asked for.
func TestLayers(t *testing.T) {
	p := corpus()[0].Packet
	f := New(pcap.LinkTypeEthernet, Options{Layers: true}).Decode(&p)
	if len(f.Layers) != 2 || f.Layers[1].Name != "arp" || f.Layers[1].Fields[4] != (Field{"operation", "1 (request)"}) {
		t.Errorf("%+v", f.Layers)
	}
	if f := New(pcap.LinkTypeEthernet, Options{}).Decode(&p); f.Layers != nil {
		t.Errorf("%+v", f.Layers)
	}
}

func TestUnknownLink(t *testing.T) {
	f := New(9999, Options{}).Decode(&pcap.Packet{Data: str("abc"), Length: 10})
	if got := string(f.AppendLine(nil)); !strings.HasSuffix(got, " length 10") || !strings.Contains(got, "9999") {
		t.Errorf("%q", got)
	}
	if got := string(f.AppendLayers(nil)); got != "" {
		t.Errorf("%q", got)
	}
}

// TestJSON: an object says the same as the line, and has nothing that the frame
// before it had.
func TestJSON(t *testing.T) {
	d := New(pcap.LinkTypeEthernet, Options{})
	object := func(b []byte) string {
		text, err := json.Marshal(d.Decode(&pcap.Packet{Data: b, Length: uint32(len(b)), Flags: pcap.FlagInbound}))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	query := cat(dnsHeader(0x0100, 1, 0, 0, 0), dnsName("a", "b"), be16(1, 1))
	got := object(eth(0x8100, cat(be16(5, 0x0800), udp4(40000, 53, query))))
	want := `{"length":67,"captured":67,"direction":"in","protocol":"dns","path":["ethernet","vlan","ipv4","udp","dns"],` +
		`"info":"query 4711 rd, A? a.b, length 21","src_mac":"02:00:00:00:00:01","dst_mac":"02:00:00:00:00:02","ethertype":2048,"vlans":[5],` +
		`"src":"192.0.2.1","dst":"198.51.100.2","src_port":40000,"dst_port":53,` +
		`"ip":{"version":4,"protocol":17,"ttl":64,"length":49,"id":4660,"df":true,"checksum":"right"},"udp":{"length":29,"checksum":"right"},` +
		`"dns":{"id":4711,"response":false,"questions":[{"name":"a.b","type":"A"}],"counts":[1,0,0,0],"flags":["rd"]}}`
	if got != want {
		t.Errorf("\n%s\n%s", got, want)
	}
	got = object(ethTo(broadcast, 0x9999, nil))
	want = `{"length":14,"captured":14,"direction":"in","protocol":"ethertype-0x9999","path":["ethernet","ethertype-0x9999"],"info":"length 0",` +
		`"src_mac":"02:00:00:00:00:01","dst_mac":"ff:ff:ff:ff:ff:ff","ethertype":39321}`
	if got != want {
		t.Errorf("\n%s\n%s", got, want)
	}
}

func TestHex(t *testing.T) {
	got := string(AppendHex(nil, str("0123456789abcdef\x00\x1b[2J")))
	want := "\t0x0000:  3031 3233 3435 3637 3839 6162 6364 6566  0123456789abcdef\n" +
		"\t0x0010:  001b 5b32 4a                             ..[2J\n"
	if got != want {
		t.Errorf("%s%s", got, want)
	}
	if got := string(AppendHex(nil, zeros(1<<16+1))); !strings.HasSuffix(got, "\t0x010000:  00                                       .\n") {
		t.Errorf("%q", got[len(got)-80:])
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":              "plain",
		"\x1b[31m\x07\r\n":   `\x1b[31m\x07\x0d\x0a`,
		"\x9b31m":            `\x9b31m`,
		"\u009b31m":          `\u009b31m`,
		"caf\u00e9 \u4e2d":   "caf\u00e9 \u4e2d",
		"\u202eabc\u200b":    `\u202eabc\u200b`,
		`a\x1b`:              `a\\x1b`,
		"e\u0301\U000e0041":  `e\u0301\U000e0041`,
		"\xff\xfe\xed\xa0":   `\xff\xfe\xed\xa0`,
		"\u00a0\u2028\ufeff": `\u00a0\u2028\ufeff`,
	} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("%q: %s, not %s", in, got, want)
		}
	}
	if got := printable([]byte(strings.Repeat("x", 1000))); len(got) != maxText+3 {
		t.Errorf("%d bytes", len(got))
	}
}

func BenchmarkDecode(b *testing.B) {
	kinds := map[string]bool{"tcp data": true, "dns answer": true, "tls client hello": true, "vxlan": true, "quic initial": true}
	for _, s := range corpus() {
		if !kinds[s.name] {
			continue
		}
		b.Run(strings.ReplaceAll(s.name, " ", "-"), func(b *testing.B) {
			d := New(s.link, Options{})
			var line []byte
			b.ReportAllocs()
			for b.Loop() {
				line = d.Decode(&s.Packet).AppendLine(line[:0])
			}
		})
	}
}
