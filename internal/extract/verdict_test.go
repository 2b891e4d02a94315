package extract

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/internal/hint"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// plain makes a directory of an interface with three files of two packets each.
func plain(t *testing.T, iface string, change func(*recordedFile)) *scene {
	t.Helper()
	s := &scene{t: t, dirs: []string{t.TempDir()}, of: make(map[string][]*recordedFile)}
	for n := range 3 {
		f := &recordedFile{begin: time.Unix(noonUnix, 0).Add(time.Duration(n) * fileLength).UTC()}
		f.end = f.begin.Add(fileLength)
		f.name = store.Name{Interface: iface, Start: f.begin, Sequence: uint64(n + 1), Format: pcap.PCAPNG}
		f.frames = []frame{{at: f.begin.Add(time.Second), id: uint32(2 * n)}, {at: f.begin.Add(5 * time.Second), id: uint32(2*n + 1), udp: true}}
		if change != nil {
			change(f)
		}
		s.of[s.dirs[0]] = append(s.of[s.dirs[0]], f)
	}
	s.write()
	return s
}

// unreachable is a capd that records and does not answer.
type unreachable struct{ nobody }

func (unreachable) Flush(context.Context, string) (Flushed, error) {
	return Flushed{Recorded: true}, errors.New("timeout")
}

// answered answers a question, and returns the causes of what is missing.
func answered(t *testing.T, q Question, by Recorders, dirs ...string) (*Answer, string) {
	t.Helper()
	q.Directories = dirs
	plan, err := q.Plan(t.Context(), by)
	if err != nil {
		t.Fatal(err)
	}
	a, err := plan.Find(t.Context(), Output{})
	if err != nil {
		t.Fatal(err)
	}
	var causes []string
	for _, m := range a.Missing {
		causes = append(causes, string(m.Cause))
	}
	return a, strings.Join(causes, ", ")
}

// TestVerdicts: each directory may have other interfaces; a capd that does not answer matters to what it may have in memory;
// and a file that is not the one that was recorded is noticed, even where it is not read to its end.
func TestVerdicts(t *testing.T) {
	a, b := plain(t, "eth0", nil).dirs[0], plain(t, "eth1", nil).dirs[0]
	at := func(s int) time.Time { return time.Unix(noonUnix+int64(s), 0).UTC() }
	swapped := plain(t, "eth0", nil)
	first := swapped.of[swapped.dirs[0]][0]
	other := *first
	other.frames = other.frames[1:]
	swapped.must(os.WriteFile(swapped.path(swapped.dirs[0], first), other.image(), 0o600))
	unreadable := filepath.Join(t.TempDir(), "none")
	for what, c := range map[string]struct {
		q       Question
		by      Recorders
		dirs    []string
		packets uint64
		want    string
	}{
		"one of two":            {Question{Interfaces: [][]string{{"eth0"}}}, nobody{}, []string{a, b}, 6, ""},
		"both":                  {Question{}, nobody{}, []string{a, b}, 12, ""},
		"by another name":       {Question{Interfaces: [][]string{{"lan", "eth1"}}}, nobody{}, []string{a, b}, 6, ""},
		"nobody knows it":       {Question{Interfaces: [][]string{{"eth9"}}}, nobody{}, []string{a, b}, 0, string(CauseNothing)},
		"a time of it":          {Question{Since: at(5), Until: at(12)}, nobody{}, []string{a}, 2, ""},
		"before it":             {Question{Since: at(-5), Until: at(2)}, nobody{}, []string{a}, 1, string(ledger.CauseStopped)},
		"no answer":             {Question{}, unreachable{}, []string{a}, 6, string(CauseUnflushed)},
		"no answer, and older":  {Question{Until: at(25)}, unreachable{}, []string{a}, 5, ""},
		"another file":          {Question{Until: at(2)}, nobody{}, swapped.dirs, 0, string(CauseChanged)},
		"limited":               {Question{MostPackets: 2}, nobody{}, []string{a}, 2, string(CauseLimit)},
		"as many as there are":  {Question{MostPackets: 6}, nobody{}, []string{a}, 6, ""},
		"one can't be read":     {Question{}, nobody{}, []string{a, unreadable}, 6, string(CauseUnreadable)},
		"an expression":         {Question{Expression: notARP}, nobody{}, []string{a}, 3, ""},
		"does not fit the link": {Question{Expression: "wlan type mgt"}, nobody{}, []string{b}, 0, strings.Repeat(", "+string(CauseLink), 3)[2:]},
	} {
		answer, got := answered(t, c.q, c.by, c.dirs...)
		if got != c.want || answer.Packets != c.packets || answer.Complete != (c.want == "") {
			t.Errorf("%s: %d packets, %q, %s", what, answer.Packets, got, answer.Verdict())
		}
	}
	q := Question{Directories: []string{unreadable}}
	if _, err := q.Plan(t.Context(), nobody{}); err == nil {
		t.Error("a directory that there is not was asked")
	}
}

// TestPCAPOfTwoLinkTypes: is refused, with advice.
func TestPCAPOfTwoLinkTypes(t *testing.T) {
	s := plain(t, "eth0", nil)
	dir := s.dirs[0]
	enc := pcap.NewEncoder(pcap.Header{LinkType: pcap.LinkTypeRaw})
	record := make([]byte, enc.MaxRecord())
	n, _ := enc.Encode(record, []pcap.Packet{{Data: []byte{0x45}, Length: 1, Sec: noonUnix + 2}})
	name := store.Name{Interface: "tun0", Start: time.Unix(noonUnix, 0), Sequence: 1}
	s.must(os.WriteFile(filepath.Join(dir, name.String()), slices.Concat(enc.Header(), record[:n]), 0o600))
	q := Question{Directories: s.dirs}
	plan, err := q.Plan(t.Context(), nobody{})
	s.must(err)
	_, err = plan.Find(t.Context(), Output{To: io.Discard, Format: pcap.PCAP})
	if err == nil || !strings.Contains(err.Error(), "a pcap file has one link type") || len(hint.Of(err)) != 1 {
		t.Errorf("%v", err)
	}
	a, err := plan.Find(t.Context(), Output{To: io.Discard, Format: pcap.PCAPNG})
	if err != nil || a.Packets != 7 || a.Complete {
		t.Errorf("%v: %s", err, a.Verdict())
	}
}

// full takes so many bytes.
type full struct{ left int }

func (w *full) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

var errFull = errors.New("no room")

// TestFull: a failure to write is one, wherever it is noticed, and no reason of a file that was read.
func TestFull(t *testing.T) {
	s := plain(t, "eth0", nil)
	q := Question{Directories: s.dirs}
	for room := range 2000 {
		plan, err := q.Plan(t.Context(), nobody{})
		s.must(err)
		a, err := plan.Find(t.Context(), Output{To: &full{room}, Format: pcap.PCAPNG})
		if err == nil {
			if room < 500 || !a.Complete {
				t.Errorf("%d bytes are enough, and %s", room, a.Verdict())
			}
			return
		}
		if !errors.Is(err, errFull) || a.Complete || len(a.Missing) > 0 {
			t.Fatalf("%d bytes: %v, %+v", room, err, a.Missing)
		}
	}
	t.Error("2000 bytes are too few")
}
