package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"capd/pcap"
	"capd/store"
)

// sampleEntry has every field set, or a random part of them.
func sampleEntry(r *rand.Rand) Entry {
	e := Entry{
		Version: 1, Kind: KindFile, Time: noon, Name: "eth0-20260102T120000Z-000001.pcap", Interface: "eth0",
		Link: "ETHERNET", Filter: "tcp", Snaplen: 20, Clock: "system", Begin: noon, End: noon.Add(time.Minute), First: noon.Add(1), Last: noon.Add(2e9),
		Tally:  Tally{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18, 19},
		Reason: ReasonInterval, Clean: true, Cause: CauseDown, Frames: 13, Program: "p", Limit: "bytes", Step: "hook", Cut: 14, Why: "torn", Into: "x.zst",
		Exit: -1, Offset: 15, Lines: 16, Software: "1.0", Boot: "b", Config: "c", PID: 17, UID: 20, User: "u", Sudo: "s", Question: "q", Case: "c", Note: "n", Files: 21, Root: "r", Signed: "g", Frontier: "f",
	}
	if r == nil {
		return e
	}
	if r.IntN(2) == 0 {
		e.Tally = Tally{Packets: r.Uint64()}
	}
	if r.IntN(2) == 0 {
		e.Begin, e.Clean, e.Offset = time.Time{}, false, 0
	}
	e.Name = [...]string{"", "a\"b", "ü\n", e.Name}[r.IntN(4)]
	return e
}

func TestEntryRoundTrip(t *testing.T) {
	sample := sampleEntry(nil)
	for i := range fields {
		if f := &fields[i]; reflect.ValueOf(f.in(&sample)).Elem().IsZero() {
			t.Errorf("the sample has no %s", f.key)
		}
	}
	line := sampleEntry(nil).AppendLine(nil, noon)
	d := newDecoder()
	if !d.decodeWritten(bytes.TrimSpace(line)) || d.entry != sampleEntry(nil) {
		t.Errorf("%s: %+v", line, d.entry)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		e := sampleEntry(r)
		line := e.AppendLine(nil, noon)
		err := d.decode(bytes.TrimSpace(line))
		if got := d.entry; err != nil || got != e || bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("%s: %v, %+v", line, err, d.entry)
		}
	}
	hostile := Entry{Kind: KindSalvaged, Why: strings.Repeat("\x00\xff\"", 1e5), Begin: time.Unix(1<<55, 0), End: time.Unix(-1<<55, 0)}
	if line := hostile.AppendLine(nil, noon); len(line) > maxLine || !json.Valid(line) {
		t.Errorf("%d bytes", len(line))
	}
}

// TestTallyAdd: no counter is left out of sums.
func TestTallyAdd(t *testing.T) {
	one := sampleEntry(nil).Tally
	sum := one
	sum.add(&one)
	for i := range reflect.TypeFor[Tally]().NumField() {
		a, b := reflect.ValueOf(one).Field(i).Uint(), reflect.ValueOf(sum).Field(i).Uint()
		if a == 0 || b != 2*a {
			t.Errorf("%s: %d and %d are %d", reflect.TypeFor[Tally]().Field(i).Name, a, a, b)
		}
	}
}

