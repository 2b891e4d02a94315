package extract

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"capd/internal/index"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// A maker makes frames and expressions of few addresses and ports, so that they often meet.
type maker struct {
	*rand.Rand
	recorded [][]byte // frames of real traffic; none: all are made
	hosts    []string // addresses in them
}

func (m maker) of(words ...string) string { return words[m.IntN(len(words))] }

func (m maker) port() int { return []int{53, 80, 443, 1000, 2000}[m.IntN(5)] }

func (m maker) addr4() []byte { return []byte{10, 0, byte(m.IntN(2)), byte(1 + m.IntN(4))} }

func (m maker) addr6() []byte {
	return append([]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, byte(1+m.IntN(3)))
}

// transport returns a payload of a protocol of IP.
func (m maker) transport(depth int) (proto byte, b []byte) {
	be := binary.BigEndian
	ports := be.AppendUint16(be.AppendUint16(nil, uint16(m.port())), uint16(m.port()))
	switch m.IntN(12) {
	case 0:
		return 1, []byte{[]byte{0, 8, 3}[m.IntN(3)], byte(m.IntN(2)), 0, 0, 0, 1, 0, 1}
	case 1:
		return 58, []byte{[]byte{128, 129, 135, 136}[m.IntN(4)], 0, 0, 0, 0, 0, 0, 0}
	case 2:
		return 132, append(ports, 0, 0, 0, 0, 0, 0, 0, 0)
	case 3, 4:
		if depth > 0 {
			break
		}
		switch m.IntN(3) {
		case 0:
			return 47, append([]byte{0, 0, 8, 0}, m.ip4(depth+1)...)
		case 1:
			return 4, m.ip4(depth + 1)
		}
		return 17, slices.Concat(be.AppendUint16(nil, 5000), be.AppendUint16(nil, 4789), []byte{0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0}, m.ethernet(depth+1))
	case 5, 6:
		return 17, append(ports, 0, 8, 0, 0)
	case 7:
		return []byte{2, 50, 51, 103, 89}[m.IntN(5)], []byte{17, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	}
	return 6, append(ports, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, []byte{2, 0x12, 0x10, 0x18, 0x11, 4}[m.IntN(6)], 1, 0, 0, 0, 0, 0)
}

func (m maker) ip4(depth int) []byte {
	proto, body := m.transport(depth)
	fragment := []byte{0, 0}
	if m.IntN(8) == 0 {
		fragment = []byte{byte(m.IntN(2) * 0x20), byte(m.IntN(2) * 5)}
	}
	options := []byte(nil)
	if m.IntN(10) == 0 {
		options = []byte{1, 1, 1, 0}
	}
	head := []byte{0x45 + byte(len(options)/4), 0, 0, 60, 0, 1, fragment[0], fragment[1], 64, proto, 0, 0}
	return slices.Concat(head, m.addr4(), m.addr4(), options, body)
}

func (m maker) ip6(depth int) []byte {
	proto, body := m.transport(depth)
	for m.IntN(4) == 0 {
		kind := []byte{0, 43, 44, 60, 51}[m.IntN(5)]
		body = append([]byte{proto, 0, 0, byte(m.IntN(2) * 8), 0, 0, 0, 1}, body...)
		proto = kind
	}
	return slices.Concat([]byte{0x60, 0, 0, 0, 0, 60, proto, 64}, m.addr6(), m.addr6(), body)
}

// network returns an Ethernet type and what is behind it.
func (m maker) network(depth int) (uint16, []byte) {
	switch m.IntN(12) {
	case 0, 1, 2:
		return 0x86dd, m.ip6(depth)
	case 3:
		return []uint16{0x0806, 0x8035}[m.IntN(2)], slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1}, m.addr4(), []byte{2, 0, 0, 0, 0, 2}, m.addr4())
	case 4:
		return 0x8847, append([]byte{0, 0x40, 0x01, 64}, m.ip4(depth)...)
	case 5:
		return 0x8864, append([]byte{0x11, 0, 0, 0x27, 0, 40, 0, 0x21}, m.ip4(depth)...)
	case 6:
		return []uint16{0x88cc, 40, 0x88b5, 0x8137}[m.IntN(4)], []byte{0x42, 0x42, 3, 0, 0, 0, 0, 0}
	}
	return 0x0800, m.ip4(depth)
}

