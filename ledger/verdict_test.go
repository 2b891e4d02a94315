package ledger

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/pcap"
	"capd/store"
)

// noon is when the tests' clocks begin.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func minute(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }

// fileEntry is a clean file of eth0 with the minutes [from, to).
func fileEntry(from, to int, change ...func(*Entry)) Entry {
	e := Entry{
		Kind: KindFile, Name: store.Name{Interface: "eth0", Start: minute(from), Sequence: uint64(from + 1), Lane: 0, Format: pcap.PCAP}.String(), Interface: "eth0", Link: "EN10MB", Clock: "system",
		Begin: minute(from), End: minute(to), Tally: Tally{Packets: 10, Received: 10}, Reason: ReasonInterval, Clean: true,
	}
	for _, c := range change {
		c(&e)
	}
	return e
}

func gapEntry(iface string, from, to int, cause Cause) Entry {
	e := Entry{Kind: KindGap, Interface: iface, Begin: minute(from), Cause: cause, Frames: 3}
	if to > 0 {
		e.End = minute(to)
	}
	return e
}

func listed(entries ...Entry) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// tell spells what is missing: minutes, cause, frames, file.
func tell(v Verdict) string {
	var all []string
	for _, m := range v.Missing {
		s := fmt.Sprintf("%g-%g %s", m.Begin.Sub(noon).Minutes(), m.End.Sub(noon).Minutes(), m.Cause)
		if m.Frames > 0 {
			s += fmt.Sprintf(" %d", m.Frames)
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

func TestJudge(t *testing.T) {
	name := func(from int, state string) string { return fileEntry(from, from).Name + state }
	drops := func(e *Entry) { e.KernelDropped, e.CapdDropped, e.NICDropped = 1, 2, 4 }
	unclean := func(e *Entry) { e.Clean, e.Reason = false, ReasonSalvaged }
	xdp := func(from, to int) Entry {
		e := XDPAttached("eth0", minute(from), "program")
		if to == 0 {
			return e
		}
		return XDPDetached(e, minute(to))
	}
	deleted := Entry{Kind: KindDeleted, Name: name(0, ""), Limit: "bytes"}
	for what, c := range map[string]struct {
		entries []Entry
		names   []string
		want    string
	}{
		"complete":     {[]Entry{fileEntry(0, 5), fileEntry(5, 10)}, []string{name(0, ""), name(5, ".zst")}, ""},
		"out of order": {[]Entry{fileEntry(5, 10), fileEntry(0, 5)}, nil, ""},
		"quiet":        {[]Entry{fileEntry(0, 5), {Kind: KindQuiet, Interface: "eth0", Begin: minute(5), End: minute(10)}}, nil, ""},
		"all dropped": {[]Entry{fileEntry(0, 5), {Kind: KindQuiet, Interface: "eth0", Begin: minute(5), End: minute(10), Tally: Tally{KernelDropped: 3}}}, nil,
			"5-10 dropped by the kernel 3"},
		"nothing said":   {nil, nil, "0-10 unknown"},
		"hole":           {[]Entry{fileEntry(0, 5), fileEntry(6, 10)}, nil, "5-6 unknown"},
		"gap":            {[]Entry{fileEntry(0, 5), gapEntry("eth0", 5, 6, CauseDown), fileEntry(6, 10)}, nil, "5-6 interface down 3"},
		"gap in a file":  {[]Entry{fileEntry(0, 10), gapEntry("eth0", 5, 6, CauseDiskFull)}, nil, "5-6 disk full 3"},
		"lost with it":   {[]Entry{fileEntry(0, 6), GapClosed(GapOpened("eth0", minute(5), CauseUnread), minute(6), 0), gapEntry("eth0", 6, 7, CauseAbsent), fileEntry(7, 10)}, nil, "5-6 lost with the interface, 6-7 interface absent 3"},
		"gap of all":     {[]Entry{fileEntry(0, 5), gapEntry("", 5, 10, CauseStopped)}, nil, "5-10 capd not running 3"},
		"another's gap":  {[]Entry{fileEntry(0, 10), gapEntry("eth1", 5, 10, CauseDown)}, nil, ""},
		"gap outside":    {[]Entry{fileEntry(0, 10), gapEntry("eth0", 10, 12, CauseDown)}, nil, ""},
		"open gap":       {[]Entry{fileEntry(0, 5), gapEntry("eth0", 5, 0, CauseDown)}, nil, "5-10 interface down 3"},
		"open, then not": {[]Entry{fileEntry(0, 5), gapEntry("eth0", 5, 0, CauseDown), gapEntry("eth0", 5, 7, CauseDown), fileEntry(7, 10)}, nil, "5-7 interface down 3"},
		"open, went on":  {[]Entry{fileEntry(0, 5), gapEntry("eth0", 5, 0, CauseDown), fileEntry(8, 10)}, nil, "5-8 interface down 3"},
		"drops":          {[]Entry{fileEntry(0, 5, drops), fileEntry(5, 10)}, nil, "0-5 dropped by the kernel 1, 0-5 dropped by capd 2, 0-5 dropped by the interface 4"},
		"drops outside":  {[]Entry{fileEntry(-5, 0, drops), fileEntry(0, 10), fileEntry(10, 12, drops)}, nil, ""},
		"partly outside": {[]Entry{fileEntry(-5, 12, drops)}, nil, "0-10 dropped by the kernel 1, 0-10 dropped by capd 2, 0-10 dropped by the interface 4"},
		"crash": {[]Entry{{Kind: KindStart, Time: minute(-1)}, fileEntry(0, 5, unclean), {Kind: KindStart, Time: minute(7).Add(900 * time.Millisecond)}, fileEntry(7, 10)}, nil,
			"0-5 not finished in order, 5-7 capd not running"},
		"late start":     {[]Entry{fileEntry(0, 5), {Kind: KindStart, Time: minute(7)}, fileEntry(8, 10)}, nil, "5-7 capd not running, 7-8 unknown"},
		"failed, mended": {[]Entry{fileEntry(0, 10, unclean), fileEntry(0, 10)}, nil, ""},
		"deleted":        {[]Entry{fileEntry(0, 5), fileEntry(5, 10), deleted}, []string{name(5, "")}, ""},
		"deleted, no line": {[]Entry{fileEntry(5, 10), fileEntry(0, 10, func(e *Entry) { e.Name = "other" }), deleted}, []string{name(5, ""), "other"},
			"0-0 not in the ledger, 0-10 file missing 10"},
		"deleted earlier": {[]Entry{fileEntry(0, 10), {Kind: KindDeleted, Name: name(-3, "")}}, []string{name(0, "")}, ""},
		"file missing":    {[]Entry{fileEntry(0, 5), fileEntry(5, 10)}, []string{name(5, ""), "foreign"}, "0-5 file missing 10"},
		"no packets":      {[]Entry{fileEntry(0, 10, func(e *Entry) { e.Packets = 0 })}, []string{}, ""},
		"damaged":         {[]Entry{fileEntry(0, 10)}, []string{name(0, store.DamagedExt)}, "0-10 file damaged"},
		"held":            {[]Entry{fileEntry(0, 10)}, []string{name(0, ".hold"), name(0, ""), name(0, ".idx")}, ""},
		"hold alone":      {[]Entry{fileEntry(0, 10)}, []string{name(0, ".hold")}, "0-10 file missing 10"},
		"unlisted":        {[]Entry{fileEntry(0, 5)}, []string{name(0, ""), name(5, ".gz"), name(8, store.Partial)}, "5-8 unknown, 5-5 not in the ledger, 8-10 being recorded"},
		"unlisted before": {[]Entry{fileEntry(0, 10)}, []string{name(0, ""), name(-3, "")}, ""},
		"being written":   {[]Entry{fileEntry(0, 5), {Kind: KindCheckpoint, Interface: "eth0", Name: name(5, ""), Begin: minute(5), End: minute(10)}}, []string{name(0, ""), name(5, store.Partial)}, ""},
		"clock forward":   {[]Entry{fileEntry(0, 5), {Kind: KindClock, Begin: minute(5), End: minute(8)}, fileEntry(8, 10)}, nil, ""},
		"clock back":      {[]Entry{fileEntry(0, 10), {Kind: KindClock, Begin: minute(10), End: minute(3)}, fileEntry(3, 12)}, nil, ""},
		"clock back within": {[]Entry{fileEntry(0, 5), fileEntry(5, 2, func(e *Entry) { e.Last = minute(7) }), fileEntry(2, 6), fileEntry(6, 10)}, nil,
			""},
		"lines lost":    {[]Entry{fileEntry(0, 10), {Kind: KindUnwritten, Time: minute(4), Lines: 7}}, nil, "4-4 ledger damaged"},
		"crashed":       {[]Entry{fileEntry(0, 10)}, []string{name(0, ""), name(9, store.Partial)}, "9-9 not finished in order"},
		"crashed early": {[]Entry{{Kind: KindStart, Time: minute(0)}}, []string{name(0, store.Partial)}, "0-10 unknown, 0-0 not finished in order"},
		"crashed, checkpoint": {[]Entry{fileEntry(0, 5), {Kind: KindCheckpoint, Interface: "eth0", Name: name(5, ""), Begin: minute(5), End: minute(10)}},
			[]string{name(0, ""), name(5, store.Partial)}, "5-10 not finished in order"},
		"recorded later":  {[]Entry{fileEntry(0, 10)}, []string{name(0, ""), name(10, store.Partial)}, ""},
		"ends while read": {[]Entry{fileEntry(0, 5)}, []string{name(0, ""), name(5, store.Partial), name(5, "")}, "5-10 being recorded"},
		"discarded":       {[]Entry{fileEntry(0, 10, func(e *Entry) { e.NICDiscarded = 7 })}, nil, ""},
		"snaplen":         {[]Entry{fileEntry(0, 10, func(e *Entry) { e.Truncated, e.Snaplen = 7, 96 })}, nil, ""},
		"oversized":       {[]Entry{fileEntry(0, 10, func(e *Entry) { e.Truncated, e.Oversized = 7, 5 })}, nil, "0-10 too large to be kept whole 5"},
		"XDP":             {[]Entry{fileEntry(0, 10), xdp(2, 0), xdp(2, 4), xdp(6, 8)}, nil, "2-4 " + string(CauseXDP) + ", 6-8 " + string(CauseXDP)},
		"XDP stays":       {[]Entry{xdp(2, 0), fileEntry(0, 10)}, nil, "2-10 " + string(CauseXDP)},
		"XDP replaced":    {[]Entry{xdp(2, 0), xdp(3, 0), fileEntry(0, 10)}, nil, "2-3 " + string(CauseXDP) + ", 3-10 " + string(CauseXDP)},
		"XDP, crash":      {[]Entry{xdp(2, 0), fileEntry(0, 10), {Kind: KindStart, Time: minute(5)}}, nil, "2-5 " + string(CauseXDP)},
		"XDP elsewhere":   {[]Entry{fileEntry(0, 10), xdp(12, 14)}, nil, ""},
		"unknown":         {[]Entry{fileEntry(0, 10), {Kind: "new", Interface: "eth0"}}, nil, ""},
	} {
		v, err := Judge(listed(c.entries...), Question{Interface: "eth0", Since: minute(0), Until: minute(10), Names: c.names, Live: !strings.HasPrefix(what, "crashed")})
		if err != nil || len(v) != 1 {
			t.Errorf("%s: %v, %v", what, v, err)
			continue
		}
		if got := tell(v[0]); got != c.want || v[0].Complete() != (c.want == "") {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

func TestJudgeTotals(t *testing.T) {
	entries := []Entry{
		fileEntry(0, 5), fileEntry(5, 10, func(e *Entry) { e.KernelDropped, e.Received = 2, 12 }), fileEntry(20, 25),
		{Kind: KindDeleted, Name: fileEntry(0, 5).Name, Limit: "age"},
		{Kind: KindFile, Interface: "eth1", Begin: minute(0), End: minute(5), Clean: true},
	}
	v, err := Judge(listed(entries...), Question{Until: minute(10)})
	if err != nil || len(v) != 2 || v[0].Interface != "eth0" || v[1].Interface != "eth1" {
		t.Fatalf("%+v, %v", v, err)
	}
	got := v[0]
	if !got.Since.Equal(minute(0)) || got.Files != 2 || got.Total.Packets != 20 || got.Total.Received != 22 || got.Lost() != 2 {
		t.Errorf("%+v", got)
	}
	d := got.Deleted
	if d.Files != 1 || d.Packets != 10 || !d.First.Equal(minute(0)) || !d.Last.Equal(minute(5)) || !slices.Equal(d.Limits, []string{"age"}) {
		t.Errorf("deleted %+v", d)
	}
	v, err = Judge(listed(entries...), Question{Interface: "eth0"})
	if err != nil || len(v) != 1 || !v[0].Until.Equal(minute(25)) || len(v[0].Missing) != 2 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestJudgeDamage(t *testing.T) {
	errs := []error{&LineError{File: FileName, Line: 3, Err: errors.New("x")}, &LineError{File: FileName, Line: 9, Torn: true}}
	seq := func(yield func(Entry, error) bool) {
		_ = yield(fileEntry(0, 5), nil) && yield(Entry{}, errs[0]) && yield(Entry{}, errs[1])
	}
	v, err := Judge(seq, Question{})
	if err != nil || len(v) != 1 || len(v[0].Missing) != 1 || v[0].Missing[0].Where != "ledger.jsonl:3" {
		t.Errorf("%+v, %v", v, err)
	}
	broken := errors.New("broken")
	errs[0] = broken
	if _, err := Judge(seq, Question{}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// Every second of the time is recorded or missing, never neither.
func TestJudgeAccountsForAll(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 3000 {
		var entries []Entry
		known := make([]bool, 60)
		for range r.IntN(12) {
			from := r.IntN(60) - 5
			to := from + 1 + r.IntN(15)
			e := fileEntry(from, to)
			e.Name = fmt.Sprint(len(entries))
			if r.IntN(3) == 0 {
				e = gapEntry([]string{"", "eth0"}[r.IntN(2)], from, to, CauseDown)
				e.End = minute(to)
			}
			for i := max(from, 0); i < min(to, 60); i++ {
				known[i] = true
			}
			entries = append(entries, e)
		}
		entries = append(entries, Entry{Kind: KindStart, Time: minute(r.IntN(60))})
		v, _ := Judge(listed(entries...), Question{Interface: "eth0", Since: minute(0), Until: minute(60)})
		for i, ok := range known {
			at := minute(i).Add(time.Second)
			silent := slices.ContainsFunc(v[0].Missing, func(m Missing) bool {
				return (m.Cause == CauseUnknown || m.Cause == CauseStopped) && !at.Before(m.Begin) && at.Before(m.End)
			})
			if silent == ok {
				t.Fatalf("minute %d: known %v; %s", i, ok, tell(v[0]))
			}
		}
	}
}

// A ledger of 100,000 files is judged in well under a second.
func BenchmarkJudge(b *testing.B) {
	dir := b.TempDir()
	var text []byte
	names := []string{}
	for i := range 100_000 {
		e := fileEntry(i, i+1, func(e *Entry) {
			e.First, e.Last = e.Begin.Add(123456), e.End.Add(-987654)
			e.Packets, e.Bytes, e.Size, e.Received = 1234567, 123456789, 1234567890, 1234567
		})
		names = append(names, e.Name)
		text = e.AppendLine(text, noon)
	}
	if err := os.WriteFile(filepath.Join(dir, FileName), text, 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		v, err := Judge(Read(dir, nil), Question{Names: names})
		if err != nil || len(v) != 1 || !v[0].Complete() || v[0].Files != 100_000 {
			b.Fatalf("%v", err)
		}
	}
}

// TestOutcome: what is not known is neither complete nor incomplete.
func TestOutcome(t *testing.T) {
	partial := fileEntry(5, 5).Name + store.Partial
	for what, c := range map[string]struct {
		entries []Entry
		q       Question
		want    Outcome
	}{
		"complete":        {[]Entry{fileEntry(0, 5)}, Question{}, Complete},
		"so far":          {[]Entry{fileEntry(0, 5)}, Question{Names: []string{fileEntry(0, 5).Name, partial}, Live: true}, Complete},
		"first file":      {nil, Question{Names: []string{partial}, Live: true}, Unknown},
		"first, crashed":  {nil, Question{Names: []string{partial}}, Incomplete},
		"of now":          {[]Entry{fileEntry(0, 5)}, Question{Names: []string{fileEntry(0, 5).Name, partial}, Live: true, Until: minute(9)}, Unknown},
		"of now, crashed": {[]Entry{fileEntry(0, 5)}, Question{Names: []string{fileEntry(0, 5).Name, partial}, Until: minute(9)}, Incomplete},
		"nobody":          {nil, Question{Interface: "eth0", Names: []string{}}, Unknown},
		"loss":            {[]Entry{fileEntry(0, 5, func(e *Entry) { e.KernelDropped = 1 })}, Question{Names: []string{fileEntry(0, 5).Name, partial}, Live: true}, Incomplete},
	} {
		v, err := Judge(listed(c.entries...), c.q)
		if err != nil || len(v) != 1 || v[0].Outcome() != c.want {
			t.Errorf("%s: %+v, %v, want %v", what, v, err, c.want)
		}
	}
}

// TestVerdictsAlone: without lines an answer has the same verdicts, and the ledger is read once.
func TestVerdictsAlone(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	gap := GapClosed(GapOpened("eth0", time.Unix(1000, 0), CauseDown), time.Unix(2000, 0), 0)
	if err := errors.Join(l.Append(gap, Quiet("eth0", time.Unix(2000, 0), time.Unix(3000, 0), Drops{Kernel: 3})), l.Close()); err != nil {
		t.Fatal(err)
	}
	size := func(o ReadOptions) (a *Answer, expected int64, read int) {
		o.Begin, o.Read = func(n int64) { expected += n }, func(n int) { read += n }
		if a, err = Ask(dir, Question{}, o); err != nil {
			t.Fatal(err)
		}
		return a, expected, read
	}
	whole, expected, read := size(ReadOptions{})
	alone, half, once := size(ReadOptions{NoLines: true})
	if len(whole.Lines) != 2 || len(alone.Lines) != 0 || len(alone.Verdicts) != 1 || !reflect.DeepEqual(whole.Verdicts, alone.Verdicts) || alone.Complete == nil || *alone.Complete {
		t.Errorf("%+v, want %+v", alone, whole)
	}
	if expected != int64(read) || half != int64(once) || read != 2*once || once == 0 {
		t.Errorf("%d of %d bytes, alone %d of %d", read, expected, once, half)
	}
}
