package verify

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/seal"
	"capd/store"
)

// A recording is a directory made as a daemon makes it.
type recording struct {
	t    *testing.T
	dir  string
	keys string
	key  string // of the first epoch
	l    *ledger.Ledger
	next uint64
	rng  *rand.Rand
	noon time.Time    // files begin from here on
	live []store.Name // that no limit has deleted
}

func newRecording(t *testing.T, seed uint64) *recording {
	t.Helper()
	r := &recording{t: t, dir: t.TempDir(), keys: t.TempDir(), rng: rand.New(rand.NewPCG(seed, 1)), noon: time.Now().UTC().Truncate(time.Second)}
	var err error
	if r.key, _, err = seal.Init(r.keys, r.dir, "host"); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *recording) do(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *recording) start() {
	r.t.Helper()
	k, err := seal.Open(r.keys, r.dir)
	r.do(err)
	r.l, err = ledger.Open(r.dir, ledger.Options{Key: k, RotateSize: 9000})
	r.do(err)
	r.do(r.l.Append(ledger.Start(ledger.Run{Software: "capd 1", PID: 1})))
}

// stop ends the run in order, or as a kill does.
func (r *recording) stop(order bool) {
	r.t.Helper()
	if order {
		r.do(r.l.Append(ledger.Stop(ledger.Run{Software: "capd 1", PID: 1})))
	} else {
		r.do(r.l.Seal(nil))
	}
	r.do(r.l.Close())
	if !order {
		h, err := os.OpenFile(filepath.Join(r.dir, ledger.FileName), os.O_WRONLY|os.O_APPEND, 0)
		r.do(err)
		fmt.Fprint(h, `{"v":1,"ki`)
		h.Close()
	}
}

func (r *recording) seal() {
	r.t.Helper()
	_, err := r.l.Checkpoint()
	r.do(err)
}

// file records a file.
func (r *recording) file() store.Name {
	r.t.Helper()
	r.next++
	name := store.Name{Interface: "eth0", Start: r.noon.Add(time.Duration(r.next) * time.Second), Sequence: r.next, Format: pcap.PCAPNG}
	b := make([]byte, 200+r.rng.IntN(5000))
	for i := range b {
		b[i] = byte(r.rng.Uint32())
	}
	path := filepath.Join(r.dir, name.String())
	r.do(os.WriteFile(path, b, 0o600))
	f := ledger.File{Name: name, Begin: name.Start, End: name.Start.Add(time.Second), Clean: true, Reason: ledger.ReasonSize, Tally: ledger.Tally{Packets: 3, Size: uint64(len(b))}}
	d, err := seal.DigestFile(path)
	r.do(err)
	r.do(r.l.Append(f.Entry(), ledger.Digest(name, d)))
	r.seal()
	r.live = append(r.live, name)
	return name
}

func (r *recording) compress(name store.Name) {
	r.t.Helper()
	path := filepath.Join(r.dir, name.String())
	b, err := os.ReadFile(path)
	r.do(err)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	r.do(os.WriteFile(path+".gz", z.Bytes(), 0o600))
	r.do(os.Remove(path))
	r.do(r.l.Append(ledger.Compressed(name, path+".gz", int64(z.Len()))))
}

// delete deletes the oldest file.
func (r *recording) delete() {
	r.t.Helper()
	name := r.live[0]
	r.live = r.live[1:]
	r.do(r.l.Append(ledger.Deleting(name, "count")))
	path := filepath.Join(r.dir, name.String())
	if os.Remove(path) != nil {
		r.do(os.Remove(path + ".gz"))
	}
	r.do(r.l.Append(ledger.Deleted(name, 9, "count")))
}

// run is a life with rotation of files and ledgers, compression, deletion,
// evolution, a crash and a salvage.
func (r *recording) run() {
	r.t.Helper()
	for life := range 3 {
		r.start()
		var mine []store.Name
		for i := range 8 {
			mine = append(mine, r.file())
			if i%3 == 1 {
				r.compress(mine[i])
			}
			if i == 5 {
				r.do(r.l.Evolve())
			}
			if i == 6 {
				r.delete()
				r.delete()
			}
		}
		r.seal()
		r.stop(life != 1)
	}
}

func (r *recording) verify() *Report {
	r.t.Helper()
	got, err := Directory(r.dir, Options{Keys: []string{r.key}})
	r.do(err)
	return got
}

// copyTo makes a copy of the directory for a damage.
func (r *recording) copyTo(dir string) *recording {
	r.t.Helper()
	c := *r
	c.dir = dir
	r.do(os.RemoveAll(dir))
	r.do(os.CopyFS(dir, os.DirFS(r.dir)))
	return &c
}

