package extract

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	framed "capd/internal/frames"
	"capd/internal/read"
	"capd/ledger"
	"capd/pcap"
	"capd/store"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// nobody records into the directories of these tests.
type nobody struct{}

func (nobody) Flush(context.Context, string) (Flushed, error) { return Flushed{}, nil }
func (nobody) Ask(_ context.Context, dir string, q ledger.Question) (*ledger.Answer, error) {
	return ledger.Ask(dir, q, ledger.ReadOptions{Keep: func(*ledger.Entry) bool { return false }})
}

// A frame is a packet that came to an interface.
type frame struct {
	at   time.Time
	id   uint32 // in its bytes
	udp  bool   // or ARP
	lost bool   // it is in no file

	wrong bool // of an answer: no packet has these bytes
}

func (f *frame) bytes() []byte {
	b := []byte(packet(!f.udp, 0))
	return binary.BigEndian.AppendUint32(b, f.id)
}

// A recordedFile is a file, and what came while it was written.
type recordedFile struct {
	name       store.Name
	begin, end time.Time
	frames     []frame
	filter     string
	unclean    bool
	inversions uint64
	deleted    bool // by a limit
	unlisted   bool // the ledger has no line of it
	suffix     string
}

// image is the file's bytes.
func (f *recordedFile) image() []byte {
	enc := pcap.NewEncoder(pcap.Header{Format: f.name.Format, LinkType: pcap.LinkTypeEthernet, Interface: f.name.Interface, Application: "test"})
	b := enc.Header()
	record := make([]byte, enc.MaxRecord())
	for i := range f.frames {
		if fr := &f.frames[i]; !fr.lost {
			data := fr.bytes()
			n, _ := enc.Encode(record, []pcap.Packet{{Data: data, Length: uint32(len(data)), Sec: uint32(fr.at.Unix()), Nsec: uint32(fr.at.Nanosecond())}})
			b = append(b, record[:n]...)
		}
	}
	return enc.Trailer(b, pcap.Statistics{})
}

func (f *recordedFile) line() ledger.Entry {
	l := ledger.File{Name: f.name, Link: "ETHERNET", Filter: f.filter, Begin: f.begin, End: f.end, Reason: ledger.ReasonInterval, Clean: !f.unclean}
	for i := range f.frames {
		if f.frames[i].lost {
			if f.filter == "" { // else its counters know nothing of them
				l.KernelDropped++
			}
			continue
		}
		l.Packets++
		if l.First.IsZero() {
			l.First = f.frames[i].at
		}
		l.Last = f.frames[i].at
	}
	l.Received, l.Inversions, l.Size = l.Packets+l.KernelDropped, f.inversions, uint64(len(f.image()))
	return l.Entry()
}

// A scene is directories of files.
type scene struct {
	t    testing.TB
	r    *rand.Rand
	dirs []string
	of   map[string][]*recordedFile
}

const (
	noonUnix   = 1767355200 // 2026-01-02T12:00:00Z
	fileLength = 10 * time.Second
	reorder    = time.Second // as docs/extract.md has it
)

// newScene makes lanes of files that follow each other.
func newScene(t testing.TB, r *rand.Rand) *scene {
	s := &scene{t: t, r: r, of: make(map[string][]*recordedFile)}
	id := uint32(0)
	for range 1 + r.IntN(2) {
		dir := t.TempDir()
		s.dirs = append(s.dirs, dir)
		for lane := range 1 + r.IntN(3) {
			name := store.Name{Interface: fmt.Sprintf("eth%d", r.IntN(2)), Lane: lane, Format: pcap.Format(r.IntN(2))}
			for n := range 1 + r.IntN(4) {
				f := &recordedFile{begin: time.Unix(noonUnix, 0).Add(time.Duration(n) * fileLength).UTC()}
				f.end = f.begin.Add(fileLength)
				name.Start, name.Sequence = f.begin, uint64(n+1)
				f.name = name
				for range r.IntN(12) {
					f.frames = append(f.frames, frame{at: f.begin.Add(time.Duration(r.Int64N(int64(fileLength)))), udp: r.IntN(2) == 0})
				}
				slices.SortFunc(f.frames, func(a, b frame) int { return a.at.Compare(b.at) })
				for i := range f.frames {
					id++
					f.frames[i].id = id
				}
				if r.IntN(3) == 0 {
					f.invert(r)
				}
				f.suffix = []string{"", "", ".zst", ".gz"}[r.IntN(4)]
				s.of[dir] = append(s.of[dir], f)
			}
		}
	}
	return s
}

