package alert

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"capd/internal/extract"
	"capd/internal/index"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// nobody records into the directories of these tests.
type nobody struct{}

func (nobody) Flush(context.Context, string) (extract.Flushed, error) { return extract.Flushed{}, nil }
func (nobody) Ask(_ context.Context, dir string, q ledger.Question) (*ledger.Answer, error) {
	return ledger.Ask(dir, q, ledger.ReadOptions{Keep: func(*ledger.Entry) bool { return false }})
}

// noon is when the recordings of these tests begin.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// A sent frame is one of a conversation; its last bytes are its number.
type sent struct {
	at   time.Time
	of   []string // conversations that it belongs to or carries
	data []byte
}

// A recording is files of an interface, a minute each.
type recording struct {
	t      testing.TB
	dir    string
	frames []sent
}

func newRecording(t testing.TB) *recording { return &recording{t: t, dir: t.TempDir()} }

func (r *recording) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// send adds a frame of conversations.
func (r *recording) send(after time.Duration, data []byte, of ...string) {
	number := binary.BigEndian.AppendUint32(nil, uint32(len(r.frames)))
	r.frames = append(r.frames, sent{noon.Add(after), of, append(slices.Clone(data), number...)})
}

// write makes files of so many minutes, and their ledger.
func (r *recording) write(minutes int, tables bool) {
	r.t.Helper()
	slices.SortStableFunc(r.frames, func(a, b sent) int { return a.at.Compare(b.at) })
	lines := []ledger.Entry{ledger.Start(ledger.Run{Software: "test"})}
	lines[0].Time = noon
	var built []index.Built
	for n := range minutes {
		begin := noon.Add(time.Duration(n) * time.Minute)
		name := store.Name{Interface: "eth0", Format: pcap.PCAPNG, Start: begin, Sequence: uint64(n + 1)}
		l := ledger.File{Name: name, Link: "ETHERNET", Begin: begin, End: begin.Add(time.Minute), Reason: ledger.ReasonInterval, Clean: true}
		enc := pcap.NewEncoder(pcap.Header{Format: name.Format, LinkType: pcap.LinkTypeEthernet, Interface: "eth0", Application: "test"})
		b, record := enc.Header(), make([]byte, enc.MaxRecord())
		for i := range r.frames {
			f := &r.frames[i]
			if f.at.Before(l.Begin) || !f.at.Before(l.End) {
				continue
			}
			n, _ := enc.Encode(record, []pcap.Packet{{Data: f.data, Length: uint32(len(f.data)), Sec: uint32(f.at.Unix()), Nsec: uint32(f.at.Nanosecond())}})
			b = append(b, record[:n]...)
			l.Packets, l.Bytes, l.Last = l.Packets+1, l.Bytes+uint64(len(f.data)), f.at
			if l.First.IsZero() {
				l.First = f.at
			}
		}
		b = enc.Trailer(b, pcap.Statistics{})
		l.Received, l.Size = l.Packets, uint64(len(b))
		lines = append(lines, l.Entry())
		path := filepath.Join(r.dir, name.String())
		r.must(os.WriteFile(path, b, 0o600))
		if tables {
			one, err := index.Build(r.t.Context(), path, false, nil)
			r.must(err)
			built = append(built, one)
		}
	}
	if tables {
		r.must(index.Catalogue(r.dir, built))
	}
	var b []byte
	for _, e := range lines {
		b = e.AppendLine(b, noon.Add(time.Duration(minutes)*time.Minute))
	}
	r.must(os.WriteFile(filepath.Join(r.dir, ledger.FileName), b, 0o600))
}

// came returns the frames of a conversation in a time.
func (r *recording) came(of string, since, until time.Time) (all [][]byte) {
	for i := range r.frames {
		if f := &r.frames[i]; slices.Contains(f.of, of) && !f.at.Before(since) && f.at.Before(until) {
			all = append(all, f.data)
		}
	}
	return all
}

// asker asks for packets of the recording.
func (r *recording) asker(done *[]*Done) *Asker {
	return &Asker{
		Question:  extract.Question{Directories: []string{r.dir}, Software: "test"},
		Recorders: func(time.Time) extract.Recorders { return nobody{} },
		Window:    Window{DefaultBefore, DefaultBack, DefaultAfter},
		Asked:     func(all []*Done, _ *extract.Answer) { *done = append(*done, all...) },
	}
}

// answer answers lines, with a file each.
func (r *recording) answer(lines string, change func(*Asker)) (done []*Done) {
	r.t.Helper()
	q := r.asker(&done)
	q.Directory = r.t.TempDir()
	if change != nil {
		change(q)
	}
	r.must(q.Answer(r.t.Context(), Groups(r.parse(lines), q.Window)))
	return done
}

func (r *recording) parse(lines string) (all []*Alert) {
	r.t.Helper()
	r.must(Read(bytes.NewReader([]byte(lines)), "eve.json", func(a *Alert, err error) error {
		all = append(all, a)
		return err
	}))
	return all
}

// packets reads a file.
func (r *recording) packets(path string) (all [][]byte) {
	r.t.Helper()
	h, err := os.Open(path)
	r.must(err)
	defer h.Close()
	src, err := pcap.NewReader(h)
	r.must(err)
	for {
		p, err := src.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		r.must(err)
		all = append(all, slices.Clone(p.Data))
	}
}

// Frames.

func addr(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

func ports(src, dst uint16, more ...byte) []byte {
	return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), dst), more...)
}

func udp(src, dst uint16, payload ...byte) []byte {
	return slices.Concat(ports(src, dst, 0, byte(8+len(payload)), 0, 0), payload)
}

func tcp(src, dst uint16, flags byte) []byte {
	return ports(src, dst, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0)
}

func ip4(src, dst string, proto byte, body []byte) []byte {
	return slices.Concat([]byte{0x45, 0, 0, byte(20 + len(body)), 0, 1, 0, 0, 64, proto, 0, 0}, addr(src), addr(dst), body)
}

func ip6(src, dst string, proto byte, body []byte) []byte {
	return slices.Concat([]byte{0x60, 0, 0, 0, 0, byte(len(body)), proto, 64}, addr(src), addr(dst), body)
}

func ethernet(packet []byte, vlans ...uint16) []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for _, v := range vlans {
		b = binary.BigEndian.AppendUint16(append(b, 0x81, 0), v)
	}
	if packet[0]>>4 == 6 {
		b = append(b, 0x86, 0xdd)
	} else {
		b = append(b, 8, 0)
	}
	return append(b, packet...)
}

func vxlan(frame []byte) []byte {
	return udp(5555, 4789, append([]byte{8, 0, 0, 0, 0, 0, 7, 0}, frame...)...)
}

// eveLine is an alert of EVE about a flow.
func eveLine(at, start time.Time, id int, ends string) string {
	const layout = "2006-01-02T15:04:05.000000-0700"
	flow := ""
	if !start.IsZero() {
		flow = fmt.Sprintf(`,"flow":{"start":%q}`, start.Format(layout))
	}
	return fmt.Sprintf(`{"timestamp":%q,"event_type":"alert",%s,"alert":{"signature_id":%d,"signature":"test"}%s}`+"\n", at.Format(layout), ends, id, flow)
}

func endsOf(src string, srcPort int, dst string, dstPort int, proto string) string {
	return fmt.Sprintf(`"src_ip":%q,"src_port":%d,"dest_ip":%q,"dest_port":%d,"proto":%q`, src, srcPort, dst, dstPort, proto)
}