// sealedFiles are the files that are under the seal, by their names.
func (r *recording) sealedFiles() (data, ledgers []string) {
	entries, err := os.ReadDir(r.dir)
	r.do(err)
	for _, e := range entries {
		if _, state, err := store.Parse(e.Name()); err == nil && state.HasData() {
			data = append(data, e.Name())
		} else if strings.HasSuffix(e.Name(), ".jsonl") || e.Name() == seal.ChainName {
			ledgers = append(ledgers, e.Name())
		}
	}
	return data, ledgers
}

// damage does one thing to the directory and says to which files, and what it did.
func (r *recording) damage() (what string, files []string) {
	data, ledgers := r.sealedFiles()
	all := append(slices.Clone(data), ledgers...)
	pick := func(from []string) string { return from[r.rng.IntN(len(from))] }
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(r.dir, name))
		r.do(err)
		return b
	}
	write := func(name string, b []byte) { r.do(os.WriteFile(filepath.Join(r.dir, name), b, 0o600)) }
	name := pick(all)
	b := read(name)
	at := r.rng.IntN(len(b))
	switch r.rng.IntN(9) {
	case 0:
		b[at] ^= 1 << r.rng.IntN(8)
		write(name, b)
		return fmt.Sprintf("flip at %d of %d", at, len(b)), []string{name}
	case 1:
		write(name, b[:at])
		return fmt.Sprintf("cut at %d of %d", at, len(b)), []string{name}
	case 2:
		write(name, slices.Insert(b, at, 'x'))
		return fmt.Sprintf("insert at %d of %d", at, len(b)), []string{name}
	case 3:
		r.do(os.Remove(filepath.Join(r.dir, name)))
		return "remove", []string{name}
	case 4:
		var plain []string
		for _, n := range data {
			if !strings.HasSuffix(n, ".gz") {
				plain = append(plain, n)
			}
		}
		i := r.rng.IntN(len(plain) - 1)
		x, y := read(plain[i]), read(plain[i+1])
		write(plain[i], y)
		write(plain[i+1], x)
		return "swap", []string{plain[i], plain[i+1]}
	case 5:
		write("eth0-"+r.noon.Add(time.Hour).Format("20060102T150405Z")+"-000003.pcapng", b)
		return "insert file", []string{"eth0-" + r.noon.Add(time.Hour).Format("20060102T150405Z") + "-000003.pcapng"}
	}
	name = pick(ledgers)
	lines := slices.Collect(strings.Lines(string(read(name))))
	i := r.rng.IntN(len(lines))
	switch r.rng.IntN(3) {
	case 0:
		lines = slices.Delete(lines, i, i+1)
		what = "remove line"
	case 1:
		lines = slices.Insert(lines, i, lines[i])
		what = "repeat line"
	case 2:
		j := (i + 1 + r.rng.IntN(len(lines)-1)) % len(lines)
		lines[i], lines[j] = lines[j], lines[i]
		what = fmt.Sprintf("swap with line %d", j+1)
	}
	write(name, []byte(strings.Join(lines, "")))
	return fmt.Sprintf("%s %d of %d", what, i+1, len(lines)), []string{name}
}

// TestUntouched: no recording that nobody has touched is called tampered.
func TestUntouched(t *testing.T) {
	for seed := range uint64(5) {
		r := newRecording(t, seed)
		r.run()
		got := r.verify()
		if got.Verdict != Verified || got.Files != 3*6 || got.Deleted != 3*2 || got.Epoch != 3 {
			t.Errorf("%+v", got)
		}
	}
}