func (m maker) ethernet(depth int) []byte {
	kind, b := m.network(depth)
	b = append(binary.BigEndian.AppendUint16(nil, kind), b...)
	for m.IntN(4) == 0 {
		tag := []byte{[]byte{0x81, 0x88}[m.IntN(2)], 0, 0, []byte{5, 100}[m.IntN(2)]}
		tag[1] = map[byte]byte{0x81: 0, 0x88: 0xa8}[tag[0]]
		b = append(tag, b...)
	}
	return slices.Concat([]byte{2, 0, 0, 0, 0, byte(m.IntN(3)), 2, 0, 0, 0, 0, byte(m.IntN(3))}, b)
}

// expr returns an expression.
func (m maker) expr(depth int) string {
	if depth == 0 || m.IntN(4) == 0 {
		return m.primitive()
	}
	switch m.IntN(5) {
	case 0:
		return "not (" + m.expr(depth-1) + ")"
	case 1:
		return "(" + m.expr(depth-1) + ") or (" + m.expr(depth-1) + ")"
	case 2:
		return m.expr(depth-1) + " or " + m.expr(depth-1)
	}
	return m.expr(depth-1) + " and " + m.expr(depth-1)
}

func (m maker) host() string {
	if len(m.hosts) > 0 && m.IntN(2) == 0 {
		return m.of(m.hosts...)
	}
	if m.IntN(3) == 0 {
		return fmt.Sprintf("2001:db8::%d", 1+m.IntN(4))
	}
	return fmt.Sprintf("10.0.%d.%d", m.IntN(2), 1+m.IntN(5))
}

