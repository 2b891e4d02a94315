package retain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"capd/ledger"
	"capd/store"
)

func put(t testing.TB, dir, name string, size int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
}

func listNames(t testing.TB, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// reports collects the deletions that a Keeper reports.
type reports struct {
	mu   sync.Mutex
	all  []Deletion
	errs []error
}

func (l *reports) add(d Deletion, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.errs = append(l.errs, err)
	} else {
		l.all = append(l.all, d)
	}
}

func (l *reports) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sequences(l.all)
}

func newKeeper(t testing.TB, dir string, opt Options) *Keeper {
	t.Helper()
	var err error
	if opt.Directory, err = store.Open(dir); err != nil {
		t.Fatal(err)
	}
	return New(opt)
}

// keep runs a Keeper in a synctest bubble while f acts on it.
func keep(t *testing.T, dir string, opt Options, f func(k *Keeper, l *reports)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &reports{}
		opt.Deleted = l.add
		k := newKeeper(t, dir, opt)
		ctx, cancel := context.WithCancel(t.Context())
		var tasks sync.WaitGroup
		tasks.Go(func() { k.Run(ctx) })
		tasks.Go(func() { k.dir.Follow(ctx, 0, slog.New(slog.DiscardHandler)) })
		synctest.Wait()
		f(k, l)
		cancel()
		tasks.Wait()
	})
}

// at returns a name with the bubble's present time.
func at(iface string, seq int) store.Name { return nameOf(iface, seq, time.Now().UTC()) }

func TestKeeper(t *testing.T) {
	dir := t.TempDir()
	keep(t, dir, Options{Policy: directory(Limits{Bytes: 1000})}, func(k *Keeper, l *reports) {
		for i := range 20 {
			n := at("eth0", i+1)
			put(t, dir, n.String(), 100)
			k.dir.Add(n, 100)
			synctest.Wait()
			time.Sleep(time.Minute)
		}
		if got := listNames(t, dir); len(got) != 10 || !strings.HasSuffix(got[0], "-000011.pcap") {
			t.Errorf("left: %v", got)
		}
		if s := k.Stats(); s.Files != 10 || s.Bytes != 1000 || s.Deleted != 10 || s.DeletedBytes != 1000 || s.Failures != 0 {
			t.Errorf("%+v", s)
		}
		if f := k.Forecast(); len(f) != 1 || (f[0].Reach-10*time.Minute).Abs() > time.Minute || f[0].Limit != ByBytes {
			t.Errorf("%+v", f)
		}
		if len(l.all) != 10 || l.all[9].Name.Sequence != 10 {
			t.Errorf("reported %v", l)
		}
		if e := l.all[0].Entry(); e.Kind != ledger.KindDeleted || e.Name != l.all[0].Name.String() || e.Limit != "bytes" || e.Size != 100 {
			t.Errorf("line %+v", e)
		}
	})
}

