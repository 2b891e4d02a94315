package pcap

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

func mixedHeader() Header {
	h := fullHeader(PCAPNG)
	h.Interface, h.Description, h.MAC, h.Speed, h.LinkType = "any", "", nil, 0, LinkTypeMixed
	return h
}

// mixedPackets returns packets of three interfaces, of which the last two have the same index and name.
func mixedPackets(seed uint64) []Packet {
	from := []*Interface{
		{Name: "eth0", LinkType: LinkTypeEthernet, MAC: []byte{2, 0, 0, 0, 0, 1}, Comment: "interface index 2"},
		{Name: "tun0", LinkType: LinkTypeRaw, Comment: "interface index 3"},
		{Name: "tun0", LinkType: LinkTypeRaw, Comment: "interface index 3"},
	}
	r := rand.New(rand.NewPCG(seed, 9))
	pkts := randomPackets(r, 100, 300)
	for i := range pkts {
		pkts[i].From = from[min(r.IntN(3), i/20)]
	}
	return pkts
}

// encodeMixed encodes in portions of at most so many packets and bytes, as a writer does that fills chunks.
func encodeMixed(t *testing.T, e *Encoder, pkts []Packet, portion, room int) []byte {
	t.Helper()
	var d Described
	all := e.Header()
	for len(pkts) > 0 {
		buf := make([]byte, room)
		n, count := e.EncodeMixed(buf, pkts[:min(portion, len(pkts))], &d)
		if count == 0 {
			buf = make([]byte, e.MaxRecord())
			if n, count = e.EncodeMixed(buf, pkts[:1], &d); count == 0 {
				t.Fatal("a packet does not fit into MaxRecord")
			}
		}
		all, pkts = append(all, buf[:n]...), pkts[count:]
	}
	return e.TrailerMixed(all, testStatistics(), &d)
}

