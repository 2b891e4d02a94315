package finish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "compress" {
		os.Exit(compressChild(os.Args[2:]))
	}
	if dir := os.Getenv(childDirectory); dir != "" {
		child(dir)
	}
	goleak.VerifyTestMain(m)
}

// patience bounds the wait for an event that must come: on a busy machine the
// lowest priority gets little processor time.
const patience = time.Minute

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func nameOf(i int, format pcap.Format) store.Name {
	return store.Name{Interface: "eth0", Start: start.Add(time.Duration(i) * time.Minute), Sequence: uint64(i), Format: format}
}

// capture writes a finished file and returns the report that the writer would
// make.
func capture(t testing.TB, dir string, i, packets int, format pcap.Format) writer.File {
	t.Helper()
	random := rand.NewChaCha8([32]byte{byte(i)})
	enc := pcap.NewEncoder(pcap.Header{Format: format, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
	content := enc.Header()
	record := make([]byte, enc.MaxRecord())
	for n := range packets {
		data := make([]byte, 60+n%1400)
		_, _ = random.Read(data[:len(data)/2]) // the other half compresses well
		n, _ := enc.Encode(record, []pcap.Packet{{Data: data, Length: uint32(len(data)), Sec: uint32(start.Unix()), Nsec: uint32(n)}})
		content = append(content, record[:n]...)
	}
	name := nameOf(i, format)
	path := filepath.Join(dir, name.String())
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return writer.File{
		Name: name, Path: path, End: start.Add(time.Hour), Reason: ledger.ReasonSize, Size: int64(len(content)),
		Counts: writer.Counts{Packets: uint64(packets), Bytes: 12345, Lost: 3, KernelDrops: 4},
	}
}

// opened returns the directory as listed now.
func opened(t testing.TB, dir string) *store.Directory {
	t.Helper()
	d, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A rig is a running Queue with its outcomes and its log.
type rig struct {
	*Queue
	t        *testing.T
	outcomes chan Outcome
	log      *bytes.Buffer // may be read after close
	once     sync.Once
}

func newRig(t *testing.T, opt Options) *rig {
	t.Helper()
	r := &rig{t: t, outcomes: make(chan Outcome, 1000), log: new(bytes.Buffer)}
	opt.Report = func(o Outcome) { r.outcomes <- o }
	opt.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if r.Queue, err = New(opt); err != nil {
		t.Fatal(err)
	}
	return r
}

// run starts the Queue; the test's end closes it.
func (r *rig) run() {
	go r.Run(r.t.Context())
	r.t.Cleanup(r.close)
	r.begun()
}

// list makes the Directory list files that were not added.
func (r *rig) list() {
	r.t.Helper()
	if err := r.dir.List(); err != nil {
		r.t.Fatal(err)
	}
}

// begun waits until Run has begun, so that Close waits for it.
func (r *rig) begun() {
	await(r.t, "the queue runs", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.started
	})
}

func (r *rig) close() {
	r.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			r.t.Errorf("close: %v", err)
		}
	})
}

// outcome returns the next outcome.
func (r *rig) outcome() Outcome {
	r.t.Helper()
	select {
	case o := <-r.outcomes:
		return o
	case <-time.After(patience):
		r.t.Fatal("nothing is reported")
		return Outcome{}
	}
}

