package writer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

var bothFormats = []pcap.Format{pcap.PCAP, pcap.PCAPNG}

func partialName(f pcap.Format) store.Name {
	return store.Name{Interface: "eth0", Start: noon, Sequence: 1, Lane: 0, Format: f}
}

// recordFile returns a file of n numbered packets, each of a size, and where
// its records end, the header first.
func recordFile(f pcap.Format, sizes ...int) (b []byte, ends []int64) {
	enc := pcap.NewEncoder(pcap.Header{Format: f, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
	b = enc.Header()
	ends = append(ends, int64(len(b)))
	for i, size := range sizes {
		data := bytes.Repeat([]byte{byte(i + 1)}, size)
		binary.BigEndian.PutUint32(data, uint32(i+1))
		at := noon.Add(time.Duration(i) * time.Second)
		p := pcap.Packet{Data: data, Length: uint32(size), Sec: uint32(at.Unix()), Nsec: 1}
		rec := make([]byte, enc.MaxRecord())
		n, _ := enc.Encode(rec, []pcap.Packet{p})
		b = append(b, rec[:n]...)
		ends = append(ends, int64(len(b)))
	}
	return b, ends
}

// recoverIn recovers the directory of that path.
func recoverIn(path string, checkpoints map[string]ledger.Entry) ([]Recovered, error) {
	dir, err := store.Open(path)
	if err != nil {
		return nil, err
	}
	return Recover(dir, checkpoints, nil)
}

// recovered recovers a directory with one unfinished file of these bytes.
func recovered(t testing.TB, f pcap.Format, b []byte, checkpoints map[string]ledger.Entry) (Recovered, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, partialName(f).String()+store.Partial), b, 0o640); err != nil {
		t.Fatal(err)
	}
	all, err := recoverIn(dir, checkpoints)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	return all[0], dir
}

// TestRecoverAnyCut: at whatever byte of the last two records a crash cut the
// file, and with zeros behind, all whole records and nothing else are left.
func TestRecoverAnyCut(t *testing.T) {
	t.Parallel()
	for _, f := range bothFormats {
		b, ends := recordFile(f, 8, 9, 18, 23)
		for cut := ends[2]; cut <= ends[4]; cut++ {
			for _, zeros := range []int{0, 16, 5000} {
				n := 2
				for n < 4 && ends[n+1] <= cut {
					n++
				}
				// Where zeros fill up a record of PCAP, nothing tells that they
				// are not its data; see TestRecoverHole for what does.
				torn := append(slices.Clone(b[:cut]), make([]byte, zeros)...)
				if f == pcap.PCAP && n < 4 && bytes.HasPrefix(torn, b[:ends[n]+16]) && int64(len(torn)) >= ends[n+1] {
					continue
				}
				if f == pcap.PCAPNG && n < 4 && bytes.HasPrefix(torn, b[:ends[n+1]]) {
					n++ // the zeros were the record's
				}
				r, dir := recovered(t, f, torn, nil)
				if r.Err != nil || r.Packets != uint64(n) || r.Size != ends[n] || r.Cut != int64(len(torn))-ends[n] ||
					(r.Why != "") != (r.Cut > 0) || r.Link != "ETHERNET" {
					t.Fatalf("%v cut at %d, %d zeros: %+v, want %d packets", f, cut, zeros, r, n)
				}
				got, err := os.ReadFile(filepath.Join(dir, partialName(f).String()))
				if err != nil || !bytes.Equal(got, b[:ends[n]]) {
					t.Fatalf("%v cut at %d, %d zeros: %d bytes, %v; want %d", f, cut, zeros, len(got), err, ends[n])
				}
				os.RemoveAll(dir)
			}
		}
	}
}

