package extract

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"capd/internal/index"
	"capd/internal/read"
	"capd/ledger"
)

// A saved file is one as it was.
type saved struct {
	content []byte
	at      time.Time
}

// A faulty scene is one that faults are made in, again and again.
type faulty struct {
	*scene
	whole   map[string]saved // by path
	harmed  map[string]bool  // since all were whole
	through func(io.Reader) io.Reader
}

// index makes the tables of all files.
func (s *faulty) index() {
	for _, dir := range s.dirs {
		paths, err := index.Files(dir)
		s.must(err)
		var all []index.Built
		for _, path := range paths {
			b, err := index.Build(s.t.Context(), path, false, nil)
			s.must(err)
			all = append(all, b)
		}
		s.must(index.Catalogue(dir, all))
	}
}

// save keeps all files, of which restore makes what they were.
func (s *faulty) save() {
	s.whole = make(map[string]saved)
	for _, path := range s.files("") {
		b, err := os.ReadFile(path)
		s.must(err)
		info, err := os.Stat(path)
		s.must(err)
		s.whole[path] = saved{b, info.ModTime()}
	}
}

func (s *faulty) restore() {
	for path := range s.harmed {
		f := s.whole[path]
		s.must(os.WriteFile(path, f.content, 0o600))
		s.must(os.Chtimes(path, f.at, f.at))
	}
	s.through, s.harmed = nil, nil
}

// harm notes that a file is not what it was any more.
func (s *faulty) harm(path string) {
	if s.harmed == nil {
		s.harmed = make(map[string]bool)
	}
	s.harmed[path] = true
}

// files returns the paths of all files whose names have the part.
func (s *faulty) files(part string) (all []string) {
	for _, dir := range s.dirs {
		entries, err := os.ReadDir(dir)
		s.must(err)
		for _, e := range entries {
			if strings.Contains(e.Name(), part) {
				all = append(all, filepath.Join(dir, e.Name()))
			}
		}
	}
	return all
}

// capture returns the path of a capture file; "" if there is none.
func (s *faulty) capture() string {
	return s.oneOf(slices.DeleteFunc(s.files("eth"), func(path string) bool { return strings.HasSuffix(path, ".parquet") }))
}

// made returns the path of a table, a catalogue or a file of filters; "" if there is none.
func (s *faulty) made() string { return s.oneOf(append(s.files(".parquet"), s.files(".capd-")...)) }

func (s *faulty) oneOf(paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	return paths[s.r.IntN(len(paths))]
}

// change changes the bytes of a file. Where hidden, its time stays.
func (s *faulty) change(path string, hidden bool, change func([]byte) []byte) bool {
	if path == "" {
		return false
	}
	b, err := os.ReadFile(path)
	s.must(err)
	info, err := os.Stat(path)
	s.must(err)
	if len(b) == 0 {
		return false
	}
	s.harm(path)
	s.must(os.WriteFile(path, change(b), 0o600))
	if hidden {
		s.must(os.Chtimes(path, info.ModTime(), info.ModTime()))
	}
	return true
}

func (s *faulty) torn(b []byte) []byte { return b[:s.r.IntN(len(b))] }

func (s *faulty) flipped(b []byte) []byte {
	b[s.r.IntN(len(b))] ^= 1 << s.r.IntN(8)
	return b
}

func (s *faulty) remove(path string) bool {
	if path == "" {
		return false
	}
	s.harm(path)
	return os.Remove(path) == nil
}

// lines changes the lines of a ledger but the first.
func (s *faulty) lines(change func(lines [][]byte, n int) [][]byte) bool {
	return s.change(s.oneOf(s.files(ledger.FileName)), false, func(b []byte) []byte {
		lines := bytes.SplitAfter(b, []byte("\n"))
		lines = lines[:len(lines)-1]
		return slices.Concat(change(lines, min(1+s.r.IntN(len(lines)), len(lines)-1))...)
	})
}

// meanwhile does something to a capture file when the first is read.
func (s *faulty) meanwhile(do func(path string)) bool {
	path, done := s.capture(), false
	if path == "" {
		return false
	}
	s.harm(path)
	s.through = func(src io.Reader) io.Reader {
		if !done {
			do(path)
		}
		done = true
		return src
	}
	return true
}

