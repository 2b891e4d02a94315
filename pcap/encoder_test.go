package pcap

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

var formats = []Format{PCAP, PCAPNG}

// randomPackets returns n packets as a capture with the snaplen would see
// them, some of them longer than it.
func randomPackets(rng *rand.Rand, n, snaplen int) []Packet {
	pkts := make([]Packet, n)
	sec := uint32(1_700_000_000)
	for i := range pkts {
		data := make([]byte, 1+rng.IntN(snaplen+snaplen/4))
		for j := range data {
			data[j] = byte(rng.Uint32())
		}
		sec += rng.Uint32N(3)
		pkts[i] = Packet{Data: data, Length: uint32(len(data)), Sec: sec, Nsec: rng.Uint32N(1e9)}
		if rng.IntN(4) == 0 {
			pkts[i].Length += rng.Uint32N(1000)
		}
		if rng.IntN(2) == 0 {
			pkts[i].Flags = FlagInbound | FlagBroadcast
		}
	}
	return pkts
}

// asRecorded returns the packets as a file of the encoder keeps them.
func asRecorded(pkts []Packet, f Format, snaplen int) []Packet {
	out := make([]Packet, len(pkts))
	for i, p := range pkts {
		p.Data = p.Data[:min(len(p.Data), snaplen)]
		if f == PCAP {
			p.Flags = 0
		}
		out[i] = p
	}
	return out
}

// file returns a whole file of the packets.
func file(t testing.TB, e *Encoder, pkts []Packet) []byte {
	t.Helper()
	buf := make([]byte, len(pkts)*e.MaxRecord())
	for i := range buf {
		buf[i] = 0xa5 // what Encode leaves out must show
	}
	n, packets := e.Encode(buf, pkts)
	if packets != len(pkts) {
		t.Fatalf("Encode wrote %d of %d packets", packets, len(pkts))
	}
	return append(e.Header(), buf[:n]...)
}

func fullHeader(f Format) Header {
	return Header{
		Format: f, LinkType: LinkTypeEthernet, Snaplen: 300,
		Interface: "eth0", Description: "uplink, über", Filter: "tcp port 80",
		MAC: []byte{2, 0, 0, 0, 0, 1}, Speed: 10_000_000_000,
		Hardware: "amd64", OS: "Linux 6.1", Application: "capd 1.0",
	}
}

func info(p Packet) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: p.Time(), CaptureLength: len(p.Data), Length: int(p.Length)}
}

func TestPCAPMatchesPcapgo(t *testing.T) {
	pkts := randomPackets(rand.New(rand.NewPCG(1, 1)), 200, 300)
	got := file(t, NewEncoder(fullHeader(PCAP)), pkts)

	var want bytes.Buffer
	w := pcapgo.NewWriterNanos(&want)
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
}