// TestRecoverEmpty: without a whole packet there is nothing to keep.
func TestRecoverEmpty(t *testing.T) {
	t.Parallel()
	for _, f := range bothFormats {
		b, ends := recordFile(f, 60)
		for cut := range ends[1] {
			r, dir := recovered(t, f, b[:cut], nil)
			if r.Err != nil || r.Path != "" || r.Packets != 0 || len(names(t, dir)) != 0 || r.Why == "" {
				t.Fatalf("%v cut at %d: %+v, %v", f, cut, r, names(t, dir))
			}
			if e := r.Entries(ledger.Entry{}); len(e) != 1 || e[0].Kind != ledger.KindSalvaged || e[0].Cut != cut {
				t.Fatalf("entries %+v", e)
			}
			os.RemoveAll(dir)
		}
	}
}

// TestRecoverDamage: whatever bytes are damaged, nothing is invented, no whole
// record before is lost, and a file that is corrupt in the middle is kept.
func TestRecoverDamage(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 5))
	for _, f := range bothFormats {
		b, ends := recordFile(f, 60, 61, 62, 63, 64, 65)
		kept := 0
		for range 150 {
			torn := slices.Clone(b)
			at := ends[0] + rng.Int64N(int64(len(b))-ends[0])
			for i := at; i < min(at+1+rng.Int64N(40), int64(len(b))); i++ {
				torn[i] ^= byte(1 + rng.IntN(255))
			}
			before := 0
			for ends[before+1] <= at {
				before++
			}
			r, dir := recovered(t, f, torn, nil)
			if r.Err != nil || r.Packets < uint64(before) || r.Packets > 6 {
				t.Fatalf("%v damaged at %d: %+v", f, at, r)
			}
			if r.Damaged {
				kept++
				got, err := os.ReadFile(filepath.Join(dir, partialName(f).String()+store.DamagedExt))
				if err != nil || !bytes.Equal(got, torn) {
					t.Fatalf("%v damaged at %d: not kept: %v", f, at, err)
				}
			} else if r.Path != "" {
				got, err := os.ReadFile(r.Path)
				if err != nil || !bytes.Equal(got, torn[:len(got)]) || int64(len(got)) < ends[before] {
					t.Fatalf("%v damaged at %d: %v", f, at, err)
				}
			}
			os.RemoveAll(dir)
		}
		if kept == 0 {
			t.Errorf("%v: nothing was ever kept", f)
		}
	}
}

// TestRecoverHole: chunks are written at once, and a crash may leave a later one
// without an earlier one. What lies at or behind the hole does not count, even
// where the zeros of the hole could be a record's data.
func TestRecoverHole(t *testing.T) {
	for _, f := range bothFormats {
		var sizes []int
		for i := range 400 {
			sizes = append(sizes, 100+i)
		}
		b, ends := recordFile(f, sizes...)
		for _, hole := range []int64{4096, 8192, 20480} {
			dir := t.TempDir()
			path := filepath.Join(dir, partialName(f).String()+store.Partial)
			h, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			h.WriteAt(b[:hole], 0)
			h.WriteAt(b[hole+8192:], hole+8192)
			if store.NextHole(h, 0, int64(len(b))) != hole {
				t.Skip("the file system has no holes of 8 KiB")
			}
			h.Close()
			all, err := recoverIn(dir, nil)
			if err != nil || len(all) != 1 {
				t.Fatal(err)
			}
			n := 0
			for ends[n+1] <= hole {
				n++
			}
			if r := all[0]; r.Err != nil || r.Damaged || r.Packets != uint64(n) || r.Size != ends[n] || !strings.Contains(r.Why, "hole") {
				t.Errorf("%v, hole at %d: %+v, want %d packets", f, hole, r, n)
			}
		}
	}
}

// TestRecoverFromCheckpoint reads the end only, and still counts all.
func TestRecoverFromCheckpoint(t *testing.T) {
	for _, f := range bothFormats {
		b, ends := recordFile(f, 60, 61, 62, 63, 64)
		for i := range 6 {
			c := ledger.Checkpoint{Name: partialName(f), Offset: ends[i], Packets: uint64(i), Bytes: 1000, First: noon, Last: noon.Add(2)}
			points := map[string]ledger.Entry{partialName(f).String(): c.Entry()}
			broken := slices.Clone(b[:len(b)-1])
			if f == pcap.PCAP && (i == 2 || i == 3) {
				broken[ends[0]+12] = 1 // before the checkpoint: not looked at
			}
			r, _ := recovered(t, f, broken, points)
			if want := min(max(uint64(i), 4), 5); i < 5 && (r.Packets != want || r.Damaged) {
				t.Errorf("%v from %d: %+v", f, i, r)
			}
			if i < 4 && i > 1 && r.Bytes < 1000 {
				t.Errorf("%v from %d: %d bytes", f, i, r.Bytes)
			}
		}
	}
}