// invert puts packets behind others that are less than a second newer, as several processors may do.
func (f *recordedFile) invert(r *rand.Rand) {
	const most = reorder - time.Millisecond
	late := make(map[uint32]time.Duration)
	for i := range f.frames {
		fr := &f.frames[i]
		if i > 0 && r.IntN(2) == 0 {
			fr.at = f.frames[i-1].at.Add(time.Duration(r.Int64N(int64(most / 4))))
		}
		late[fr.id] = time.Duration(r.Int64N(int64(most)))
	}
	slices.SortFunc(f.frames, func(a, b frame) int { return a.at.Add(late[a.id]).Compare(b.at.Add(late[b.id])) })
	for i := 1; i < len(f.frames); i++ {
		if f.frames[i].at.Before(f.frames[i-1].at) {
			f.inversions++
		}
	}
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// write makes the directories.
func (s *scene) write() {
	s.t.Helper()
	for dir, files := range s.of {
		lines := []ledger.Entry{ledger.Start(ledger.Run{Software: "test"})}
		lines[0].Time = time.Unix(noonUnix, 0).UTC()
		for _, f := range files {
			if !f.unlisted {
				lines = append(lines, f.line())
			}
			var image []byte
			if f.deleted {
				lines = append(lines, ledger.Deleted(f.name, 1, "bytes"))
			} else {
				image = compressed(s.t, f.suffix, f.image())
				s.must(os.WriteFile(s.path(dir, f), image, 0o600))
			}
			if f.suffix != "" {
				lines = append(lines, ledger.Compressed(f.name, f.name.String()+f.suffix, int64(len(image))))
			}
		}
		var b []byte // as a Ledger would write it, without its syncs
		for _, e := range lines {
			b = e.AppendLine(b, time.Unix(noonUnix, 0).Add(time.Hour))
		}
		s.must(os.WriteFile(filepath.Join(dir, ledger.FileName), b, 0o600))
	}
}

func (s *scene) path(dir string, f *recordedFile) string {
	return filepath.Join(dir, f.name.String()+f.suffix)
}

// compressed compresses a file, in one piece or in frames.
func compressed(t testing.TB, suffix string, b []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	switch {
	case suffix == "":
		return b
	case len(b)%2 == 0:
		for piece := range slices.Chunk(b, 100_000) { // frames of any size do
			w, err := map[string]func(io.Writer, int) (*framed.Writer, error){".zst": framed.NewZstd, ".gz": framed.NewGzip}[suffix](&out, 1)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(piece); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return out.Bytes()
	}
	switch suffix {
	case ".gz":
		w = gzip.NewWriter(&out)
	default:
		z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10))
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// came returns what came of what the question asks for.
func (s *scene) came(q *Question) (all []frame) {
	for _, files := range s.of {
		oldest := make(map[string]time.Time) // of the files that are there
		for _, f := range files {
			if at, ok := oldest[f.name.Interface]; !f.deleted && (!ok || f.begin.Before(at)) {
				oldest[f.name.Interface] = f.begin
			}
		}
		for _, f := range files {
			from, there := oldest[f.name.Interface]
			for _, fr := range f.frames {
				switch {
				case q.Expression != "" && !fr.udp, !q.Until.IsZero() && !fr.at.Before(q.Until), fr.at.Before(q.Since):
				case q.Since.IsZero() && there && fr.at.Before(from) && f.deleted: // all that is there is asked for
				default:
					all = append(all, fr)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b frame) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id)) })
	return all
}

// ask answers the question, and returns the packets of the file.
func (s *scene) ask(q Question, through func(io.Reader) io.Reader) (*Answer, []frame) {
	s.t.Helper()
	q.Directories, q.Text, q.Software = s.dirs, "capd extract", "test"
	plan, err := q.Plan(s.t.Context(), nobody{})
	s.must(err)
	var out bytes.Buffer
	a, err := plan.Find(s.t.Context(), Output{To: &out, Format: pcap.PCAPNG, Through: through})
	s.must(err)
	src := read.New("out", &out, read.Options{})
	var given []frame
	for {
		p, err := src.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		s.must(err)
		n := len(p.Data) - 4
		if n < 0 {
			given = append(given, frame{wrong: true})
			continue
		}
		f := frame{at: p.Time().UTC(), id: binary.BigEndian.Uint32(p.Data[n:]), udp: string(p.Data[:n]) == packet(false, 0)}
		f.wrong = !bytes.Equal(f.bytes(), p.Data)
		given = append(given, f)
	}
	if uint64(len(given)) != a.Packets {
		s.t.Fatalf("%d packets are in the file, %d were counted", len(given), a.Packets)
	}
	return a, given
}

// notARP takes the frames that are called udp here.
const notARP = "not arp"

// question asks for a random time.
func (s *scene) question() (q Question) {
	at := func() time.Time {
		return time.Unix(noonUnix, 0).Add(time.Duration(s.r.Int64N(int64(4 * fileLength)))).UTC()
	}
	if s.r.IntN(2) == 0 {
		q.Expression = notARP
	}
	if s.r.IntN(2) == 0 {
		q.Since = at()
	}
	if s.r.IntN(2) == 0 {
		q.Until = at()
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		q.Since, q.Until = q.Until, q.Since.Add(time.Second)
	}
	return q
}

// TestMergedOrder: the packets of all lanes, of files in order and out of it, come in the order of time, as a sort of all of
// them has it, and the verdict is complete.
func TestMergedOrder(t *testing.T) {
	for seed := range uint64(50) {
		s := newScene(t, rand.New(rand.NewPCG(seed, 1)))
		s.write()
		q := s.question()
		q.Since, q.Until = time.Time{}, time.Time{}
		a, given := s.ask(q, nil)
		want := s.came(&q)
		if !slices.IsSortedFunc(given, func(a, b frame) int { return a.at.Compare(b.at) }) || a.Unordered > 0 {
			t.Errorf("seed %d: not in order of time", seed)
		}
		slices.SortStableFunc(given, func(a, b frame) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id)) })
		if !slices.Equal(given, want) {
			t.Errorf("seed %d: %d packets, want %d", seed, len(given), len(want))
		}
		if !a.Complete {
			t.Errorf("seed %d: %s", seed, a.Verdict())
		}
	}
}