// TestDamages: whatever is changed, cut, swapped, removed, inserted or re-ordered
// is found, and the file is named. CAPD_DAMAGES says how often.
func TestDamages(t *testing.T) {
	damages := 60
	if n, err := strconv.Atoi(os.Getenv("CAPD_DAMAGES")); err == nil {
		damages = n
	}
	r := newRecording(t, 7)
	r.run()
	copied := filepath.Join(t.TempDir(), "copy")
	for i := range damages {
		c := r.copyTo(copied)
		c.rng = rand.New(rand.NewPCG(uint64(i), 3))
		before := tree(t, c.dir)
		what, files := c.damage()
		got, err := Directory(c.dir, Options{Keys: []string{c.key}})
		if tree(t, c.dir) == before {
			continue // it changed nothing
		}
		if err != nil {
			t.Errorf("%d: %s of %v: %v", i, what, files, err)
			continue
		}
		if got.Verdict == Verified && strings.HasSuffix(files[0], ".gz") && got.Files == 3*6 {
			continue // the file unpacks to what was recorded, as after a change of the time in its header
		}
		if got.Verdict == Verified {
			t.Errorf("%d: %s of %v was not found", i, what, files)
			continue
		}
		for _, name := range files {
			base, _ := strings.CutSuffix(name, ".gz")
			named := func(f Finding) bool {
				return strings.TrimSuffix(f.File, ".gz") == base || strings.Contains(f.Why, base)
			}
			if !slices.ContainsFunc(got.Tampered, named) && !slices.ContainsFunc(got.Unproven, named) {
				t.Errorf("%d: %s of %s: named are %v %v", i, what, name, got.Tampered, got.Unproven)
			}
		}
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		fmt.Fprintf(&b, "%s %x\n", name, seal.LeafHash(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestIntruder: who has the machine and its present key can't make a line or a
// file of before the last evolution verify, nor take one away.
func TestIntruder(t *testing.T) {
	for _, deed := range []string{"change", "delete"} {
		r := newRecording(t, 3)
		r.start()
		target := r.file()
		r.file()
		r.do(r.l.Evolve())
		r.file()
		r.stop(true)
		if got := r.verify(); got.Verdict != Verified {
			t.Fatalf("%+v", got)
		}
		// The intruder takes the lines apart, does the deed, and seals the ledger again from the begin on with the present key.
		path := filepath.Join(r.dir, target.String())
		r.do(os.Remove(path))
		if deed == "change" {
			r.do(os.WriteFile(path, []byte("nothing to see"), 0o600))
		}
		d, _ := seal.DigestFile(path)
		var kept []ledger.Entry
		for e, err := range ledger.Read(r.dir, nil) {
			r.do(err)
			switch {
			case e.Kind == ledger.KindSeal, deed == "delete" && e.Name == target.String():
				continue
			case e.Kind == ledger.KindDigest && e.Name == target.String():
				e.Size, e.Root = uint64(d.Size), d.Root.String()
			}
			kept = append(kept, e)
		}
		b, err := os.ReadFile(filepath.Join(r.dir, ledger.FileName))
		r.do(err)
		for _, chain := range []bool{true, false} {
			r.do(os.WriteFile(filepath.Join(r.dir, ledger.FileName), nil, 0o600))
			k, err := seal.Open(r.keys, r.dir)
			r.do(err)
			l, err := ledger.Open(r.dir, ledger.Options{Key: k})
			r.do(err)
			r.do(l.Append(kept...))
			r.do(l.Close())
			if !chain {
				r.do(os.Remove(filepath.Join(r.dir, seal.ChainName)))
			}
			if got := r.verify(); got.Verdict == Verified || !chain && got.Verdict != Tampered {
				t.Errorf("%s, with the chain %v: %+v", deed, chain, got)
			}
		}
		// Or leaves the lines as they are.
		r.do(os.WriteFile(filepath.Join(r.dir, ledger.FileName), b, 0o600))
		if got := r.verify(); got.Verdict != Tampered || !slices.ContainsFunc(got.Tampered, func(f Finding) bool { return f.File == target.String() }) {
			t.Errorf("%s: %+v", deed, got)
		}
	}
}

// TestUnproven: what is not sealed is said, and no tampering.
func TestUnproven(t *testing.T) {
	r := newRecording(t, 5)
	r.noon = r.noon.Add(-30 * time.Second)
	l, err := ledger.Open(r.dir, ledger.Options{})
	r.do(err)
	r.l = l
	old := r.file()
	r.do(l.Close())
	if _, err := Directory(r.dir, Options{Keys: []string{r.key}}); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
	r.noon = r.noon.Add(40 * time.Second) // files begin after the first checkpoint
	r.start()
	r.file()
	r.stop(true)
	got := r.verify()
	if got.Verdict != NotProven || len(got.Unproven) != 1 || got.Unproven[0].File != old.String() || got.Unproven[0].What != Unsealed {
		t.Errorf("%+v", got)
	}
	only, err := Directory(r.dir, Options{Keys: []string{r.key}, Since: r.noon})
	if err != nil || only.Verdict != Verified || only.Files != 1 {
		t.Errorf("%+v %v", only, err)
	}
	// Lines come after the last checkpoint, and capd is killed.
	r.start()
	r.seal()
	r.do(r.l.Seal(nil))
	r.do(r.l.Append(ledger.Hold(old)))
	r.do(r.l.Close())
	if got := r.verify(); got.Verdict != NotProven || len(got.Tampered) > 0 || len(got.Unproven) != 3 {
		t.Errorf("%+v", got)
	}
	other, _, err := seal.Init(t.TempDir(), r.dir, "elsewhere")
	r.do(err)
	if _, err := Directory(r.dir, Options{Keys: []string{other}}); !errors.Is(err, ErrOtherKey) {
		t.Error(err)
	}
}