// TestRecoverLeavesAlone what is not a recorder's, and replaces nothing.
func TestRecoverLeavesAlone(t *testing.T) {
	dir := t.TempDir()
	b, _ := recordFile(pcap.PCAP, 60, 61)
	name := func(n uint64) string {
		return store.Name{Interface: "eth0", Start: noon, Sequence: n, Lane: 0, Format: pcap.PCAP}.String()
	}
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write(name(1), []byte("taken"))
	write(name(1)+store.Partial, b)
	write("foreign.pcap.partial", b)
	write(name(2)+".zst"+store.Partial, b)
	write(name(4)+store.Partial, b)
	write(name(5)+store.Partial, append(slices.Clone(b), "garbage behind it, long enough to be no record"...))
	write(name(5)+store.DamagedExt, []byte("taken"))
	if err := os.Symlink("foreign.pcap.partial", filepath.Join(dir, name(3)+store.Partial)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, name(6)+store.Partial), 0o750); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	all, err := recoverIn(dir, nil)
	if err != nil || len(all) != 5 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, r := range all {
		if (r.Err == nil) != (r.Name.Sequence == 4) || (len(r.Entries(ledger.Entry{})) == 0) != (r.Err != nil) {
			t.Errorf("%v: %v", r.Name, r.Err)
		}
		if r.Name.Sequence == 1 && !errors.Is(r.Err, fs.ErrExist) {
			t.Errorf("%v", r.Err)
		}
	}
	after := names(t, dir)
	before[slices.Index(before, name(4)+store.Partial)] = name(4)
	slices.Sort(before)
	if !slices.Equal(before, after) {
		t.Errorf("%v became %v", before, after)
	}
	for _, s := range []string{name(1), name(5) + store.DamagedExt} {
		if b, _ := os.ReadFile(filepath.Join(dir, s)); string(b) != "taken" {
			t.Errorf("%s was replaced", s)
		}
	}
	if _, err := recoverIn(filepath.Join(dir, "no"), nil); err == nil {
		t.Error("a missing directory was recovered")
	}
}

func TestRecoveredEntries(t *testing.T) {
	b, _ := recordFile(pcap.PCAP, 60, 61, 62)
	r, _ := recovered(t, pcap.PCAP, b[:len(b)-1], nil)
	e := r.Entries(ledger.Entry{})
	if len(e) != 2 || e[0].Kind != ledger.KindSalvaged || e[0].Cut != 77 || e[1].Kind != ledger.KindFile || e[1].Clean || e[1].Reason != ledger.ReasonSalvaged ||
		e[1].Packets != 2 || e[1].Bytes != 121 || !e[1].Begin.Equal(noon) || !e[1].End.Equal(noon.Add(time.Second+1)) {
		t.Errorf("%+v", e)
	}
	v, err := ledger.Judge(listed(append(e, ledger.Entry{Kind: ledger.KindStart, Time: minute(2)}, fileEntry(2, 5))...), ledger.Question{Until: minute(5)})
	if err != nil || len(v[0].Missing) != 2 || v[0].Missing[1].Cause != ledger.CauseStopped || !v[0].Missing[1].End.Equal(minute(2)) {
		t.Errorf("%+v, %v", v[0].Missing, err)
	}
}