func TestPCAPNGMatchesPcapgo(t *testing.T) {
	h := fullHeader(PCAPNG)
	h.MAC, h.Speed = nil, 0 // which pcapgo cannot write
	pkts := randomPackets(rand.New(rand.NewPCG(1, 2)), 200, 300)
	for i := range pkts {
		pkts[i].Flags = 0 // nor these
	}
	got := file(t, NewEncoder(h), pkts)

	var want bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&want, pcapgo.NgInterface{
		Name: h.Interface, Description: h.Description, Filter: h.Filter,
		LinkType: layers.LinkTypeEthernet, SnapLength: 300,
	}, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
		Hardware: h.Hardware, OS: h.OS, Application: h.Application,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range asRecorded(pkts, PCAPNG, 300) {
		if err := w.WritePacket(info(p), p.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("file differs from pcapgo's")
	}
}

func TestPCAPNGReadsBackInPcapgo(t *testing.T) {
	e := NewEncoder(fullHeader(PCAPNG))
	pkts := randomPackets(rand.New(rand.NewPCG(1, 3)), 100, 300)
	stats := testStatistics()
	r, err := pcapgo.NewNgReader(bytes.NewReader(e.Trailer(file(t, e, pkts), stats)), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range asRecorded(pkts, PCAPNG, 300) {
		data, ci, err := r.ReadPacketData()
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		if !bytes.Equal(data, want.Data) || ci.Length != int(want.Length) || !ci.Timestamp.Equal(want.Time()) {
			t.Errorf("packet %d: got %+v %x", i, ci, data)
		}
	}
	if _, _, err := r.ReadPacketData(); err != io.EOF {
		t.Errorf("after the last packet: %v", err)
	}
	iface, err := r.Interface(0)
	if err != nil {
		t.Fatal(err)
	}
	if iface.Name != "eth0" || iface.Filter != "tcp port 80" || iface.SnapLength != 300 {
		t.Errorf("interface %+v", iface)
	}
	got := iface.Statistics
	if !got.StartTime.Equal(stats.Start) || !got.EndTime.Equal(stats.End) || !got.LastUpdate.Equal(stats.End) ||
		got.PacketsReceived != stats.Received || got.PacketsDropped != stats.NICDropped {
		t.Errorf("statistics %+v", got)
	}
}

func testStatistics() Statistics {
	start := time.Unix(1_700_000_000, 123_456_789)
	return Statistics{
		Start: start, End: start.Add(time.Hour), Received: 1 << 40, NICDropped: 2,
		KernelDropped: 3, Accepted: 4, Delivered: 5, Comment: "closed by rotation",
	}
}

func TestTrailerSize(t *testing.T) {
	s := testStatistics()
	s.Comment = strings.Repeat("ü", MaxComment)
	for _, f := range formats {
		e := NewEncoder(Header{Format: f})
		if got := len(e.Trailer(nil, s)); got != e.TrailerSize() {
			t.Errorf("%v: a full trailer is %d bytes, TrailerSize %d", f, got, e.TrailerSize())
		}
	}
}

// Encode stops before a packet that does not fit, whatever the room.
func TestEncodeWritesWholeRecordsOnly(t *testing.T) {
	pkts := randomPackets(rand.New(rand.NewPCG(1, 4)), 3, 40)
	for _, f := range formats {
		e := NewEncoder(Header{Format: f, Snaplen: 40})
		whole := make([]byte, 3*e.MaxRecord())
		total, _ := e.Encode(whole, pkts)
		ends := make([]int, 0, len(pkts)+1)
		for i := range len(pkts) + 1 {
			n, _ := e.Encode(whole, pkts[:i])
			ends = append(ends, n)
		}
		for room := range total + 1 {
			dst := bytes.Repeat([]byte{0xa5}, room)
			n, packets := e.Encode(dst, pkts)
			if n != ends[packets] || packets < len(pkts) && ends[packets+1] <= room {
				t.Fatalf("%v: %d bytes of room: wrote %d bytes, %d packets", f, room, n, packets)
			}
			if !bytes.Equal(dst[:n], whole[:n]) || bytes.Count(dst[n:], []byte{0xa5}) != room-n {
				t.Fatalf("%v: %d bytes of room: wrong bytes", f, room)
			}
		}
	}
}

func TestEncodeFillsMaxRecord(t *testing.T) {
	for _, f := range formats {
		e := NewEncoder(Header{Format: f, Snaplen: 61})
		p := Packet{Data: make([]byte, 100), Length: 100, Flags: FlagInbound}
		if n, _ := e.Encode(make([]byte, 1000), []Packet{p}); n != e.MaxRecord() {
			t.Errorf("%v: record of %d bytes, MaxRecord %d", f, n, e.MaxRecord())
		}
	}
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	pkts := randomPackets(rand.New(rand.NewPCG(1, 5)), 64, 300)
	for _, f := range formats {
		e := NewEncoder(Header{Format: f, Snaplen: 300})
		dst := make([]byte, len(pkts)*e.MaxRecord())
		if n := testing.AllocsPerRun(100, func() { e.Encode(dst, pkts) }); n != 0 {
			t.Errorf("%v: %v allocations", f, n)
		}
	}
}

func TestHeaderIsCut(t *testing.T) {
	h := fullHeader(PCAPNG)
	h.Filter = strings.Repeat("x", 70_000)
	h.Description = "bad \xff text"
	h.Snaplen = 1 << 30
	b := file(t, NewEncoder(h), make([]Packet, 1))
	if !bytes.Contains(b, []byte("\x0b\x00\xff\xff\x00xxx")) {
		t.Error("no filter of 65535 bytes")
	}
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if i := r.Interface(); i.Description != "bad \ufffd text" || i.Snaplen != MaxSnaplen || !strings.HasPrefix(i.Filter, "xxx") {
		t.Errorf("description %q, snaplen %d, filter %.9q", i.Description, i.Snaplen, i.Filter)
	}
}

func TestFormatText(t *testing.T) {
	for _, f := range formats {
		text, err := f.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		got := Format(9)
		if err := got.UnmarshalText(text); err != nil || got != f || f.Ext() != "."+string(text) {
			t.Errorf("%v: text %q, back %v, %v", f, text, got, err)
		}
	}
	if _, err := ParseFormat("PCAP"); err == nil {
		t.Error("ParseFormat takes PCAP")
	}
	if _, err := Format(9).MarshalText(); err == nil {
		t.Error("MarshalText takes 9")
	}
}

// Every tool people use opens the files without a word on stderr.
func TestToolsOpenFiles(t *testing.T) {
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, make([]byte, 101)...)
	var pkts []Packet
	for i := range 20 {
		pkts = append(pkts, Packet{
			Data: frame[:14+i*5], Length: uint32(115 + i), Sec: 1_700_000_000, Nsec: uint32(i), Flags: Flags(i % 3),
		})
	}
	tools := [][]string{
		{"tshark", "-n", "-r"}, {"capinfos", "-M"}, {"tcpdump", "-n", "-K", "-r"},
	}
	for _, f := range formats {
		e := NewEncoder(fullHeader(f))
		whole := e.Trailer(file(t, e, pkts), testStatistics())
		empty := e.Trailer(e.Header(), Statistics{})
		files := map[string][]byte{"whole": whole, "empty": empty}
		if f == PCAPNG {
			files["in place"] = e.Trailer(inPlace(t, e, pkts), testStatistics())
		}
		for name, b := range files {
			path := filepath.Join(t.TempDir(), name+f.Ext())
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, tool := range tools {
				t.Run(name+f.Ext()+"/"+tool[0], func(t *testing.T) { openWith(t, tool, path) })
			}
		}
	}
}

func openWith(t *testing.T, tool []string, path string) {
	if _, err := exec.LookPath(tool[0]); err != nil {
		t.Skip("needs " + tool[0])
	}
	var stderr bytes.Buffer
	cmd := exec.Command(tool[0], append(slices.Clone(tool[1:]), path)...)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: %v", cmd.Args, err)
	}
	for line := range strings.Lines(stderr.String()) {
		// What tcpdump and tshark say of every file.
		if !strings.HasPrefix(line, "reading from file ") && !strings.HasPrefix(line, "Running as user ") {
			t.Errorf("%v: %s", cmd.Args, line)
		}
	}
}