// FuzzDecode: a line that decodeWritten accepts means to encoding/json what it
// means to decodeWritten, whatever the decoder decoded before.
func FuzzDecode(f *testing.F) {
	f.Add(sampleEntry(nil).AppendLine(nil, noon))
	f.Add([]byte(`{"v":1,"kind":"gap","time":"2026-01-02T12:00:00Z","cut":-5,"clean":false}`))
	f.Add([]byte(`{"v":1,"kind":"file","kind":"gap","time":"2026-01-02T12:00:00Z","exit_code":-0,"cut":1e3}`))
	for _, e := range constructed() {
		f.Add(e.AppendLine(nil, noon))
		f.Add(bytes.TrimSpace(e.AppendLine(nil, noon)))
	}
	f.Add([]byte(`{"v":2,"kind":"x","new":{"a":[1]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newDecoder()
		if err := d.decode(bytes.TrimSpace(sampleEntry(nil).AppendLine(nil, noon))); err != nil {
			t.Fatal(err)
		}
		_ = d.decode(b)
		var slow Entry
		if !d.decodeWritten(b) {
			return
		}
		if err := json.Unmarshal(b, &slow); err != nil || d.entry != slow {
			t.Fatalf("%q: %+v, but %+v, %v", b, d.entry, slow, err)
		}
	})
}

func openTest(t *testing.T, dir string, opt Options) *Ledger {
	t.Helper()
	l, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// pids returns the PIDs of all entries, and the errors met.
func pids(dir string) (all []int, errs []error) {
	for e, err := range Read(dir, func(e *Entry) bool { return e.PID != 0 }) {
		if err != nil {
			errs = append(errs, err)
		} else {
			all = append(all, e.PID)
		}
	}
	return all, errs
}

func wantPIDs(t *testing.T, dir string, from, to int) {
	t.Helper()
	got, errs := pids(dir)
	var want []int
	for i := from; i <= to; i++ {
		want = append(want, i)
	}
	if !slices.Equal(got, want) || len(errs) > 0 {
		t.Fatalf("entries %v, %v; want %d to %d", got, errs, from, to)
	}
}

func TestLedgerRotates(t *testing.T) {
	dir := t.TempDir()
	for i := 1; i <= 300; i += 100 {
		l := openTest(t, dir, Options{RotateSize: 2000})
		for j := range 100 {
			if err := l.Append(Entry{Kind: KindStart, PID: i + j}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Append(Entry{}); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("append after close: %v", err)
		}
	}
	wantPIDs(t, dir, 1, 300)
	names, err := listNames(dir)
	old := oldNames(names)
	if err != nil || len(old) < 8 || old[0] != "ledger-000001.jsonl" {
		t.Errorf("old ledgers %v, %v", old, err)
	}
}

func TestLedgerConcurrent(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, Options{RotateSize: 5000, Sync: true})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 50 {
				if err := l.Append(Entry{Kind: KindStart, PID: 1 + i}, Entry{Kind: KindStop, Lines: uint64(j)}); err != nil {
					t.Error(err)
				}
				pids(dir) // while it grows and rotates
			}
		})
	}
	wg.Wait()
	if got, errs := pids(dir); len(got) != 200 || len(errs) > 0 {
		t.Errorf("%d entries, %v", len(got), errs)
	}
}

// Whatever byte a crash cut the ledger at, and with zeros behind it: it is
// repaired, and no whole line is lost.
func TestLedgerRepair(t *testing.T) {
	var whole []byte
	for i := range 3 {
		whole = Entry{Kind: KindStart, PID: i + 1}.AppendLine(whole, noon)
	}
	for cut := range len(whole) + 1 {
		for _, zeros := range []int{0, 1, 200_000} {
			if zeros > 1 && cut%17 != 0 {
				continue
			}
			dir := t.TempDir()
			path := filepath.Join(dir, FileName)
			torn := append(slices.Clone(whole[:cut]), make([]byte, zeros)...)
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			lines := bytes.Count(torn, []byte("\n"))
			if cut < len(whole) && whole[cut] == '\n' && zeros == 0 {
				lines++ // nothing but its end was missing
			}
			l := openTest(t, dir, Options{})
			if err := l.Append(Entry{Kind: KindStop, PID: lines + 1}); err != nil {
				t.Fatal(err)
			}
			l.Close()
			wantPIDs(t, dir, 1, lines+1)
			noted := false
			for e := range Read(dir, nil) {
				noted = noted || e.Kind == KindSalvaged && e.Name == FileName
			}
			if want := len(torn) > 0 && torn[len(torn)-1] != '\n'; noted != want {
				t.Fatalf("cut at %d, %d zeros: noted %v, want %v", cut, zeros, noted, want)
			}
		}
	}
}

func TestLedgerRefusesLink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/null", filepath.Join(dir, FileName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a link was opened")
	}
}

// A fullDisk takes a number of bytes and then no more.
type fullDisk struct {
	*os.File
	room *int
}

func (d fullDisk) Write(b []byte) (int, error) {
	n, err := d.File.Write(b[:min(len(b), *d.room)])
	*d.room -= n
	if err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

// TestLedgerOnFullDisk: lines wait while the disk is full, wherever in a line
// it got full, and are written by themselves when it no longer is.
func TestLedgerOnFullDisk(t *testing.T) {
	for room := range 120 {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			left := room
			l, err := open(dir, Options{}, func(path string, mode fs.FileMode) (file, error) {
				f, err := openFile(path, mode)
				if err != nil {
					return nil, err
				}
				return fullDisk{f.(*os.File), &left}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				err = l.Append(Entry{Kind: KindStart, PID: i + 1})
			}
			if !errors.Is(err, syscall.ENOSPC) || l.Pending() == 0 {
				t.Fatalf("append: %v, %d bytes wait", err, l.Pending())
			}
			l.mu.Lock()
			left = 30
			l.mu.Unlock()
			time.Sleep(time.Minute)
			l.mu.Lock()
			left = 1e6
			l.mu.Unlock()
			time.Sleep(time.Minute)
			synctest.Wait()
			if l.Pending() != 0 {
				t.Fatalf("%d bytes wait", l.Pending())
			}
			wantPIDs(t, dir, 1, 10)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOpenLedgerOnFullDisk: a full disk is no reason not to start, whatever the
// last line lacks.
func TestOpenLedgerOnFullDisk(t *testing.T) {
	line := Entry{Kind: KindStart, PID: 1}.AppendLine(nil, noon)
	for _, lack := range []int{0, 1, 2} {
		dir, left := t.TempDir(), 0
		if err := os.WriteFile(filepath.Join(dir, FileName), append(line[:len(line):len(line)], line[:len(line)-lack]...), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := open(dir, Options{}, func(path string, mode fs.FileMode) (file, error) {
			f, err := openFile(path, mode)
			return fullDisk{f.(*os.File), &left}, err
		})
		if err != nil {
			t.Fatal(err)
		}
		l.mu.Lock() // the timer may be at it
		left = 1e6
		l.mu.Unlock()
		if err := l.Append(Entry{Kind: KindStart, PID: 2}); err != nil {
			t.Fatal(err)
		}
		l.Close()
		want := []int{1, 1, 2}
		if lack == 2 {
			want = []int{1, 2}
		}
		if got, errs := pids(dir); !slices.Equal(got, want) || len(errs) > 0 {
			t.Errorf("without %d bytes: %v, %v", lack, got, errs)
		}
	}
}

// TestLedgerOverflow: lines that wait take bounded memory, and lost lines are counted in a line.
func TestLedgerOverflow(t *testing.T) {
	dir := t.TempDir()
	left := 0
	l, err := open(dir, Options{Pending: 1000}, func(path string, mode fs.FileMode) (file, error) {
		f, err := openFile(path, mode)
		if err != nil {
			return nil, err
		}
		return fullDisk{f.(*os.File), &left}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := l.Append(Entry{Kind: KindStart, PID: i + 1}); err == nil {
			t.Fatal("the disk was full")
		}
	}
	if l.Pending() > 1000 {
		t.Errorf("%d bytes wait", l.Pending())
	}
	l.mu.Lock() // the timer may be at it
	left = 1e6
	l.mu.Unlock()
	if err := l.Append(Entry{Kind: KindStart, PID: 101}); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(Entry{Kind: KindStart, PID: 102}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	var lines, kept uint64
	var last Entry
	for e, err := range Read(dir, nil) {
		if err != nil {
			t.Fatal(err)
		}
		lines += e.Lines
		if e.Kind == KindStart {
			kept++
		}
		last = e
	}
	if lines+kept != 102 || lines == 0 || last.PID != 102 {
		t.Errorf("%d lines lost, %d kept, last %+v", lines, kept, last)
	}
}

// TestLedgerReplaced: a ledger that was removed is made again.
func TestLedgerReplaced(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, Options{})
	if err := l.Append(Entry{Kind: KindStart, PID: 9}); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, FileName))
	if err := l.Append(Entry{Kind: KindStart, PID: 1}); err != nil {
		t.Fatal(err)
	}
	wantPIDs(t, dir, 1, 1)
}

// TestLedgerElsewhere: while another directory, or none, is at the path, lines go
// to the ledger that is open, and none to the other directory.
func TestLedgerElsewhere(t *testing.T) {
	top := t.TempDir()
	dir, away := filepath.Join(top, "dir"), filepath.Join(top, "away")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := store.LockDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	l := openTest(t, dir, Options{Here: lock.Here, RotateSize: 1})
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	add := func(pid int) {
		t.Helper()
		if err := l.Append(Entry{Kind: KindStart, PID: pid}); err != nil {
			t.Fatal(err)
		}
	}
	add(1)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	add(2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantPIDs(t, away, 1, 2)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the other directory has %v, %v", entries, err)
	}
}

// TestReadLedgerDamage: a damaged line is an error, and the lines around it are read.
func TestReadLedgerDamage(t *testing.T) {
	dir := t.TempDir()
	line := func(pid int) string { return string(Entry{Kind: KindStart, PID: pid}.AppendLine(nil, noon)) }
	text := line(1) + "garbage\n" + line(2) + strings.Repeat("x", 3*maxLine) + "\n" + line(3) +
		`{"v":7,"kind":"file","pid":8}` + "\n" + `{ "v":1, "kind":"new", "pid":4, "unknown":{"a":1} }` + "\n" + line(5) + `{"v":1,"ki`
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, errs := pids(dir)
	if !slices.Equal(got, []int{1, 2, 3, 4, 5}) {
		t.Errorf("entries %v", got)
	}
	var lines []string
	for _, err := range errs {
		var damage *LineError
		if !errors.As(err, &damage) {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprint(damage.File, damage.Line, damage.Torn))
	}
	want := []string{"ledger.jsonl2 false", "ledger.jsonl4 false", "ledger.jsonl6 false", "ledger.jsonl9 true"}
	if fmt.Sprint(lines) != fmt.Sprint(want) {
		t.Errorf("errors %v, want %v", lines, want)
	}
	if got, errs := pids(t.TempDir()); len(got)+len(errs) > 0 {
		t.Errorf("without a ledger: %v, %v", got, errs)
	}
	if _, errs := pids(filepath.Join(dir, "no")); len(errs) != 1 {
		t.Errorf("without a directory: %v", errs)
	}
}

func FuzzReadLedger(f *testing.F) {
	f.Add([]byte("{}\n{\"v\":1}\n\n"), 1)
	f.Add(sampleEntry(nil).AppendLine(nil, noon), 0)
	f.Fuzz(func(t *testing.T, b []byte, _ int) {
		lines := 0
		readFile(bytes.NewReader(b), FileName, nil, func(e Entry, err error) bool { lines++; return true })
		want := 0
		for line := range bytes.Lines(b) {
			if len(line) != 1 || line[0] != '\n' {
				want++
			}
		}
		if lines != want {
			t.Fatalf("%d lines, want %d", lines, want)
		}
	})
}

// TestSpent: a ledger is needed while a file exists that it has lines of, and so
// are all later ones.
func TestSpent(t *testing.T) {
	spans := []span{
		{"ledger-000001.jsonl", map[store.Lane]uint64{{Interface: "eth0", Number: 0}: 10, {Interface: "eth1", Number: 0}: 5}},
		{"ledger-000002.jsonl", map[store.Lane]uint64{}},
		{"ledger-000003.jsonl", map[store.Lane]uint64{{Interface: "eth0", Number: 0}: 20}},
		{"ledger-000004.jsonl", map[store.Lane]uint64{{Interface: "eth0", Number: 0}: 25, {Interface: "eth1", Number: 0}: 9}},
	}
	file := func(iface string, seq uint64, state string) string {
		return store.Name{Interface: iface, Start: noon, Sequence: seq, Lane: 0, Format: pcap.PCAP}.String() + state
	}
	for _, c := range []struct {
		names []string
		want  int
	}{
		{nil, 4},
		{[]string{"foreign.pcap", file("eth2", 1, "")}, 4},
		{[]string{file("eth0", 30, ""), file("eth1", 6, "")}, 3},
		{[]string{file("eth0", 11, ".zst")}, 2},
		{[]string{file("eth1", 5, ".partial")}, 0},
		{[]string{file("eth0", 20, store.DamagedExt), file("eth0", 40, "")}, 2},
		{[]string{file("eth0", 3, ".hold"), file("eth0", 40, "")}, 0},
	} {
		dir := t.TempDir()
		for _, s := range c.names {
			if err := os.WriteFile(filepath.Join(dir, s), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := spent(spans, d.First()); len(got) != c.want {
			t.Errorf("%v: %v, want %d", c.names, got, c.want)
		}
	}
}