// TestRecoveredFailed: what a file that failed has counted still holds when it is
// finished later, and its time is the recorder's.
func TestRecoveredFailed(t *testing.T) {
	b, _ := recordFile(pcap.PCAP, 60, 61, 62)
	r, _ := recovered(t, pcap.PCAP, b[:len(b)-1], nil)
	failed := ledger.Entry{
		Kind: ledger.KindFile, Name: r.Name.String(), Interface: "eth0", Begin: minute(0), End: minute(3), Reason: ledger.ReasonError,
		Tally: ledger.Tally{Packets: 1, Received: 9, KernelDropped: 2, CapdDropped: 6, NICDropped: 4},
	}
	e := r.Entries(failed)[1]
	want := ledger.Tally{Packets: 2, Bytes: 121, Size: e.Size, Received: 9, KernelDropped: 2, CapdDropped: 5, NICDropped: 4}
	if e.Tally != want || e.Clean || e.Reason != ledger.ReasonSalvaged || !e.End.Equal(minute(3)) {
		t.Errorf("%+v", e)
	}
}

// TestSalvageForeign copies what is whole of files of other tools.
func TestSalvageForeign(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range bothFormats {
		b, ends := recordFile(f, 60, 61, 62, 63)
		for what, c := range map[string]struct {
			b    []byte
			want int
		}{
			"whole":   {b, 4},
			"torn":    {b[:len(b)-1], 3},
			"garbage": {append(slices.Clone(b), bytes.Repeat([]byte{0xee}, 300)...), 4},
			"zeros":   {append(slices.Clone(b), make([]byte, 300)...), 4},
			"middle":  {append(append(slices.Clone(b[:ends[2]]), bytes.Repeat([]byte{0xee}, 31)...), b[ends[2]:]...), 4},
			"header":  {b[:ends[0]], 0},
		} {
			src, dst := filepath.Join(dir, what+"-src"+f.Ext()), filepath.Join(dir, what+f.Ext())
			if err := os.WriteFile(src, c.b, 0o600); err != nil {
				t.Fatal(err)
			}
			damaged := what == "garbage" || what == "middle"
			r, err := Salvage(src, dst, nil)
			got, _ := os.ReadFile(dst)
			if f == pcap.PCAPNG && damaged {
				got = uncommented(t, got, b)
			}
			if r.Damaged != damaged || r.Commented != (damaged && f == pcap.PCAPNG) {
				t.Errorf("%v %s: %+v", f, what, r)
			}
			if err != nil || r.Packets != uint64(c.want) || !bytes.Equal(got, b[:ends[c.want]]) || (r.Cut > 0) != (what != "whole" && what != "header") {
				t.Errorf("%v %s: %+v, %v; %d bytes", f, what, r, err, len(got))
			}
			if _, err := Salvage(src, dst, nil); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s was replaced: %v", dst, err)
			}
			if left, _ := os.ReadFile(src); !bytes.Equal(left, c.b) {
				t.Errorf("%s was changed", src)
			}
			want := b[:ends[c.want]]
			if damaged {
				want = c.b
			}
			if _, err := SalvageInPlace(src, nil); errors.As(err, new(*DamagedError)) != damaged || (err != nil) != damaged {
				t.Errorf("%s: %v", src, err)
			}
			if left, _ := os.ReadFile(src); !bytes.Equal(left, want) {
				t.Errorf("%s: %d bytes", src, len(left))
			}
			if what == "torn" || what == "middle" {
				opens(t, dst, c.want)
			}
		}
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("this is no capture file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Salvage(text, filepath.Join(dir, "new"), nil); err == nil {
		t.Error("a text was salvaged")
	}
	if _, err := SalvageInPlace(text, nil); err == nil {
		t.Error("a text was cut")
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a file was left behind")
	}
}

// opens checks that the common tools read a file without a complaint.
func opens(t *testing.T, path string, packets int) {
	t.Helper()
	for _, tool := range [][]string{
		{"capinfos", "-Mc", path},
		{"tshark", "-n", "-r", path},
		{"tcpdump", "-nqr", path},
	} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			continue
		}
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(tool[0], tool[1:]...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		complaint := ""
		for line := range strings.Lines(stderr.String()) {
			// Of a user, and where the file comes from: no complaints.
			if !strings.Contains(line, "Running as user") && !strings.HasPrefix(line, "reading from file") && line != "\n" {
				complaint += line
			}
		}
		if err != nil || complaint != "" {
			t.Errorf("%v: %v: %s", tool, err, complaint)
		}
		if tool[0] == "capinfos" && packets >= 0 && !strings.Contains(stdout.String(), fmt.Sprintf(" %d\n", packets)) {
			t.Errorf("%v: %s, want %d", tool, stdout.String(), packets)
		}
	}
}