// idle waits until no work is left.
func (r *rig) idle() {
	r.t.Helper()
	await(r.t, "the queue is idle", func() bool { return r.Stats().Waiting == 0 })
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func content(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func want(t testing.TB, dir string, expected ...string) {
	t.Helper()
	if got := names(t, dir); !slices.Equal(got, expected) {
		t.Fatalf("the directory holds %q, want %q", got, expected)
	}
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		opt  Options
		want string
	}{
		{Options{}, ""},
		{Options{Compression: None, Level: 99}, ""},
		{Options{Compression: Zstd, Level: 22}, ""},
		{Options{Compression: Zstd, Level: 23}, "finish: level 23 of zstd is not within 1 and 22"},
		{Options{Compression: Gzip, Level: 10}, "finish: level 10 of gzip is not within 1 and 9"},
		{Options{Compression: Gzip, Level: -1}, "finish: level -1 of gzip is not within 1 and 9"},
		{Options{Compression: "lz4"}, `finish: no compression "lz4"`},
		{Options{Hook: []string{"upload"}}, `finish: hook "upload" is not an absolute path`},
	} {
		test.opt.Directory = opened(t, t.TempDir())
		q, err := New(test.opt)
		if got := fmt.Sprint(err); (err != nil || test.want != "") && got != test.want {
			t.Errorf("%+v: %q, want %q", test.opt, got, test.want)
		}
		if q != nil {
			_ = q.Close(t.Context())
		}
	}
}

func TestUnfinishedFilesAreNotTaken(t *testing.T) {
	dir := t.TempDir()
	f := capture(t, dir, 1, 10, pcap.PCAP)
	partial := f.Path + store.Partial
	if err := os.Rename(f.Path, partial); err != nil {
		t.Fatal(err)
	}
	for _, foreign := range []string{"notes.txt", "x.pcap", f.Name.String() + ".bak", "x.pcap.zst.tmp", ".capd.lock"} {
		if err := os.WriteFile(filepath.Join(dir, foreign), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, dir)
	r := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd})
	r.run()
	f.Path, f.Err = partial, errors.New("write: no space left on device")
	r.Add(f)
	g := capture(t, dir, 2, 10, pcap.PCAP)
	r.Add(g)
	if o := r.outcome(); o.Name != g.Name || o.Err != nil {
		t.Errorf("outcome %+v", o)
	}
	r.close()
	want(t, dir, slices.Sorted(slices.Values(append(before, g.Name.String()+".zst")))...)
}

// TestOverflow adds more files than the queue has room for, before it runs.
func TestOverflow(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, Options{Directory: opened(t, dir), Compression: Gzip, Limit: 2, Hook: []string{"/bin/sh", "-c", ":"}})
	const files = 15
	for i := range files {
		r.Add(capture(t, dir, i, 3, pcap.PCAP))
	}
	if got := len(r.fresh); got != 2 {
		t.Errorf("%d files in memory, want 2", got)
	}
	r.list()
	r.run()
	done := make(map[string]map[store.Name]int)
	for range 2 * files {
		o := r.outcome()
		if o.Err != nil {
			t.Fatalf("%s %s: %v", o.Step, o.Path, o.Err)
		}
		if done[o.Step] == nil {
			done[o.Step] = make(map[store.Name]int)
		}
		done[o.Step][o.Name]++
	}
	r.idle()
	if len(done[Compress]) != files || len(done[Hook]) != files {
		t.Errorf("%d compressed, %d hooks, want %d", len(done[Compress]), len(done[Hook]), files)
	}
	if s := r.Stats(); s.Done[Compress] != files || s.Done[Hook] != files || s.BytesBefore == 0 || s.BytesAfter == 0 || s.Failing != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestFailuresDoNotSpin has more failed files than a line has room for.
func TestFailuresDoNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd, Limit: 2, KeepFree: 1 << 62})
		for i := range 9 {
			capture(t, dir, i, 1, pcap.PCAP)
		}
		r.list()
		go r.Run(t.Context())
		tries := make(map[store.Name]int)
		for range 9 * 5 {
			o := <-r.outcomes
			if tries[o.Name]++; o.Err == nil || tries[o.Name] > 6 {
				t.Errorf("try %d: %v", tries[o.Name], o.Err)
			}
		}
		if len(tries) != 9 {
			t.Errorf("%d files were tried", len(tries))
		}
		r.close()
	})
}

func TestCloseWithoutRun(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd, Hook: []string{"/bin/sh", "-c", ":"}})
	r.Add(capture(t, dir, 1, 3, pcap.PCAP))
	r.close()
	if err := r.Close(t.Context()); err != nil {
		t.Errorf("close again: %v", err)
	}
	r.Run(t.Context()) // returns at once
	want(t, dir, store.MarksName, nameOf(1, pcap.PCAP).String())
}

func TestContextEndsRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := newRig(t, Options{Directory: opened(t, t.TempDir())})
	go r.Run(ctx)
	r.begun()
	cancel()
	select {
	case <-r.ended:
	case <-time.After(patience):
		t.Error("Run does not end")
	}
	r.close()
}
