package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// nth names the file of the n-th minute.
func nth(n int) store.Name {
	return store.Name{Interface: "eth0", Start: noon.Add(time.Duration(n) * time.Minute), Sequence: uint64(n), Format: pcap.PCAPNG}
}

// line is the ledger's line for a file of one minute.
func line(n store.Name, packets uint64) ledger.Entry {
	f := writer.File{Name: n, LinkType: pcap.LinkTypeEthernet, Begin: n.Start, End: n.Start.Add(time.Minute), Size: 1000, Reason: ledger.ReasonInterval}
	f.Packets = packets
	return f.Entry()
}

// directory makes a directory of files and of lines of the ledger.
func directory(t *testing.T, files []string, lines ...ledger.Entry) string {
	t.Helper()
	dir := t.TempDir()
	for _, s := range files {
		touch(t, dir, s)
	}
	ledger, err := ledger.Open(dir, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	if err := ledger.Append(lines...); err != nil {
		t.Fatal(err)
	}
	return dir
}

// spell spells a listing: the minute, the state and the size of each file.
func spell(l *Listing) string {
	var all []string
	for _, f := range l.Files {
		s := fmt.Sprintf("%g %s %d", f.Begin.Sub(noon).Minutes(), f.State, f.Size)
		if f.Held {
			s += " held"
		}
		if f.Contents != nil {
			s += fmt.Sprintf(" %d", f.Packets)
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ") + strings.Repeat(", missing", l.Missing) + strings.Repeat(", broken", l.Broken)
}

func TestRead(t *testing.T) {
	a, b := nth(1).String(), nth(2).String()
	// A time after the test marks lines that are written while the directory is
	// read.
	later := time.Now().Add(time.Hour)
	deleted := ledger.Entry{Kind: ledger.KindDeleted, Name: a}
	packed := ledger.Entry{Kind: ledger.KindCompressed, Name: a, Into: "/captures/" + a + ".zst", Tally: ledger.Tally{Size: 50}}
	unclean := line(nth(1), 5)
	unclean.Clean = false
	at := func(e ledger.Entry) ledger.Entry { e.Time = later; return e }
	for what, c := range map[string]struct {
		files []string
		lines []ledger.Entry
		want  string
	}{
		"nothing":              {nil, nil, ""},
		"files":                {[]string{b, a}, []ledger.Entry{line(nth(2), 3), line(nth(1), 5)}, "1 finished 1000 5, 2 finished 1000 3"},
		"no line":              {[]string{a, b}, []ledger.Entry{line(nth(2), 3)}, "1 finished 1, 2 finished 1000 3"},
		"deleted":              {[]string{b}, []ledger.Entry{line(nth(1), 5), line(nth(2), 3), deleted}, "2 finished 1000 3"},
		"deleted, and back":    {[]string{a}, []ledger.Entry{line(nth(1), 5), deleted}, "1 finished 1000 5"},
		"deleted meanwhile":    {[]string{a}, []ledger.Entry{line(nth(1), 5), at(deleted)}, ""},
		"removed by hand":      {[]string{b}, []ledger.Entry{line(nth(1), 5), line(nth(2), 3)}, "2 finished 1000 3, missing"},
		"was never a file":     {nil, []ledger.Entry{line(nth(1), 0)}, ""},
		"finished meanwhile":   {nil, []ledger.Entry{at(line(nth(1), 5))}, ""},
		"compressed":           {[]string{a + ".zst"}, []ledger.Entry{line(nth(1), 5), packed}, "1 compressed 50 5"},
		"by hand":              {[]string{a + ".gz"}, []ledger.Entry{line(nth(1), 5)}, "1 compressed 1 5"},
		"compressed meanwhile": {[]string{a}, []ledger.Entry{line(nth(1), 5), at(packed)}, "1 compressed 50 5"},
		"being compressed":     {[]string{a + ".zst", a, a + ".zst.tmp"}, []ledger.Entry{line(nth(1), 5)}, "1 finished 1000 5"},
		"held":                 {[]string{a, a + ".hold", b + ".gz", b + ".gz.hold"}, nil, "1 finished 1 held, 2 compressed 1 held"},
		"held while written":   {[]string{a + ".partial", a + ".hold"}, nil, "1 unfinished 1 held"},
		"hold alone":           {[]string{a + ".hold"}, nil, ""},
		"left behind":          {[]string{a + ".partial"}, nil, "1 unfinished 1"},
		"failed":               {[]string{a + ".partial"}, []ledger.Entry{unclean}, "1 unfinished 1 5"},
		"became finished":      {[]string{a + ".partial"}, []ledger.Entry{line(nth(1), 5)}, "1 finished 1000 5"},
		"damaged":              {[]string{a + ".damaged"}, []ledger.Entry{unclean}, "1 damaged 1 5"},
		"mended":               {[]string{a}, []ledger.Entry{line(nth(1), 7), unclean}, "1 finished 1000 5"},
		"foreign":              {[]string{"a.pcap", "eth0-20260102T120000Z-1.pcap", a + ".deleting", a + ".partial.gz.hold", "x\n\x1b[2J"}, nil, ""},
	} {
		l, err := Read(directory(t, c.files, c.lines...), Query{})
		if err != nil || spell(l) != c.want {
			t.Errorf("%s: %q, %v, want %q", what, spell(l), err, c.want)
		}
	}
}

// TestReadInUse: a file that a recorder writes now is recording, and one that a
// recorder left behind is unfinished.
func TestReadInUse(t *testing.T) {
	a := nth(1).String()
	unclean := line(nth(1), 5)
	unclean.Clean = false
	checkpoint := ledger.Entry{Kind: ledger.KindCheckpoint, Name: nth(2).String(), Interface: "eth0", Begin: noon, End: noon.Add(time.Hour)}
	dir := directory(t, []string{a + ".partial", nth(2).String() + ".partial"}, unclean, checkpoint)
	for _, want := range []string{"1 unfinished 1 5, 2 recording 1", "1 unfinished 1 5, 2 unfinished 1"} {
		lock, err := store.LockDirectory(dir)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(want, "unfinished 1,") || !strings.Contains(want, "recording") {
			lock.Release()
		}
		l, err := Read(dir, Query{})
		if err != nil || spell(l) != want {
			t.Errorf("%q, %v, want %q", spell(l), err, want)
		}
		if l.Files[1].State == Recording && !l.Files[1].End.Equal(checkpoint.End) {
			t.Errorf("up to %v", l.Files[1].End)
		}
		lock.Release()
	}
}

// TestReadBrokenLedger: lines that can't be parsed are counted and the others
// still used. A torn last line is being written and does not count.
func TestReadBrokenLedger(t *testing.T) {
	dir := directory(t, []string{nth(1).String(), nth(2).String()}, line(nth(1), 5))
	h, err := os.OpenFile(filepath.Join(dir, ledger.FileName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(h, "nonsense\n{\"v\":1,\"kind\":\"fi")
	h.Close()
	if l, err := Read(dir, Query{}); err != nil || spell(l) != "1 finished 1000 5, 2 finished 1, broken" {
		t.Errorf("%q, %v", spell(l), err)
	}
}

// TestReadOrder: files are ordered by time first, whatever their interfaces,
// lanes and numbers are.
func TestReadOrder(t *testing.T) {
	var names []string
	for _, iface := range []string{"eth1", "eth0"} {
		for lane := range 3 {
			n := nth(1)
			n.Interface, n.Lane = iface, lane
			names = append(names, n.String())
		}
	}
	n := nth(0)
	n.Sequence, n.Interface = 99, "zz"
	l, err := Read(directory(t, append(names, n.String())), Query{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range l.Files {
		got = append(got, f.Name)
	}
	slices.Sort(names)
	if want := append([]string{n.String()}, names[2], names[0], names[1], names[5], names[3], names[4]); !slices.Equal(got, want) {
		t.Errorf("%q,\nwant %q", got, want)
	}
}

// TestReadLinks: anything but a regular file is not listed.
func TestReadLinks(t *testing.T) {
	dir := directory(t, []string{"target"})
	if err := os.Symlink("target", filepath.Join(dir, nth(1).String())); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, nth(2).String()), 0o700); err != nil {
		t.Fatal(err)
	}
	if l, err := Read(dir, Query{}); err != nil || len(l.Files) != 0 {
		t.Errorf("%q, %v", spell(l), err)
	}
}

// TestReadRenamed: a file that goes on to another state while its directory is read is in the listing, with its size.
func TestReadRenamed(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{store.Partial, "", "1 recording 3"},
		{store.Partial, ".zst", "1 recording 3"},
		{store.Partial, store.DamagedExt, "1 recording 3"},
		{"", ".gz", "1 compressed 3"},
		{store.Partial, ".deleting", ""},
	} {
		dir, name := directory(t, nil), nth(1).String()
		lock, err := store.LockDirectory(dir) // a recorder's
		if err != nil {
			t.Fatal(err)
		}
		before := filepath.Join(dir, name+c.from)
		if err := os.WriteFile(before, []byte("abc"), 0o600); err != nil {
			t.Fatal(err)
		}
		rename := func(int64) {
			if err := os.Rename(before, filepath.Join(dir, name+c.to)); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Read(dir, Query{Ledger: ledger.ReadOptions{Begin: rename}})
		if err != nil {
			t.Fatal(err)
		}
		if got := spell(l); got != c.want {
			t.Errorf("%s to %s: %q, want %q", c.from, c.to, got, c.want)
		}
		_ = lock.Release()
	}
}
