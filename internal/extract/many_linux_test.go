package extract

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"capd/filter"
	"capd/flow"
	"capd/internal/read"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// Environment variables of TestManyFilters: how many files and expressions it has, what they are drawn from, and capture files whose
// frames it takes, as a list of patterns.
const (
	seedVariable    = "CAPD_EXTRACT_SEED"
	filesVariable   = "CAPD_EXTRACT_FILES"
	filtersVariable = "CAPD_EXTRACT_FILTERS"
	trafficVariable = "CAPD_EXTRACT_TRAFFIC"
)

func number(t *testing.T, variable string, otherwise int) int {
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// record takes the frames of capture files of Ethernet.
func (m *maker) record(t *testing.T, patterns string) {
	var frame flow.Frame
	for _, pattern := range filepath.SplitList(patterns) {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			src, err := read.Open(path, read.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for range 3000 {
				p, err := src.Next()
				if err != nil {
					break
				}
				if src.Interface().LinkType != pcap.LinkTypeEthernet {
					continue
				}
				m.recorded = append(m.recorded, bytes.Clone(p.Data))
				frame.Parse(pcap.LinkTypeEthernet, p.Data)
				if k := &frame.Layers[0].Key; k.Src.IsValid() && len(m.hosts) < 200 && !slices.Contains(m.hosts, k.Src.String()) {
					m.hosts = append(m.hosts, k.Src.String())
				}
			}
			src.Close()
		}
	}
}

// small makes a file of Ethernet frames, and its line in the ledger. One in 50 has several regions.
func (h *hoard) small(name store.Name) ([]byte, *ledger.File) {
	l := &ledger.File{Name: name, Link: "ETHERNET", Begin: name.Start, End: name.Start.Add(time.Minute), Reason: ledger.ReasonInterval, Clean: true}
	w := h.writer(name, false)
	packets, padding := 10+h.IntN(40), 0
	if h.IntN(50) == 0 {
		packets, padding = 600, 900
	}
	var burst [][]byte
	for i := range packets {
		if i%20 == 0 {
			burst = nil
			for range 1 + h.IntN(4) {
				if len(h.recorded) > 0 && h.IntN(2) == 0 {
					burst = append(burst, h.recorded[h.IntN(len(h.recorded))])
				} else {
					burst = append(burst, h.ethernet(0))
				}
			}
		}
		data := burst[h.IntN(len(burst))]
		if h.IntN(30) == 0 {
			data = data[:h.IntN(len(data)+1)]
		} else {
			data = append(slices.Clone(data), make([]byte, padding+h.IntN(100))...)
		}
		length := len(data)
		if h.IntN(10) == 0 {
			data = data[:min(len(data), 96)]
		}
		at := name.Start.Add(time.Duration(i) * time.Minute / time.Duration(packets))
		w.packet(at, data, length)
		if l.First.IsZero() {
			l.First = at
		}
		l.Packets, l.Bytes, l.Last = l.Packets+1, l.Bytes+uint64(len(data)), at
	}
	b := w.end()
	l.Size, l.Received = uint64(len(b)), l.Packets
	return b, l
}

// crowd makes many small files.
func (h *hoard) crowd(files int) {
	begin := time.Unix(noonUnix, 0).UTC()
	start := ledger.Start(ledger.Run{Software: "test"})
	start.Time = begin
	lines := start.AppendLine(nil, begin)
	for n := range files {
		at := begin.Add(time.Duration(n) * time.Minute)
		name := store.Name{Interface: "eth0", Start: at, Sequence: uint64(n + 1), Format: pcap.Format(h.IntN(2))}
		b, l := h.small(name)
		e := l.Entry()
		lines = e.AppendLine(lines, at.Add(time.Minute))
		h.names = append(h.names, name.String())
		h.times[name.String()] = at.Add(time.Minute)
		h.put(name.String(), b)
	}
	h.put(ledger.FileName, lines)
	h.index()
}

// A sample is a packet.
type sample struct {
	at     time.Time
	length uint32
	data   string
}

// samples reads the packets of a file, in an order that depends on nothing but them.
func samples(t *testing.T, file []byte) (all []sample) {
	t.Helper()
	src := read.New("answer", bytes.NewReader(file), read.Options{})
	for {
		p, err := src.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, sample{p.Time().UTC(), p.Length, string(p.Data)})
	}
	slices.SortFunc(all, func(a, b sample) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.length, b.length), cmp.Compare(a.data, b.data))
	})
	return all
}