// faults are what may happen to files that were recorded. A fault returns false if there is nothing that it can happen to.
var faults = map[string]func(s *faulty) bool{
	"capture file torn":    func(s *faulty) bool { return s.change(s.capture(), s.r.IntN(2) == 0, s.torn) },
	"capture file missing": func(s *faulty) bool { return s.remove(s.capture()) },
	"deleted while read":   func(s *faulty) bool { return s.meanwhile(func(path string) { _ = os.Remove(path) }) },
	"torn while read":      func(s *faulty) bool { return s.meanwhile(func(path string) { _ = os.Truncate(path, 40) }) },
	"ledger line illegible": func(s *faulty) bool {
		return s.lines(func(l [][]byte, n int) [][]byte { l[n] = []byte("{\"v\":1,\"kind\n"); return l })
	},
	"ledger line removed": func(s *faulty) bool {
		return s.lines(func(l [][]byte, n int) [][]byte { return slices.Delete(l, n, n+1) })
	},
	"ledger missing": func(s *faulty) bool { return s.remove(s.oneOf(s.files(ledger.FileName))) },
	"other file": func(s *faulty) bool { // of the same name, with fewer packets
		dir := s.dirs[s.r.IntN(len(s.dirs))]
		f := s.of[dir][s.r.IntN(len(s.of[dir]))]
		other := *f
		if _, err := os.Stat(s.path(dir, f)); err != nil || len(other.frames) == 0 {
			return false
		}
		other.frames = other.frames[1:]
		return s.change(s.path(dir, f), s.r.IntN(2) == 0, func([]byte) []byte { return compressed(s.t, f.suffix, other.image()) })
	},
	"compressed file flipped": func(s *faulty) bool { // which is guarded by a sum
		return s.change(s.oneOf(append(s.files(".zst"), s.files(".gz")...)), s.r.IntN(2) == 0, s.flipped)
	},
	"capture file touched": func(s *faulty) bool { // its table is stale
		path := s.capture()
		if path == "" {
			return false
		}
		s.harm(path)
		return os.Chtimes(path, time.Unix(noonUnix, 5), time.Unix(noonUnix, 5)) == nil
	},
	"index missing": func(s *faulty) bool { return s.remove(s.made()) },
	"index torn":    func(s *faulty) bool { return s.change(s.made(), s.r.IntN(2) == 0, s.torn) },
	"index corrupt": func(s *faulty) bool { return s.change(s.made(), s.r.IntN(2) == 0, s.flipped) },
	"index swapped": func(s *faulty) bool {
		from := s.made()
		return s.change(s.made(), s.r.IntN(2) == 0, func([]byte) []byte { return slices.Clone(s.whole[from].content) })
	},
	"index stale": func(s *faulty) bool { // it was made of what another file of the directory is
		from := s.oneOf(s.files(".parquet"))
		return from != "" && s.change(s.oneOf(s.files(".parquet")), true, func([]byte) []byte { return slices.Clone(s.whole[from].content) })
	},
}

// recordedFaults are what may happen while a file is recorded.
var recordedFaults = map[string]func(s *faulty, f *recordedFile){
	"dropped": func(s *faulty, f *recordedFile) {
		if len(f.frames) > 0 {
			f.frames[s.r.IntN(len(f.frames))].lost = true
		}
	},
	"deleted by limits": func(_ *faulty, f *recordedFile) { f.deleted = true },
	"no line":           func(_ *faulty, f *recordedFile) { f.unlisted = true },
	"recorder ended":    func(_ *faulty, f *recordedFile) { f.unclean = true },
	"filtered at capture": func(_ *faulty, f *recordedFile) {
		f.filter = notARP
		for i := range f.frames {
			f.frames[i].lost = f.frames[i].lost || !f.frames[i].udp
		}
	},
}

// A faultCount counts faults by their names, and answers.
type faultCount struct {
	sync.Mutex
	of                   map[string]int
	complete, incomplete int
}

