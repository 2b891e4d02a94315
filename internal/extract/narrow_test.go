package extract

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"capd/flow"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// pairsVariable is the environment variable that says how many pairs of expression and directory TestSameWithTables has.
const pairsVariable = "CAPD_EXTRACT_PAIRS"

// ask answers the question. What it returns is the file without its last block, which has the time and the verdict, and what the
// answer says about the packets.
func (h *hoard) ask(q Question, before func()) (file []byte, said string, a *Answer) {
	h.Helper()
	return h.askBy(nobody{}, q, before)
}

func (h *hoard) askBy(by Recorders, q Question, before func()) (file []byte, said string, a *Answer) {
	h.Helper()
	q.Directories, q.Text, q.Software = []string{h.dir}, "capd extract", "test"
	plan, err := q.Plan(h.Context(), by)
	h.must(err)
	if before != nil {
		before()
	}
	var out bytes.Buffer
	a, err = plan.Find(h.Context(), Output{To: &out, Format: pcap.PCAPNG})
	h.must(err)
	file = out.Bytes()
	last := binary.LittleEndian.Uint32(file[len(file)-4:])
	same := *a
	same.Files, same.Read, same.Tables, same.Notes = 0, 0, 0, nil
	b, err := json.Marshal(same)
	h.must(err)
	return file[:len(file)-int(last)], string(b), a
}

// question makes one that often has an answer.
func (h *hoard) question() (q Question) {
	if h.IntN(8) > 0 {
		q.Expression = h.expr(h.IntN(4))
	}
	if h.IntN(4) == 0 {
		for range 1 + h.IntN(2) {
			f, err := ParseFlow(fmt.Sprintf("10.0.%d.%d%s 10.0.%d.%d %s", h.IntN(2), 1+h.IntN(4), h.of("", ":443", ":53"), h.IntN(2), 1+h.IntN(4), h.of("", "tcp", "udp")))
			h.must(err)
			q.Flows = append(q.Flows, f)
		}
	}
	if h.IntN(6) == 0 {
		k := flow.Key{Proto: []uint8{6, 17}[h.IntN(2)], SrcPort: uint16(h.port()), DstPort: uint16(h.port()), Has: flow.HasProto | flow.HasPorts}
		k.Src, k.Dst = netip.AddrFrom4([4]byte(h.addr4())), netip.AddrFrom4([4]byte(h.addr4()))
		f, err := ParseCommunityID(flow.CommunityID(&k, 0))
		h.must(err)
		q.Flows = append(q.Flows, f)
	}
	at := func() time.Time {
		return time.Unix(noonUnix, 0).Add(time.Duration(h.Int64N(int64(4 * time.Minute)))).UTC()
	}
	if h.IntN(3) == 0 {
		q.Since = at()
	}
	if h.IntN(3) == 0 {
		q.Until = at()
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		q.Since, q.Until = q.Until, q.Since.Add(time.Second)
	}
	return q
}

// harm does something to the tables or the catalogue, or to the file that a table is of. It returns what.
func (h *hoard) harm() string {
	h.Helper()
	made := slices.Sorted(maps.Keys(h.tables))
	name := made[h.IntN(len(made))]
	b := slices.Clone(h.tables[name])
	switch h.IntN(8) {
	case 0:
		h.must(os.Remove(filepath.Join(h.dir, name)))
		return "missing"
	case 1: // a capture file was touched
		touched := h.names[h.IntN(len(h.names))]
		h.must(os.Chtimes(filepath.Join(h.dir, touched), time.Unix(noonUnix, 5), time.Unix(noonUnix, 5)))
		return "stale"
	case 2:
		h.put(name, b[:h.IntN(len(b))])
		return "torn"
	case 3:
		b[h.IntN(len(b))] ^= 1 << h.IntN(8)
		h.put(name, b)
		return "flipped"
	case 4:
		h.put(name, h.tables[made[h.IntN(len(made))]])
		return "swapped"
	}
	return "fresh"
}