// TestCrash kills a recorder at work, and recovers what it left.
func TestCrash(t *testing.T) {
	if dir := os.Getenv("CAPD_TEST_CRASH"); dir != "" {
		crashChild(t, dir)
		return
	}
	t.Parallel()
	for i, f := range append(bothFormats, bothFormats...) {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$")
		cmd.Env = append(os.Environ(), "CAPD_TEST_CRASH="+dir, "CAPD_TEST_FORMAT="+f.String())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return size(dir) > int64(1+i)<<20 })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		all, err := recoverIn(dir, nil)
		if err != nil || len(all) > 20 {
			t.Fatalf("%+v, %v", all, err)
		}
		for _, r := range all {
			if r.Err != nil || r.Damaged {
				t.Fatalf("%+v", r)
			}
		}
		next := uint32(0)
		for _, name := range names(t, dir) {
			for i, n := range numbers(t, filepath.Join(dir, name)) {
				if n < next || i > 0 && n > next {
					t.Fatalf("%s: packet %d, want %d", name, n, next)
				}
				next = n + 1
			}
		}
		left := names(t, dir)
		if next == 0 || len(left) == 0 {
			t.Fatal("nothing was recovered")
		}
		if i < len(bothFormats) {
			opens(t, filepath.Join(dir, left[len(left)-1]), -1)
		}
	}
}

func crashChild(t *testing.T, dir string) {
	format, err := pcap.ParseFormat(os.Getenv("CAPD_TEST_FORMAT"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(Options{
		Directory: dir, Header: pcap.Header{Format: format, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"},
		ChunkSize: 64 << 10, PoolSize: 16 * 64 << 10, FlushInterval: 10 * time.Millisecond, RotateSize: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Writer: w, t: t, wall: noon}
	for size(dir) < 1<<30 {
		r.write(64, 1400)
		r.pass(time.Millisecond)
	}
}

func size(dir string) (n int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}

func FuzzRecover(f *testing.F) {
	for _, format := range bothFormats {
		b, ends := recordFile(format, 60, 61)
		f.Add(b, int64(0))
		f.Add(b[:len(b)-3], ends[1])
		f.Add(append(b[:ends[1]:ends[1]], make([]byte, 50)...), ends[0])
	}
	dir := f.TempDir()
	path := filepath.Join(dir, partialName(pcap.PCAP).String())
	f.Fuzz(func(t *testing.T, b []byte, checkpoint int64) {
		if err := os.WriteFile(path+store.Partial, b, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := recoverIn(dir, map[string]ledger.Entry{filepath.Base(path): {Offset: checkpoint}})
		if err != nil || len(all) != 1 || all[0].Err != nil {
			t.Fatalf("%+v, %v", all, err)
		}
		r := all[0]
		for _, e := range r.Entries(ledger.Entry{}) {
			if line := e.AppendLine(nil, noon); len(line) == 0 {
				t.Fatalf("%+v has no line", e)
			}
		}
		if r.Path == "" {
			return
		}
		got, err := os.ReadFile(r.Path)
		if err != nil || !bytes.HasPrefix(b, got) || r.Damaged && len(got) != len(b) {
			t.Fatalf("%+v: %d bytes of %d, %v", r, len(got), len(b), err)
		}
		os.Remove(r.Path)
	})
}

func minute(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }

// fileEntry is the line of a clean file of eth0 with the minutes [from, to).
func fileEntry(from, to int) ledger.Entry {
	f := File{LinkType: pcap.LinkTypeEthernet, Name: store.Name{Interface: "eth0", Start: minute(from), Sequence: uint64(from + 1), Lane: 0, Format: pcap.PCAP}, Begin: minute(from), End: minute(to), Reason: ledger.ReasonInterval}
	f.Packets = 10
	return f.Entry()
}

func listed(entries ...ledger.Entry) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}