// TestKeeperLeavesAlone: only finished capture files are deleted, whatever the limits are.
func TestKeeperLeavesAlone(t *testing.T) {
	dir := t.TempDir()
	n := func(seq int) string { return nameOf("eth0", seq, noon).String() }
	outside := t.TempDir()
	put(t, outside, "target", 10)
	link := func(name string) {
		if err := os.Symlink(filepath.Join(outside, "target"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{
		"foreign.pcap", "eth0.pcap", n(1) + ".partial", n(2) + ".damaged", n(3), n(3) + ".hold", n(4) + ".zst", n(4) + ".zst.hold",
		n(5) + ".bak", "ledger.jsonl", "x.deleting", n(7) + ".zst.partial",
	} {
		put(t, dir, name, 100)
	}
	link(n(8))
	link(n(9) + ".deleting")
	if err := os.Mkdir(filepath.Join(dir, n(10)), 0o700); err != nil {
		t.Fatal(err)
	}
	before := listNames(t, dir)
	put(t, dir, n(20), 100)
	put(t, dir, n(21)+".gz", 100)
	put(t, dir, n(22), 100) // being compressed
	put(t, dir, n(22)+".zst", 50)
	if err := os.Link(filepath.Join(outside, "target"), filepath.Join(dir, n(23))); err != nil {
		t.Fatal(err)
	}
	// A file is replaced by a symbolic link after it was listed.
	put(t, dir, n(24), 100)
	keep(t, dir, Options{Policy: directory(Limits{Bytes: 1, Age: 1}), Step: 5}, func(k *Keeper, l *reports) {
		time.Sleep(time.Hour)
		synctest.Wait()
		if after := listNames(t, dir); !slices.Equal(before, after) {
			t.Errorf("left:\n%s\nwant:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
		}
		want := []int64{100, 100, 150, 10, 100}
		for i, d := range l.all {
			if d.Size != want[i] {
				t.Errorf("%v: reported %d bytes, want %d", d.Name, d.Size, want[i])
			}
		}
		if len(l.all) != len(want) || len(l.errs) != 0 {
			t.Errorf("reported %v, %v", l, l.errs)
		}
	})
	if info, err := os.Stat(filepath.Join(outside, "target")); err != nil || info.Size() != 10 {
		t.Errorf("what another name leads to was touched: %v", err)
	}
}

// TestKeeperLateCompanion: a table that is made while its file is deleted does not stay.
func TestKeeperLateCompanion(t *testing.T) {
	dir := t.TempDir()
	name := nameOf("eth0", 1, noon).String()
	put(t, dir, name, 1000)
	keep(t, dir, Options{Policy: directory(Limits{Bytes: 10}), Step: 50}, func(_ *Keeper, _ *reports) {
		synctest.Wait()
		if _, err := os.Lstat(filepath.Join(dir, name+".deleting")); err != nil {
			t.Fatal(err)
		}
		put(t, dir, name+store.Flows.Ext(), 10)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := listNames(t, dir); len(got) != 0 {
			t.Errorf("%q", got)
		}
	})
}

// TestKeeperCompanions: the table of a file goes with it, counts with it, and stays with it; those of others stay.
func TestKeeperCompanions(t *testing.T) {
	dir := t.TempDir()
	n := func(seq int) string { return nameOf("eth0", seq, noon).String() }
	table := store.Flows.Ext()
	for _, name := range []string{
		n(1), n(1) + table, n(2) + ".zst", n(2) + table, n(3) + ".gz", n(3) + ".gz.hold", n(3) + table, n(4), n(4) + table,
		"foreign.pcap", "foreign.pcap" + table,
	} {
		put(t, dir, name, 100)
	}
	put(t, dir, n(5)+table+".deleting", 100) // an earlier run was interrupted
	keep(t, dir, Options{Policy: directory(Limits{Bytes: 450}), Step: 50}, func(_ *Keeper, l *reports) {
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []string{n(3) + ".gz", n(3) + table, n(3) + ".gz.hold", n(4), n(4) + table, "foreign.pcap", "foreign.pcap" + table}
		slices.Sort(want)
		if got := listNames(t, dir); !slices.Equal(got, want) {
			t.Errorf("left:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		var freed int64
		for _, d := range l.all {
			freed += d.Size
		}
		if freed != 500 || len(l.errs) != 0 {
			t.Errorf("%d bytes freed, %v, %v", freed, l, l.errs)
		}
	})
}

// TestKeeperSlices: a large file is renamed at once and then freed in steps.
func TestKeeperSlices(t *testing.T) {
	dir := t.TempDir()
	name := nameOf("eth0", 1, noon)
	put(t, dir, name.String(), 1000)
	gone := filepath.Join(dir, name.String()+".deleting")
	opt := Options{Policy: directory(Limits{Bytes: 1}), Step: 300, Pause: time.Second}
	size := func() int64 {
		info, err := os.Stat(gone)
		if err != nil {
			return -1
		}
		return info.Size()
	}
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, dir, opt)
		ctx, cancel := context.WithCancel(t.Context())
		go k.Run(ctx)
		synctest.Wait()
		if got := listNames(t, dir); len(got) != 1 || size() != 700 {
			t.Errorf("at first: %v, %d bytes", got, size())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if size() != 400 {
			t.Errorf("then: %d bytes", size())
		}
		cancel() // in the middle
		synctest.Wait()
	})
	// The next run goes on.
	keep(t, dir, opt, func(k *Keeper, l *reports) {
		if size() != 100 {
			t.Errorf("after a restart: %d bytes", size())
		}
		time.Sleep(time.Minute)
		if got := listNames(t, dir); len(got) != 0 || l.String() != "eth01:resumed" {
			t.Errorf("left: %v; reported %v", got, l)
		}
	})
}

// TestKeeperForeignDisk: another process fills the disk. The floor is respected, and freed space is
// not freed again before the file system reports it.
func TestKeeperForeignDisk(t *testing.T) {
	dir := t.TempDir()
	for i := range 50 {
		put(t, dir, nameOf("eth0", i+1, noon).String(), 100)
	}
	var mu sync.Mutex
	free, broken := uint64(500), false
	greedy, left := false, 0 // somebody takes whatever is freed
	files := func() int { return len(listNames(t, dir)) }
	set := func(n uint64, b bool) { mu.Lock(); free, broken, greedy = n, b, false; mu.Unlock() }
	opt := Options{
		Policy: directory(Limits{MinFree: 500, KeepAtLeast: Floor{Count: 7}}),
		Space: func() (store.Space, error) {
			mu.Lock()
			defer mu.Unlock()
			if broken {
				return store.Space{}, errors.New("broken")
			}
			shown := free
			if greedy {
				now := files()
				shown, left = uint64(left-now)*100, now
			}
			return store.Space{Free: shown, Total: 10000}, nil
		},
	}
	var log bytes.Buffer // of the keeper's goroutine
	opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	defer func() {
		text := log.String()
		if strings.Count(text, "error=broken") != 1 || strings.Count(text, "tells its space again") != 1 || strings.Contains(text, "<nil>") {
			t.Errorf("the log says\n%s", text)
		}
	}()
	keep(t, dir, opt, func(k *Keeper, l *reports) {
		time.Sleep(time.Hour)
		if files() != 50 {
			t.Fatalf("%d files while there was room", files())
		}
		set(300, false)
		k.Wake()
		synctest.Wait()
		k.Wake() // the file system says the same
		synctest.Wait()
		if files() != 48 {
			t.Fatalf("%d files, want 48", files())
		}
		set(0, true)
		time.Sleep(time.Hour)
		if files() != 48 {
			t.Fatalf("%d files, though nobody knows the space", files())
		}
		set(0, false)
		mu.Lock()
		greedy, left = true, files()
		mu.Unlock()
		time.Sleep(time.Hour)
		if files() != 7 {
			t.Fatalf("%d files, want the floor", files())
		}
		if !k.Stats().Floor {
			t.Error("nothing is said of the floor")
		}
		set(10000, false)
		time.Sleep(time.Hour)
		if k.Stats().Floor {
			t.Error("the floor is in nobody's way any more")
		}
	})
}

// TestKeeperOthers: files that other programs delete, add or hold are noticed by the next listing.
func TestKeeperOthers(t *testing.T) {
	dir := t.TempDir()
	n := func(i int) store.Name { return nameOf("eth0", i, noon) }
	for i := range 10 {
		put(t, dir, n(i+1).String(), 100)
	}
	keep(t, dir, Options{Policy: directory(Limits{Count: 10})}, func(k *Keeper, l *reports) {
		os.Remove(filepath.Join(dir, n(3).String()))
		put(t, dir, n(1).String()+store.Hold.Ext(), 0) // before a rescan
		put(t, dir, n(11).String(), 100)
		put(t, dir, n(12).String(), 100)
		k.dir.Add(n(13), 100) // but it is not there
		synctest.Wait()
		if got := l.String(); got != "eth02:count" {
			t.Errorf("at first: %s", got)
		}
		time.Sleep(store.ListEvery + time.Minute)
		if got := l.String(); got != "eth02:count" || k.Stats().Files != 10 {
			t.Errorf("reported %s; %+v", got, k.Stats())
		}
		os.Remove(filepath.Join(dir, n(1).String()+store.Hold.Ext()))
		put(t, dir, n(14).String(), 100)
		time.Sleep(store.ListEvery + time.Minute)
		if got := l.String(); got != "eth02:count eth01:count" {
			t.Errorf("no longer held: %s", got)
		}
	})
}

// TestKeeperFailures: a file that can't be deleted does not prevent the deletion of others, and is
// tried again later.
func TestKeeperFailures(t *testing.T) {
	dir := t.TempDir()
	n := func(i int) store.Name { return nameOf("eth0", i, noon) }
	for i := range 4 {
		put(t, dir, n(i+1).String(), 100)
	}
	opt := Options{Policy: directory(Limits{Count: 2})}
	// A directory came in its place.
	synctest.Test(t, func(t *testing.T) {
		l := &reports{}
		opt.Deleted = l.add
		k := newKeeper(t, dir, opt)
		os.Remove(filepath.Join(dir, n(1).String()))
		os.Mkdir(filepath.Join(dir, n(1).String()), 0o700)
		ctx, cancel := context.WithCancel(t.Context())
		go k.Run(ctx)
		synctest.Wait()
		if got := l.String(); got != "eth02:count eth03:count" || len(l.errs) != 1 || k.Stats().Failures != 1 {
			t.Errorf("reported %s, %v", got, l.errs)
		}
		if !strings.HasPrefix(l.errs[0].Error(), "retain: remove ") {
			t.Error(l.errs[0])
		}
		cancel()
		synctest.Wait()
	})
}

// TestKeeperMany: ten thousand files, with a restart in between.
func TestKeeperMany(t *testing.T) {
	dir := t.TempDir()
	for i := range 10_000 {
		put(t, dir, nameOf(fmt.Sprint("eth", i%2), i/2+1, noon.Add(time.Duration(i)*time.Second)).String(), 10)
	}
	for _, limit := range []int64{60_000, 40_000} {
		keep(t, dir, Options{Policy: directory(Limits{Bytes: limit})}, func(k *Keeper, l *reports) {
			time.Sleep(time.Minute)
			synctest.Wait()
			if s := k.Stats(); s.Bytes != limit || s.Failures != 0 {
				t.Errorf("%+v", s)
			}
		})
		if got := listNames(t, dir); int64(len(got)) != limit/10 || !strings.Contains(got[0], fmt.Sprintf("%06d", 5001-limit/20)) {
			t.Errorf("%d files, first %s", len(got), got[0])
		}
	}
}

// TestKeeperRests: if files end faster than a plan is made, planning uses at most a tenth of a
// processor.
func TestKeeperRests(t *testing.T) {
	const plan = 100 * time.Millisecond
	var plans atomic.Int64
	slow := func(string) Limits { // called once per plan
		time.Sleep(plan)
		plans.Add(1)
		return Limits{}
	}
	keep(t, t.TempDir(), Options{Policy: Policy{Interface: slow}}, func(k *Keeper, _ *reports) {
		for begun, i := time.Now(), 1; time.Since(begun) < 20*time.Second; i++ {
			k.dir.Add(at("eth0", i), 100)
			time.Sleep(plan / 10)
		}
		if n := plans.Load(); n < 15 || n > 21 {
			t.Errorf("%d plans in 20 s", n)
		}
	})
}

// TestClock: after a jump ahead, files do not age for a day. Steps back and elapsed time count at
// once.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		wall := func(ahead time.Duration) time.Duration {
			// A wall clock of its own, beside the monotonic one.
			now := time.Now()
			return c.trustedAt(now, now.Round(0).Add(ahead)).Sub(now.Round(0))
		}
		expect := func(what string, ahead, want time.Duration) {
			t.Helper()
			if got := wall(ahead); got != want {
				t.Errorf("%s: %v ahead, want %v", what, got, want)
			}
		}
		year := 365 * 24 * time.Hour
		expect("start", 0, 0)
		time.Sleep(48 * time.Hour)
		expect("two days on", 0, 0)
		expect("jump", year, 0)
		time.Sleep(23 * time.Hour)
		expect("still", year, 0)
		expect("corrected", time.Minute, time.Minute)
		expect("jump again", year, time.Minute)
		time.Sleep(25 * time.Hour)
		expect("believed", year, year)
		expect("back", 0, 0)
	})
}