func (m maker) primitive() string {
	direction := m.of("", "", "src ", "dst ", "src and dst ")
	switch m.IntN(14) {
	case 0, 1, 2, 3:
		return direction + "host " + m.host()
	case 4, 5, 6:
		return m.of("", "tcp ", "udp ") + direction + "port " + strconv.Itoa(m.port())
	case 7:
		return m.of("ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "sctp", "rarp", "esp", "ipx", "stp")
	case 8:
		return m.of("vlan", "vlan 5", "vlan 100", "vlan 5 and vlan", "mpls", "pppoes", "geneve", "not vlan")
	case 9:
		return direction + "net " + m.of("10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/31", "2001:db8::/127", "2001:db8::/32")
	case 10:
		return m.of("ip proto 47", "ip proto 4", "ip6 proto 44", "proto 51", "ether proto 0x88cc", "ether host 02:00:00:00:00:01", "ether src 02:00:00:00:00:02")
	case 11:
		return m.of("tcp[tcpflags] & tcp-syn != 0", "ip[6:2] & 0x1fff != 0", "icmp[icmptype] = icmp-echo", "udp[8:4] = 0x08000000", "tcp[20:4] = 0", "ip[16] = 10", "ether[12:2] = 0x8100")
	case 12:
		return m.of("less 200", "greater 1000", "broadcast", "multicast", "len > 1300")
	}
	return fmt.Sprintf("portrange %d-%d", 50+m.IntN(50), 80+m.IntN(1000))
}

// A hoard is a directory of large files with all kinds of frames.
type hoard struct {
	testing.TB
	maker
	dir    string
	names  []string
	images map[string][]byte // of the capture files as they are on the disk
	tables map[string][]byte // and of what is made of them
	times  map[string]time.Time
}

func openHoard(t testing.TB, seed uint64) *hoard {
	return &hoard{
		TB: t, maker: maker{Rand: rand.New(rand.NewPCG(seed, 19))}, dir: t.TempDir(),
		images: make(map[string][]byte), tables: make(map[string][]byte), times: make(map[string]time.Time),
	}
}

// newHoard makes a directory. A file has several regions.
func newHoard(t testing.TB, seed uint64) *hoard {
	h := openHoard(t, seed)
	lines := []ledger.Entry{ledger.Start(ledger.Run{Software: "test"})}
	lines[0].Time = time.Unix(noonUnix, 0).UTC()
	for n := range 2 + h.IntN(3) {
		begin := time.Unix(noonUnix, 0).Add(time.Duration(n) * time.Minute).UTC()
		name := store.Name{Interface: h.of("eth0", "eth1"), Start: begin, Sequence: uint64(n + 1), Format: pcap.Format(h.IntN(2))}
		b, l := h.file(name)
		suffix := h.of("", "", "", "", ".zst", ".gz")
		path := name.String() + suffix
		h.names = append(h.names, path)
		lines = append(lines, l.Entry())
		b = compressed(t, suffix, b)
		h.images[path] = b
		if suffix != "" {
			lines = append(lines, ledger.Compressed(name, path, int64(len(b))))
		}
		h.times[path] = begin.Add(time.Minute)
		h.put(path, b)
	}
	var b []byte
	for _, e := range lines {
		b = e.AppendLine(b, time.Unix(noonUnix, 0).Add(time.Hour))
	}
	h.put(ledger.FileName, b)
	h.index()
	return h
}

func (h *hoard) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// put writes a file, with the time that it has.
func (h *hoard) put(name string, b []byte) {
	h.Helper()
	path := filepath.Join(h.dir, name)
	h.must(os.WriteFile(path, b, 0o600))
	if at, ok := h.times[name]; ok {
		h.must(os.Chtimes(path, at, at))
	}
}

// index makes the tables and the catalogue, which are kept to be put back.
func (h *hoard) index() {
	h.Helper()
	var all []index.Built
	for _, name := range h.names {
		b, err := index.Build(h.Context(), filepath.Join(h.dir, name), false, nil)
		h.must(err)
		all = append(all, b)
	}
	h.must(index.Catalogue(h.dir, all))
	made, err := os.ReadDir(h.dir)
	h.must(err)
	for _, e := range made {
		name := e.Name()
		if h.images[name] != nil || name == ledger.FileName {
			continue
		}
		info, err := e.Info()
		h.must(err)
		h.times[name] = info.ModTime()
		h.tables[name], err = os.ReadFile(filepath.Join(h.dir, name))
		h.must(err)
	}
}

// restore puts the files as they were, with what was made of them or without.
func (h *hoard) restore(tables bool) {
	h.Helper()
	for name, b := range h.images {
		if info, err := os.Stat(filepath.Join(h.dir, name)); err != nil || !info.ModTime().Equal(h.times[name]) {
			h.put(name, b)
		}
	}
	for name, b := range h.tables {
		if tables {
			h.put(name, b)
		} else if err := os.Remove(filepath.Join(h.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			h.Fatal(err)
		}
	}
}

// file makes a file, and its line in the ledger. Its packets come in bursts of a few conversations, in order of time or nearly, and
// some of them are cut.
func (h *hoard) file(name store.Name) ([]byte, *ledger.File) {
	l := &ledger.File{Name: name, Link: "ETHERNET", Begin: name.Start, End: name.Start.Add(time.Minute), Reason: ledger.ReasonInterval, Clean: true}
	odd := h.IntN(2) == 0
	w := h.writer(name, odd)
	disorder := h.IntN(3) == 0
	snaplen := []int{0, 0, 0, 34, 60, 96}[h.IntN(6)]
	at, newest := int64(0), int64(0)
	var burst [][]byte
	packets := 500 + h.IntN(400)
	for i := range packets {
		if i%50 == 0 {
			burst = nil
			for range 1 + h.IntN(4) {
				burst = append(burst, h.ethernet(0))
			}
		}
		data := slices.Clone(burst[h.IntN(len(burst))])
		switch h.IntN(30) {
		case 0:
			data = data[:h.IntN(len(data)+1)]
		case 1:
			data = data[:min(len(data), 14)]
		default:
			data = append(data, make([]byte, 900+h.IntN(500))...)
		}
		length := len(data)
		if snaplen > 0 && h.IntN(4) > 0 { // of large files, few packets are cut
			data = data[:min(len(data), snaplen)]
		}
		at += h.Int64N(int64(time.Minute) / int64(packets))
		stamp := at
		if disorder && h.IntN(20) == 0 {
			stamp = max(0, at-h.Int64N(int64(3*time.Second)))
		}
		if stamp < newest {
			l.Inversions++
		}
		newest = stamp
		t := name.Start.Add(time.Duration(stamp))
		w.packet(t, data, length)
		l.Packets++
		l.Bytes += uint64(len(data))
		if l.First.IsZero() {
			l.First = t
		}
		l.Last = t
	}
	b := w.end()
	l.Size, l.Received = uint64(len(b)), l.Packets
	return b, l
}

// A fileWriter makes a capture file.
type fileWriter interface {
	packet(t time.Time, data []byte, length int)
	end() []byte
}

func (h *hoard) writer(name store.Name, odd bool) fileWriter {
	switch {
	case !odd:
		enc := pcap.NewEncoder(pcap.Header{Format: name.Format, LinkType: pcap.LinkTypeEthernet, Interface: name.Interface})
		return &plainWriter{enc: enc, record: make([]byte, enc.MaxRecord()), b: slices.Clone(enc.Header())}
	case name.Format == pcap.PCAP:
		w := &oldWriter{order: []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian}[h.IntN(2)]}
		w.b = numbers(w.order, 0xa1b23c4d, [2]int{2, 4}, 0, 0, 0, 1)
		return w
	}
	w := &sectionWriter{m: h.maker, name: name.Interface}
	w.section()
	return w
}

type plainWriter struct {
	enc    *pcap.Encoder
	record []byte
	b      []byte
}

func (w *plainWriter) packet(t time.Time, data []byte, length int) {
	n, _ := w.enc.Encode(w.record, []pcap.Packet{{Data: data, Length: uint32(length), Sec: uint32(t.Unix()), Nsec: uint32(t.Nanosecond())}})
	w.b = append(w.b, w.record[:n]...)
}

func (w *plainWriter) end() []byte { return w.enc.Trailer(w.b, pcap.Statistics{}) }

// An oldWriter writes pcap in nanoseconds, of either byte order.
type oldWriter struct {
	order binary.AppendByteOrder
	b     []byte
}

func (w *oldWriter) packet(t time.Time, data []byte, length int) {
	w.b = append(append(w.b, numbers(w.order, int(t.Unix()), t.Nanosecond(), len(data), length)...), data...)
}

func (w *oldWriter) end() []byte { return w.b }

// A sectionWriter writes pcapng with sections of both byte orders, interfaces that are described late, names and blocks that nobody
// knows.
type sectionWriter struct {
	m     maker
	name  string
	order binary.AppendByteOrder
	b     []byte
	links []int // of the section's interfaces
}

func (w *sectionWriter) section() {
	w.order = []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian}[w.m.IntN(2)]
	w.b = append(w.b, block(w.order, 0x0a0d0d0a, 0x1a2b3c4d, [2]int{1, 0}, -1, -1)...)
	w.links = nil
	w.describe()
}