// TestFaults: whatever is missing, damaged or wrong in capture files, ledgers, flow tables and catalogues, the answer says that
// something is missing, if anything is, and has no packet that did not come.
func TestFaults(t *testing.T) {
	const parts, scenes, rounds = 8, 9, 12
	count := faultCount{of: make(map[string]int)}
	t.Run("all", func(t *testing.T) {
		for part := range uint64(parts) {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel() // most of the time is that of the disk
				for n := range uint64(scenes) {
					count.scene(t, part*scenes+n, rounds)
				}
			})
		}
	})
	sum := 0
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(faults)), slices.Sorted(maps.Keys(recordedFaults))) {
		sum += count.of[name]
		if count.of[name] < 10 {
			t.Errorf("%s: %d times", name, count.of[name])
		}
	}
	t.Logf("%d faults: %v; %d answers are complete and %d are not", sum, count.of, count.complete, count.incomplete)
	if sum < 1000 || count.complete < 100 || count.incomplete < 300 {
		t.Error("too few, or the cases are too much alike")
	}
}

// scene makes faults of a scene, and asks for its packets.
func (c *faultCount) scene(t *testing.T, seed uint64, rounds int) {
	r := rand.New(rand.NewPCG(seed, 2))
	s := &faulty{scene: newScene(t, r)}
	add := func(name string, all *[]string) {
		*all = append(*all, name)
		c.Lock()
		c.of[name]++
		c.Unlock()
	}
	recorded := slices.Sorted(maps.Keys(recordedFaults))
	var before []string
	for range r.IntN(4) {
		dir := s.dirs[r.IntN(len(s.dirs))]
		name := recorded[r.IntN(len(recorded))]
		recordedFaults[name](s, s.of[dir][r.IntN(len(s.of[dir]))])
		add(name, &before)
	}
	s.write()
	if r.IntN(4) > 0 {
		s.index()
	}
	s.save()
	names := slices.Sorted(maps.Keys(faults))
	for round := range rounds {
		made := slices.Clone(before)
		for range r.IntN(4) {
			if name := names[r.IntN(len(names))]; faults[name](s) {
				add(name, &made)
			}
		}
		c.judge(t, s, made, fmt.Sprintf("seed %d, round %d: %s", seed, round, strings.Join(made, ", ")))
		s.restore()
	}
}

// traceless reports whether both a file and the ledger's line of it are gone, so that nothing tells that it ever was.
func (s *faulty) traceless() bool {
	for dir, files := range s.of {
		lines, _ := os.ReadFile(filepath.Join(dir, ledger.FileName))
		for _, f := range files {
			if _, err := os.Stat(s.path(dir, f)); err != nil && !bytes.Contains(lines, []byte(f.name.String())) {
				return true
			}
		}
	}
	return false
}

// judge asks a question, and judges the answer by what came.
func (c *faultCount) judge(t *testing.T, s *faulty, made []string, what string) {
	q := s.question()
	a, given := s.ask(q, s.through)
	came := s.came(&q)
	slices.SortFunc(given, func(a, b frame) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id)) })
	seen := make(map[uint32]frame)
	for _, fr := range came {
		seen[fr.id] = fr
	}
	// The sum over a file that is compressed in one piece is at its end, where all before it has been given.
	late := slices.Contains(made, "compressed file flipped") &&
		slices.ContainsFunc(a.Missing, func(m Missing) bool {
			packed := slices.Contains([]string{".zst", ".gz"}, filepath.Ext(m.Where))
			return m.Cause == CauseTorn && packed && !slices.ContainsFunc(s.dirs, func(dir string) bool { return read.HasParts(filepath.Join(dir, m.Where)) })
		})
	for i, fr := range given {
		if was, ok := seen[fr.id]; (!ok || fr.wrong || !was.at.Equal(fr.at) || i > 0 && given[i-1].id == fr.id) && !late {
			t.Errorf("%s: packet %d did not come, or came twice", what, fr.id)
		}
	}
	c.Lock()
	defer c.Unlock()
	switch {
	case !a.Complete:
		c.incomplete++
		if len(a.Missing) == 0 {
			t.Errorf("%s: incomplete without a reason", what)
		}
	case s.traceless():
	case len(given) != len(came):
		t.Errorf("%s: %d of %d packets, and %s; question %+v", what, len(given), len(came), a.Verdict(), q)
	default:
		c.complete++
	}
	if len(made) == 0 && q.Since.IsZero() && q.Until.IsZero() && !a.Complete {
		t.Errorf("%s: nothing is wrong, and %s", what, a.Verdict())
	}
}