// TestSameWithTables: whatever becomes of flow tables, an answer is the same to the byte as without them.
func TestSameWithTables(t *testing.T) {
	pairs := 300
	if s := os.Getenv(pairsVariable); s != "" {
		var err error
		if pairs, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	const perHoard = 25
	found, less, harms := 0, 0, make(map[string]int)
	for seed := range uint64((pairs + perHoard - 1) / perHoard) {
		h := newHoard(t, seed)
		for n := range perHoard {
			q := h.question()
			h.restore(false)
			file, said, whole := h.ask(q, nil)
			h.restore(true)
			what := h.harm()
			got, saidNow, a := h.ask(q, nil)
			if !bytes.Equal(got, file) || said != saidNow {
				t.Fatalf("seed %d, question %d, tables %s: %q, flows %v, %v to %v: %d packets, want %d\n%s, want\n%s\n%v",
					seed, n, what, q.Expression, q.Flows, q.Since, q.Until, a.Packets, whole.Packets, saidNow, said, a.Notes)
			}
			harms[what]++
			if a.Packets > 0 {
				found++
			}
			if a.Read < whole.Read {
				less++
			}
		}
	}
	t.Logf("%d pairs: %d had packets, of %d less was read; tables: %v", pairs, found, less, harms)
	if found < pairs/4 || less < pairs/8 || len(harms) < 6 {
		t.Error("the cases are too much alike")
	}
}

// TestDeletedMeanwhile: a file that is deleted after the question was planned is missed as it is without tables, unless its table
// says that it has no such packet.
func TestDeletedMeanwhile(t *testing.T) {
	vanished, complete := 0, 0
	for seed := range uint64(8) {
		h := newHoard(t, seed+1000)
		for range 6 {
			q := h.question()
			name := h.names[h.IntN(len(h.names))]
			remove := func() { _ = os.Remove(filepath.Join(h.dir, name)) }
			h.restore(false)
			all, _, sound := h.ask(q, nil)
			file, _, _ := h.ask(q, remove)
			h.restore(true)
			got, _, a := h.ask(q, remove)
			if !bytes.Equal(trimmed(got), trimmed(file)) {
				t.Fatalf("seed %d: %q: other packets with tables", seed, q.Expression)
			}
			if slices.ContainsFunc(a.Missing, func(m Missing) bool { return m.Cause == CauseVanished }) {
				vanished++
			} else if complete++; sound.Complete && !bytes.Equal(got, all) {
				t.Fatalf("seed %d: %q: %s, and packets are missing", seed, q.Expression, a.Verdict())
			}
		}
	}
	if vanished < 5 || complete < 5 {
		t.Errorf("%d answers miss the file, %d do not", vanished, complete)
	}
}

// trimmed is a file without its first block.
func trimmed(b []byte) []byte { return b[binary.LittleEndian.Uint32(b[4:]):] }

// TestLyingTable: a table of other bytes than those of the file, of the same name, size and time, is noticed where the first region
// begins that is read; and where it is noticed later, no packet is missing or doubled.
func TestLyingTable(t *testing.T) {
	noticed := 0
	for seed := range uint64(30) {
		h := openHoard(t, seed)
		name := store.Name{Interface: "eth0", Start: time.Unix(noonUnix, 0).UTC(), Sequence: 1, Format: pcap.Format(h.IntN(2))}
		// The other file has the same packets in another order, so that sums and size are the same.
		var sizes []int
		for range 900 {
			sizes = append(sizes, 400+h.IntN(1000))
		}
		image := func(shift int) []byte {
			w := h.writer(name, false)
			for i := range sizes {
				n := sizes[(i+shift)%len(sizes)]
				frame := make([]byte, n)
				copy(frame, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45\x00\x00\x3c\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
				frame[33] = byte(i / 100)
				w.packet(name.Start.Add(time.Duration(i)*time.Millisecond), frame, n)
			}
			return w.end()
		}
		l := ledger.File{Name: name, Begin: name.Start, End: name.Start.Add(time.Minute), First: name.Start, Last: name.Start.Add(899 * time.Millisecond), Clean: true}
		right, wrong := image(0), image(1+h.IntN(800))
		if len(right) != len(wrong) {
			t.Fatal("not of one size")
		}
		l.Packets, l.Size = 900, uint64(len(right))
		for _, n := range sizes {
			l.Bytes += uint64(n)
		}
		start := ledger.Start(ledger.Run{Software: "test"})
		start.Time = name.Start
		line := l.Entry()
		h.put(ledger.FileName, line.AppendLine(start.AppendLine(nil, name.Start), name.Start.Add(time.Hour)))
		h.names = []string{name.String()}
		h.times[h.names[0]] = name.Start.Add(time.Minute)
		h.images[h.names[0]] = wrong
		h.put(h.names[0], wrong)
		h.index()
		q := Question{Expression: fmt.Sprintf("dst host 10.0.0.%d", 3+h.IntN(6))}
		_, _, narrow := h.ask(q, nil)
		h.put(h.names[0], right)
		got, said, a := h.ask(q, nil)
		h.images[h.names[0]] = right
		h.restore(false)
		want, wanted, whole := h.ask(q, nil)
		if narrow.Read >= whole.Read*3/4 {
			t.Errorf("seed %d: %d bytes are read of %d", seed, narrow.Read, whole.Read)
		}
		if !bytes.Equal(got, want) || said != wanted {
			t.Errorf("seed %d: %s: %d packets, want %d\n%s, want\n%s", seed, a.Notes, a.Packets, whole.Packets, said, wanted)
		}
		if len(a.Notes) == 1 && strings.Contains(a.Notes[0], "is read, because its flow table is of another file") {
			noticed++
		}
	}
	if noticed < 25 {
		t.Errorf("noticed %d times of 30", noticed)
	}
}

// TestLyingTableLate: a table that is only found out behind its first parts costs no packet, and gives none twice.
func TestLyingTableLate(t *testing.T) {
	h := openHoard(t, 4)
	name := store.Name{Interface: "eth0", Start: time.Unix(noonUnix, 0).UTC(), Sequence: 1}
	const records, joined, parted = 1500, 700, 1200 // a record is 1016 bytes, or at one place that of two
	l := ledger.File{Name: name, Begin: name.Start, End: name.Start.Add(time.Minute), First: name.Start, Last: name.Start.Add((records - 1) * time.Millisecond), Clean: true}
	image := func(long int, sought ...int) []byte {
		w := h.writer(name, false)
		l.Packets, l.Bytes = 0, 0
		for i := 0; i < records; i++ {
			n := 1000
			if i == long {
				n = 2016
				i++
			}
			frame := make([]byte, n)
			copy(frame, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45\x00\x00\x3c\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
			if slices.Contains(sought, i) {
				frame[33] = 9
			}
			w.packet(name.Start.Add(time.Duration(i)*time.Millisecond), frame, n)
			l.Packets, l.Bytes = l.Packets+1, l.Bytes+uint64(n)
		}
		return w.end()
	}
	wrong := image(joined, 100, 101, 720, 721, 1100)
	right := image(parted, 100, 101, 720, 721, 1100, 1300)
	if len(right) != len(wrong) {
		t.Fatal("not of one size")
	}
	l.Size = uint64(len(right))
	start, line := ledger.Start(ledger.Run{Software: "test"}), l.Entry()
	start.Time = name.Start
	h.put(ledger.FileName, line.AppendLine(start.AppendLine(nil, name.Start), name.Start.Add(time.Hour)))
	h.names = []string{name.String()}
	h.times[h.names[0]] = name.Start.Add(time.Minute)
	h.images[h.names[0]] = wrong
	h.put(h.names[0], wrong)
	h.index()
	h.put(h.names[0], right)
	for _, q := range []Question{{Expression: "dst host 10.0.0.9"}, {Expression: "dst host 10.0.0.9", Until: name.Start.Add(time.Minute)}} {
		_, _, a := h.ask(q, nil)
		if a.Packets != 6 || a.Bytes != 6000 || !a.Complete || len(a.Notes) != 1 || !strings.Contains(a.Notes[0], errTable.Error()) {
			t.Errorf("%d packets of %d bytes, %v: %s", a.Packets, a.Bytes, a.Notes, a.Verdict())
		}
	}
}

// TestReadLittle: for a flow of 100 packets in a large set, no more is read than three times what is found, besides the tables,
// wherever in a file the packets are.
func TestReadLittle(t *testing.T) {
	const files, packets, size = 12, 1500, 1400
	h := openHoard(t, 3)
	start := ledger.Start(ledger.Run{Software: "test"})
	start.Time = time.Unix(noonUnix, 0).UTC()
	lines := start.AppendLine(nil, start.Time)
	for n := range files {
		begin := start.Time.Add(time.Duration(n) * time.Minute)
		name := store.Name{Interface: "eth0", Start: begin, Sequence: uint64(n + 1), Format: pcap.Format(n % 2)}
		w := h.writer(name, false)
		l := ledger.File{Name: name, Begin: begin, End: begin.Add(time.Minute), First: begin, Last: begin.Add((packets - 1) * time.Millisecond), Clean: true}
		burst := n * 100 // that file 7 has of the flow
		for i := range packets {
			frame := make([]byte, size)
			copy(frame, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45\x00\x00\x3c\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x01\x02")
			binary.BigEndian.PutUint16(frame[34:], uint16(1024+h.IntN(2000)))
			frame[37] = 53
			if n == 7 && i >= burst && i < burst+100 {
				frame[37] = 99
			}
			w.packet(begin.Add(time.Duration(i)*time.Millisecond), frame, size)
		}
		b := w.end()
		l.Packets, l.Bytes, l.Size = packets, packets*size, uint64(len(b))
		e := l.Entry()
		lines = e.AppendLine(lines, start.Time.Add(time.Hour))
		h.names = append(h.names, name.String())
		h.images[name.String()], h.times[name.String()] = b, begin.Add(time.Minute)
		h.put(name.String(), b)
	}
	h.put(ledger.FileName, lines)
	h.index()
	file, _, a := h.ask(Question{Expression: "udp port 99"}, nil)
	if a.Packets != 100 || !a.Complete || a.Files != 1 || a.Read > 3*int64(len(file)) {
		t.Errorf("%d bytes of %d files are read to find %d bytes, and %d of tables: %s", a.Read, a.Files, len(file), a.Tables, a.Verdict())
	}
	t.Logf("%d bytes of %d are read to find %d, and %d of tables", a.Read, a.OfBytes, len(file), a.Tables)
}