func (w *sectionWriter) describe() {
	link := []int{1, 1, 1, 101, 147}[w.m.IntN(5)]
	w.links = append(w.links, link)
	w.b = append(w.b, block(w.order, 1, [2]int{link, 0}, 0, [2]int{2, len(w.name)}, w.name, [2]int{9, 1}, "\x09", [2]int{0, 0})...)
}

func (w *sectionWriter) packet(t time.Time, data []byte, length int) {
	switch w.m.IntN(150) {
	case 0:
		w.section()
	case 1, 2:
		w.describe()
	case 3:
		w.b = append(w.b, block(w.order, 4, [2]int{1, 8}, "\xc0\x00\x02\x01a.b\x00", [2]int{0, 0})...)
	case 4:
		w.b = append(w.b, block(w.order, 0xbad, 32473, "abcd")...)
	}
	id := w.m.IntN(len(w.links))
	if w.links[id] == 101 && len(data) >= 14 {
		data, length = data[14:], length-14
	}
	ns := t.UnixNano()
	w.b = append(w.b, block(w.order, 6, id, int(ns>>32), int(uint32(ns)), len(data), length, string(data))...)
}

func (w *sectionWriter) end() []byte {
	return append(w.b, block(w.order, 5, 0, 0, 9, [2]int{4, 8}, 9, 0, [2]int{0, 0})...)
}