// TestMixed: a file describes each interface before its first packet, whatever room there is, and once.
func TestMixed(t *testing.T) {
	e := NewEncoder(mixedHeader())
	pkts := mixedPackets(1)
	want := encodeMixed(t, e, pkts, len(pkts), 1<<20)
	for room := range 700 {
		if got := encodeMixed(t, e, pkts, 1+room%7, room); !bytes.Equal(got, want) {
			t.Fatalf("with a room of %d bytes the file is another", room)
		}
	}
	r, err := NewReader(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[*Interface]int{}
	for i, p := range pkts {
		got, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		in := r.Interface()
		if in.Name != p.From.Name || in.LinkType != p.From.LinkType || !bytes.Equal(in.MAC, p.From.MAC) || in.Filter != "tcp port 80" || in.Snaplen != 300 {
			t.Errorf("packet %d is from %+v, want %+v", i, in, p.From)
		}
		if !bytes.Equal(got.Data, p.Data[:min(300, len(p.Data))]) || got.Flags != p.Flags || !got.Time().Equal(p.Time()) {
			t.Errorf("packet %d is %+v, want %+v", i, got, p)
		}
		if id, ok := ids[p.From]; ok && id != r.InterfaceID() {
			t.Errorf("packet %d is of interface %d, before it was %d", i, r.InterfaceID(), id)
		}
		ids[p.From] = r.InterfaceID()
	}
	if _, err := r.Next(); err != io.EOF || len(ids) != 3 || ids[pkts[0].From] != 0 {
		t.Errorf("%v, %d interfaces", err, len(ids))
	}
	if bytes.Count(want, []byte("interface index 3")) != 2 {
		t.Error("interfaces are not described once each")
	}
	if s, err := Scan(bytes.NewReader(want), int64(len(want))); err != nil || s.Packets != uint64(len(pkts)) || CommonLinkType(s.Interfaces) != LinkTypeMixed {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestMixedAnew: who goes on with a file of which nothing is known describes the interfaces in a section of their own.
func TestMixedAnew(t *testing.T) {
	e := NewEncoder(mixedHeader())
	pkts := mixedPackets(5)
	buf := make([]byte, 1<<20)
	var d Described
	n, _ := e.EncodeMixed(buf, pkts[:50], &d)
	d.Anew()
	k, _ := e.EncodeMixed(buf[n:], pkts[50:], &d)
	r, err := NewReader(bytes.NewReader(e.TrailerMixed(append(e.Header(), buf[:n+k]...), testStatistics(), &d)))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pkts {
		if _, err := r.Next(); err != nil || r.Interface().Name != p.From.Name || r.Interface().LinkType != p.From.LinkType {
			t.Fatalf("packet %d is from %+v, %v; want %+v", i, r.Interface(), err, p.From)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}

// TestMixedInPcapgo: another reader finds the same.
func TestMixedInPcapgo(t *testing.T) {
	pkts := mixedPackets(2)
	b := encodeMixed(t, NewEncoder(mixedHeader()), pkts, 10, 4000)
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pkts {
		_, info, err := r.ReadPacketData()
		if err != nil {
			t.Fatal(err)
		}
		in, err := r.Interface(info.InterfaceIndex)
		if err != nil || in.Name != p.From.Name || in.Comment != p.From.Comment || in.LinkType != layers.LinkType(p.From.LinkType) {
			t.Errorf("packet %d is from %+v, %v; want %+v", i, in, err, p.From)
		}
	}
}

// TestMixedInTshark: so does tshark, and a file without packets is one for it.
func TestMixedInTshark(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark: ", err)
	}
	e := NewEncoder(mixedHeader())
	pkts := mixedPackets(3)
	var names strings.Builder
	for _, p := range pkts {
		names.WriteString(p.From.Name + "\n")
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"whole": {encodeMixed(t, e, pkts, 10, 4000), names.String()},
		"empty": {e.TrailerMixed(e.Header(), testStatistics(), &Described{}), ""},
	} {
		path := filepath.Join(t.TempDir(), name+".pcapng")
		if err := os.WriteFile(path, c.b, 0o600); err != nil {
			t.Fatal(err)
		}
		openWith(t, []string{"tshark", "-n", "-r"}, path)
		openWith(t, []string{"capinfos", "-M"}, path)
		if name == "empty" {
			openWith(t, []string{"tcpdump", "-n", "-r"}, path)
		}
		if out, err := exec.Command("tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.interface_name").Output(); err != nil || string(out) != c.want {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
}

// TestMixedBounds: no record is larger than MaxRecord, and no trailer than TrailerSize.
func TestMixedBounds(t *testing.T) {
	h := mixedHeader()
	h.Filter = strings.Repeat("x", 3001)
	e := NewEncoder(h)
	long := &Interface{Name: strings.Repeat("n", 999), Comment: strings.Repeat("c", 999), MAC: make([]byte, 6), Speed: 1, LinkType: LinkTypeRaw}
	p := Packet{Data: make([]byte, 300), Length: 300, Flags: FlagInbound, From: long}
	var d Described
	if n, count := e.EncodeMixed(make([]byte, e.MaxRecord()), []Packet{p}, &d); count != 1 || n < e.MaxRecord()-len(e.Header())-16 {
		t.Errorf("%d packets in %d bytes of %d", count, n, e.MaxRecord())
	}
	s := testStatistics()
	s.Comment = strings.Repeat("x", MaxComment)
	if n := len(e.TrailerMixed(nil, s, &Described{})); n > e.TrailerSize() {
		t.Errorf("a trailer of %d bytes, TrailerSize %d", n, e.TrailerSize())
	}
}

func TestMixedDoesNotAllocate(t *testing.T) {
	pkts := mixedPackets(4)
	e := NewEncoder(mixedHeader())
	dst := make([]byte, len(pkts)*e.MaxRecord())
	var d Described
	e.EncodeMixed(dst, pkts, &d)
	if n := testing.AllocsPerRun(100, func() { e.EncodeMixed(dst, pkts, &d) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestMicro: files of microseconds are those of pcapgo.
func TestMicro(t *testing.T) {
	pkts := randomPackets(rand.New(rand.NewPCG(1, 1)), 200, 300)
	h := fullHeader(PCAP)
	h.Micro = true
	got := file(t, NewEncoder(h), pkts)
	var want bytes.Buffer
	w := pcapgo.NewWriter(&want)
	if err := w.WriteFileHeader(300, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, p := range asRecorded(pkts, PCAP, 300) {
		if err := w.WritePacket(info(p), p.Data); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("file differs from pcapgo's")
	}
	r, err := NewReader(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pkts {
		if one, err := r.Next(); err != nil || one.Sec != p.Sec || one.Nsec != p.Nsec/1000*1000 {
			t.Fatalf("packet %d: %+v, %v; want %+v", i, one, err, p)
		}
	}
}

// BenchmarkEncodeMixed measures one packet where each is of another interface than the one before.
func BenchmarkEncodeMixed(b *testing.B) {
	from := []*Interface{{Name: "eth0", LinkType: LinkTypeEthernet}, {Name: "eth1", LinkType: LinkTypeEthernet}}
	for _, interfaces := range []int{1, 2} {
		pkts := make([]Packet, 256)
		for i := range pkts {
			pkts[i] = Packet{Data: make([]byte, 64), Length: 64, Sec: 1_700_000_000, Nsec: uint32(i), From: from[i%interfaces]}
		}
		b.Run(fmt.Sprintf("%d", interfaces), func(b *testing.B) {
			e := NewEncoder(Header{Format: PCAPNG, LinkType: LinkTypeMixed})
			dst := make([]byte, len(pkts)*(64+64))
			var d Described
			for i := 0; i < b.N; i += len(pkts) {
				e.EncodeMixed(dst, pkts, &d)
			}
		})
	}
}