// tcpdumped returns what tcpdump gives of a file, with a flag; false if it refuses the expression.
func tcpdumped(path, flag, expr string) ([]byte, bool) {
	args := []string{"--time-stamp-precision=nano", flag, "-r", path, "-w", "-", expr}
	if os.Getuid() == 0 {
		args = append([]string{"-Z", "root"}, args...)
	}
	out, err := exec.Command("tcpdump", args...).Output()
	return out, err == nil
}

// between returns the packets that are not in ours where they are in both others, or in ours where they are in none. tcpdump's
// optimizer changes what an expression takes of cut packets, and capd agrees with one of the two: see docs/filters.md.
func between(ours, a, b []sample) (odd []sample) {
	counts := make(map[sample][3]int)
	for i, all := range [][]sample{ours, a, b} {
		for _, s := range all {
			c := counts[s]
			c[i]++
			counts[s] = c
		}
	}
	for s, c := range counts {
		if c[0] < min(c[1], c[2]) || c[0] > max(c[1], c[2]) {
			odd = append(odd, s)
		}
	}
	return odd
}

// TestManyFilters: of many files, any expression takes the same packets with tables, to the byte, as without them, and as tcpdump
// takes of a file with all packets.
func TestManyFilters(t *testing.T) {
	files, filters := number(t, filesVariable, 60), number(t, filtersVariable, 150)
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump")
	}
	seed := uint64(number(t, seedVariable, 7))
	h := openHoard(t, seed)
	h.record(t, os.Getenv(trafficVariable))
	h.crowd(files)
	bare := openHoard(t, seed)
	for _, name := range append(slices.Clone(h.names), ledger.FileName) {
		h.must(os.Link(filepath.Join(h.dir, name), filepath.Join(bare.dir, name)))
	}
	all := filepath.Join(t.TempDir(), "all.pcap")
	q := Question{Directories: []string{bare.dir}}
	plan, err := q.Plan(t.Context(), nobody{})
	h.must(err)
	_, err = plan.Find(t.Context(), Output{Path: all, Format: pcap.PCAP})
	h.must(err)
	found, refused, optimized, less, began := 0, 0, 0, 0, time.Now()
	for n := range filters {
		q := Question{Expression: h.expr(h.IntN(4))}
		want, wanted, whole := bare.ask(q, nil)
		got, said, a := h.ask(q, nil)
		if !bytes.Equal(trimmed(got), trimmed(want)) || said != strings.ReplaceAll(wanted, bare.dir, h.dir) {
			t.Fatalf("%d: %q: %d packets with tables, and %d without: %v", n, q.Expression, a.Packets, whole.Packets, a.Notes)
		}
		if a.Read < whole.Read {
			less++
		}
		if a.Packets > 0 {
			found++
		}
		if _, err := filter.Compile(q.Expression, filter.Target{LinkType: filter.LinkEthernet}); err != nil {
			refused++
			continue
		}
		theirs, ok := tcpdumped(all, "-n", q.Expression)
		if !ok { // most of them because they take no packet
			refused++
			continue
		}
		if ours, theirs := samples(t, got), samples(t, theirs); !slices.Equal(ours, theirs) {
			plain, _ := tcpdumped(all, "-O", q.Expression)
			for _, odd := range between(ours, theirs, samples(t, plain)) {
				t.Errorf("%d: %q: %d packets, and tcpdump has %d; not as it: %d bytes of %d: %x",
					n, q.Expression, len(ours), len(theirs), len(odd.data), odd.length, odd.data)
			}
			optimized++
		}
		if (n+1)%100 == 0 {
			t.Logf("%d expressions after %v", n+1, time.Since(began).Round(time.Second))
		}
	}
	t.Logf("%d expressions over %d files, %d frames of real traffic: %d have packets, for %d less was read; %d are refused, and tcpdump's optimizer changes what it takes of cut packets for %d",
		filters, files, len(h.recorded), found, less, refused, optimized)
	if found < filters/4 || less < filters/4 || refused > filters/6 {
		t.Error("the cases are too much alike")
	}
}
