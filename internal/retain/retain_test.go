package retain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/pcap"
	"capd/store"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func nameOf(iface string, seq int, start time.Time) store.Name {
	return store.Name{Interface: iface, Start: start.Truncate(time.Second), Sequence: uint64(seq), Format: pcap.PCAP}
}

// row returns n files of a size, one minute each, of which the last one ended now.
func row(iface string, n int, size int64) (files []File) {
	for i := range n {
		files = append(files, File{Name: nameOf(iface, i+1, noon.Add(time.Duration(i-n)*time.Minute)), Size: size})
	}
	return files
}

// sequences formats the planned deletions.
func sequences(plan []Deletion) string {
	var all []string
	for _, d := range plan {
		all = append(all, fmt.Sprintf("%s%d:%s", d.Name.Interface, d.Name.Sequence, d.Limit))
	}
	return strings.Join(all, " ")
}

// pending sets a pending step for the files with these sequence numbers.
func pending(files []File, sequences ...uint64) []File {
	for i := range files {
		if slices.Contains(sequences, files[i].Name.Sequence) {
			files[i].Pending = "hook"
		}
	}
	return files
}

// keptUntil sets KeepUntil for the files with these sequence numbers.
func keptUntil(files []File, sequences ...uint64) []File {
	for i := range files {
		if slices.Contains(sequences, files[i].Name.Sequence) {
			files[i].Pending, files[i].KeepUntil = "hook", "hook"
		}
	}
	return files
}

func directory(l Limits) Policy { return Policy{Directory: l} }

func TestPlan(t *testing.T) {
	two := slices.Concat(row("a", 3, 10), row("b", 2, 10)) // a begins at -3, -2, -1 minutes, b at -2, -1
	held := row("a", 4, 10)
	held[0].Held, held[1].Partial = true, true
	both := func(l Limits, a Limits) Policy {
		return Policy{Directory: l, Interface: func(name string) Limits {
			if name == "a" {
				return a
			}
			return Limits{}
		}}
	}
	for what, c := range map[string]struct {
		files  []File
		policy Policy
		space  store.Space
		want   string
	}{
		"no limit":           {two, Policy{}, store.Space{}, ""},
		"bytes":              {two, directory(Limits{Bytes: 30}), store.Space{}, "a1:bytes a2:bytes"},
		"bytes hold":         {two, directory(Limits{Bytes: 50}), store.Space{}, ""},
		"age":                {two, directory(Limits{Age: 90 * time.Second}), store.Space{}, "a1:age a2:age b1:age"},
		"count":              {two, directory(Limits{Count: 2}), store.Space{}, "a1:count a2:count b1:count"},
		"free":               {two, directory(Limits{MinFree: 100}), store.Space{Free: 81, Total: 1000}, "a1:min_free a2:min_free"},
		"free part":          {two, directory(Limits{MinFreePart: 0.1}), store.Space{Free: 90, Total: 1000}, "a1:min_free"},
		"free holds":         {two, directory(Limits{MinFreePart: 0.1, MinFree: 50}), store.Space{Free: 100, Total: 1000}, ""},
		"inodes part":        {two, directory(Limits{MinFreePart: 0.1}), store.Space{Free: 500, Total: 1000, FreeFiles: 8, Files: 100}, "a1:min_free_inodes a2:min_free_inodes"},
		"inodes by bytes":    {two, directory(Limits{MinFree: 50}), store.Space{Free: 500, Total: 1000, FreeFiles: 4, Files: 100}, "a1:min_free_inodes"},
		"bytes, then inodes": {two, directory(Limits{MinFreePart: 0.1}), store.Space{Free: 91, Total: 1000, FreeFiles: 8, Files: 100}, "a1:min_free a2:min_free_inodes"},
		"inodes hold":        {two, directory(Limits{MinFreePart: 0.1}), store.Space{Free: 500, Total: 1000, FreeFiles: 10, Files: 100}, ""},
		"no inodes asked":    {two, directory(Limits{Count: 100}), store.Space{Free: 500, Total: 1000, Files: 100}, ""},
		"of an interface":    {two, both(Limits{}, Limits{Bytes: 15}), store.Space{}, "a1:bytes a2:bytes"},
		"both":               {two, both(Limits{Count: 2}, Limits{Count: 2}), store.Space{}, "a1:count a2:count b1:count"},
		"interface floor":    {two, both(Limits{Bytes: 1}, Limits{KeepAtLeast: Floor{Count: 2}}), store.Space{}, "a1:bytes b1:bytes b2:bytes"},
		"floor count":        {two, directory(Limits{Bytes: 1, KeepAtLeast: Floor{Count: 4}}), store.Space{}, "a1:bytes"},
		"floor bytes":        {two, directory(Limits{MinFree: 1 << 60, KeepAtLeast: Floor{Bytes: 21}}), store.Space{Free: 0, Total: 1000}, "a1:min_free a2:min_free"},
		"floor age":          {two, directory(Limits{Count: 1, KeepAtLeast: Floor{Age: 2 * time.Minute}}), store.Space{}, "a1:count a2:count b1:count"},
		"pending goes last":  {pending(row("a", 5, 10), 1, 2), directory(Limits{Count: 3}), store.Space{}, "a3:count a4:count"},
		"pending goes":       {pending(row("a", 5, 10), 1, 2, 5), directory(Limits{Count: 1}), store.Space{}, "a3:count a4:count a1:count a2:count"},
		"all are pending":    {pending(row("a", 3, 10), 1, 2, 3), directory(Limits{Bytes: 10}), store.Space{}, "a1:bytes a2:bytes"},
		"pending by age":     {pending(row("a", 4, 10), 1, 4), directory(Limits{Age: 150 * time.Second}), store.Space{}, "a2:age a1:age"},
		"pending by free":    {pending(row("a", 3, 10), 1), directory(Limits{MinFree: 100}), store.Space{Free: 81, Total: 1000}, "a2:min_free a3:min_free"},
		"pending of one": {pending(slices.Concat(row("a", 3, 10), row("b", 3, 10)), 1), both(Limits{}, Limits{Count: 2}), store.Space{},
			"a2:count"},
		"pending, floor of the newest": {pending(row("a", 6, 10), 1, 2), directory(Limits{Count: 2, KeepAtLeast: Floor{Count: 2}}), store.Space{},
			"a3:count a4:count a1:count a2:count"},
		"pending, floor of bytes": {pending(row("a", 6, 10), 1, 2), directory(Limits{Bytes: 20, KeepAtLeast: Floor{Bytes: 20}}), store.Space{},
			"a3:bytes a4:bytes a1:bytes a2:bytes"},
		"kept":       {keptUntil(row("a", 5, 10), 1, 2), directory(Limits{Count: 2}), store.Space{}, "a3:count a4:count a5:count"},
		"kept, full": {keptUntil(row("a", 3, 10), 1, 2, 3), directory(Limits{MinFree: 1000}), store.Space{Total: 1000}, ""},
		"kept, floor of the newest": {keptUntil(row("a", 5, 10), 1, 2), directory(Limits{Count: 1, KeepAtLeast: Floor{Count: 2}}), store.Space{},
			"a3:count"},
		"held":    {held, directory(Limits{Bytes: 25}), store.Space{}, "a3:bytes a4:bytes"},
		"nothing": {nil, directory(Limits{Bytes: 1, Age: 1, Count: 1, MinFree: 1}), store.Space{}, ""},
	} {
		if got := sequences(Plan(noon, c.files, c.policy, c.space)); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

// TestPlanClockSet: the newest files are kept, even if the clock was set.
func TestPlanClockSet(t *testing.T) {
	year := 365 * 24 * time.Hour
	at := func(iface string, seq int, start time.Time) File {
		return File{Name: nameOf(iface, seq, start), Size: 1}
	}
	// Two interfaces are recorded. After their fifth files, the clock is set back by a year.
	var files []File
	for i := range 10 {
		start := noon.Add(time.Duration(i) * time.Hour)
		if i >= 5 {
			start = start.Add(-year)
		}
		files = append(files, at("a", i+1, start), at("b", i+1, start.Add(time.Minute)))
	}
	now := noon.Add(10*time.Hour - year)
	want := "a1 b1 a2 b2 a3 b3 a4 b4 a5 b5 a6 b6 a7 b7 a8 b8"
	check := func(what string, now time.Time, files []File, l Limits, want string) {
		t.Helper()
		r := rand.New(rand.NewPCG(1, 1))
		r.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		var got []string
		for _, d := range Plan(now, files, directory(l), store.Space{}) {
			got = append(got, fmt.Sprint(d.Name.Interface, d.Name.Sequence))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("back", now, files, Limits{Count: 4}, want)
	// Files before the step count as old as the oldest file after it: 5 hours.
	check("back, young", now, files, Limits{Age: 6 * time.Hour}, "")
	check("back, old", now, files, Limits{Age: 5*time.Hour - 2*time.Minute}, "a1 b1 a2 b2 a3 b3 a4 b4 a5 b5 a6 b6")
	// An interface recorded only before the step is deleted first; one recorded only after it,
	// last.
	files = append(files, at("old", 1, noon.Add(9*time.Hour)), at("new", 1, noon.Add(5*time.Hour-year)))
	check("one side", now, files, Limits{Count: 13}, "a1 b1 a2 b2 a3 b3 a4 b4 a5")
	check("only before", now, files, Limits{Count: 11}, "a1 b1 a2 b2 a3 b3 a4 b4 a5 b5 old1")
	// A step of some seconds, as NTP makes it, does not start a new era.
	small := []File{at("a", 1, noon), at("a", 2, noon.Add(time.Minute)), at("a", 3, noon.Add(58*time.Second)), at("b", 1, noon.Add(-time.Second))}
	check("small step", noon.Add(time.Hour), small, Limits{Count: 1}, "b1 a1 a2")
}

func randomFiles(r *rand.Rand) (files []File) {
	keep := r.IntN(2) == 0
	start := noon.Add(-time.Hour)
	seq := map[string]int{}
	for range r.IntN(40) {
		iface := string(rune('a' + r.IntN(3)))
		seq[iface]++
		start = start.Add(time.Duration(r.IntN(120)) * time.Second)
		if r.IntN(10) == 0 {
			start = start.Add(-time.Duration(r.IntN(100)) * time.Hour)
		}
		f := File{
			Name: nameOf(iface, seq[iface], start), Size: r.Int64N(100), Held: r.IntN(8) == 0, Partial: r.IntN(12) == 0,
		}
		if r.IntN(4) == 0 {
			f.Pending = "compress"
		}
		if keep && r.IntN(6) == 0 {
			f.KeepUntil = "hook"
		}
		files = append(files, f)
	}
	return files
}

func randomLimits(r *rand.Rand) (l Limits) {
	some := func(n int64) int64 { return max(0, r.Int64N(2*n)-n) }
	l.Bytes, l.Count, l.Age = some(1000), int(some(30)), time.Duration(some(int64(time.Hour)))
	l.MinFree = uint64(some(500))
	if r.IntN(2) == 0 {
		l.KeepAtLeast = Floor{some(800), int(some(20)), time.Duration(some(int64(time.Hour)))}
	}
	return l
}

// TestPlanProperties: either the limits are met, or a floor or a step prevents it; floors are
// respected; held files, and files kept until a step has succeeded, are kept; each limit deletes
// files without a pending step first; the order within an interface is that of the sequence numbers;
// no more files are deleted than the limits require.
func TestPlanProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for range 20000 {
		files := randomFiles(r)
		limits := map[string]Limits{"a": randomLimits(r), "b": randomLimits(r)}
		p := Policy{Directory: randomLimits(r), Interface: func(s string) Limits { return limits[s] }}
		space := store.Space{Free: r.Uint64N(600), Total: 5000}
		plan := Plan(noon, files, p, space)
		left := remaining(t, files, plan)
		checkOrder(t, files, plan)
		checkYields(t, files, p, space)
		checkScope(t, "directory", files, left, plan, p, p.Directory, space)
		for name, l := range limits {
			of := func(all []File) []File {
				return slices.DeleteFunc(slices.Clone(all), func(f File) bool { return f.Name.Interface != name })
			}
			checkScope(t, name, of(files), of(left), plan, p, l, space)
		}
		// Only files that stay for a step can leave a gap in the order, such that the others are
		// ordered differently now.
		if again := Plan(noon, left, p, freed(space, plan)); len(again) > 0 &&
			(!slices.ContainsFunc(files, func(f File) bool { return f.waits() }) || sameOrder(files, left)) {
			t.Fatalf("%v, and then %v", plan, again)
		}
	}
}

// sameOrder reports whether the files that are left are in the order in which
// they were among all.
func sameOrder(files, left []File) bool {
	var before, now []store.Name
	for _, q := range order(noon, files) {
		if slices.ContainsFunc(left, func(f File) bool { return f.Name == q.Name }) {
			before = append(before, q.Name)
		}
	}
	for _, q := range order(noon, left) {
		now = append(now, q.Name)
	}
	return slices.Equal(before, now)
}

func freed(s store.Space, plan []Deletion) store.Space {
	for _, d := range plan {
		s.Free += uint64(d.Size)
	}
	return s
}

func remaining(t *testing.T, files []File, plan []Deletion) []File {
	t.Helper()
	left := slices.Clone(files)
	for _, d := range plan {
		i := slices.IndexFunc(left, func(f File) bool { return f.Name == d.Name })
		if i < 0 || left[i].Held || left[i].Partial || left[i].KeepUntil != "" || left[i].Size != d.Size || left[i].Pending != d.Pending {
			t.Fatalf("%v may not be deleted", d)
		}
		left = slices.Delete(left, i, i+1)
	}
	return left
}

// checkOrder checks that the sequence numbers increase in each pass over an interface's files. There
// are four: for the interface's limits and then the directory's, each without and then with files
// that have a pending step.
func checkOrder(t *testing.T, files []File, plan []Deletion) {
	t.Helper()
	type place struct {
		pending  bool
		sequence uint64
	}
	last := map[string]place{}
	passes := map[string]int{}
	for _, d := range plan {
		before, now := last[d.Name.Interface], place{d.Pending != "", d.Name.Sequence}
		last[d.Name.Interface] = now
		switch {
		case before.pending == now.pending && now.sequence < before.sequence: // the directory's pass follows
			passes[d.Name.Interface]++
		case before.pending && !now.pending:
			passes[d.Name.Interface]++
		}
		if passes[d.Name.Interface] > 1 {
			t.Fatalf("%s is out of order", sequences(plan))
		}
	}
}

// checkYields checks that a Yield is reported if a step protects files from limits.
func checkYields(t *testing.T, files []File, policy Policy, space store.Space) {
	t.Helper()
	p := newPlan(noon, files, policy, space)
	said := 0
	for _, y := range p.yields {
		if y.Step != "hook" || y.Limit == "" || y.Files == 0 {
			t.Fatalf("yields %+v", p.yields)
		}
		said += y.Files
	}
	stay := 0 // files that a limit would delete at the end, and no floor protects
	for _, q := range order(noon, files) {
		if q.KeepUntil == "" || q.Held || q.Partial {
			continue
		}
		iface := p.ifaces[q.Name.Interface]
		iface.beginPass()
		p.all.beginPass()
		wanted := iface.exceeded(q, &p.space) != "" || p.all.exceeded(q, &p.space) != ""
		if wanted && policy.Directory.KeepAtLeast == (Floor{}) && iface.limits.KeepAtLeast == (Floor{}) {
			stay++
		}
	}
	if said == 0 && stay > 0 || said > 0 && !slices.ContainsFunc(files, func(f File) bool { return f.KeepUntil != "" }) {
		t.Fatalf("%d files are said to stay, of %d", said, stay)
	}
}

// checkScope checks the limits and the floor for the files of an interface or the directory.
func checkScope(t *testing.T, what string, files, left []File, plan []Deletion, p Policy, l Limits, space store.Space) {
	t.Helper()
	sum := func(all []File) (used, finished int64, count int) {
		for _, f := range all {
			used += f.Size
			if !f.Partial {
				finished += f.Size
				count++
			}
		}
		return used, finished, count
	}
	_, before, countBefore := sum(files)
	used, finished, count := sum(left)
	floor := l.KeepAtLeast
	if finished < min(floor.Bytes, before) || count < min(floor.Count, countBefore) {
		t.Fatalf("%s: floor %+v is broken: %d files, %d bytes are left of %d, %d", what, floor, count, finished, countBefore, before)
	}
	exceeded := l.Bytes > 0 && used > l.Bytes || l.Count > 0 && count > l.Count || freed(space, plan).Free < l.MinFree
	if !exceeded {
		return
	}
	floors := p.Directory.KeepAtLeast != Floor{} || p.of(what).KeepAtLeast != Floor{}
	for _, f := range left {
		floors = floors || p.of(f.Name.Interface).KeepAtLeast != Floor{}
	}
	for _, f := range left {
		if !f.Held && !f.Partial && f.KeepUntil == "" && !floors {
			t.Fatalf("%s: %+v does not hold: %d bytes, %d files", what, l, used, count)
		}
	}
}

func TestPlanMany(t *testing.T) {
	files := slices.Concat(row("a", 5000, 10), row("b", 5000, 10))
	plan := Plan(noon, files, directory(Limits{Bytes: 50_000}), store.Space{})
	if len(plan) != 5000 || plan[0].Name.Sequence != 1 || plan[4999].Name.Sequence != 2500 {
		t.Errorf("%d of 10,000 files go", len(plan))
	}
}

// BenchmarkPlan plans for the files of two interfaces in random order, none of which has to be
// deleted.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		files := slices.Concat(row("a", n/2, 10), row("b", n/2, 10))
		rand.Shuffle(n, func(i, j int) { files[i], files[j] = files[j], files[i] })
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				Plan(noon, files, directory(Limits{Bytes: 1 << 40}), store.Space{})
			}
		})
	}
}

func TestPredict(t *testing.T) {
	files := slices.Concat(row("a", 120, 600), row("b", 120, 1200)) // 10 and 20 bytes a second
	for what, c := range map[string]struct {
		policy Policy
		want   time.Duration
		limit  Limit
	}{
		"none":      {Policy{}, 8200 * time.Second, ByDisk},
		"bytes":     {directory(Limits{Bytes: 3000}), 100 * time.Second, ByBytes},
		"age":       {directory(Limits{Bytes: 3000, Age: time.Minute}), time.Minute, ByAge},
		"count":     {directory(Limits{Count: 60}), 30 * time.Minute, ByCount},
		"free":      {directory(Limits{MinFree: 96000}), 5000 * time.Second, ByMinFree}, // 216000 used
		"interface": {Policy{Directory: Limits{Bytes: 3000}, Interface: func(string) Limits { return Limits{Bytes: 100} }}, 10 * time.Second, ByBytes},
	} {
		got := Predict(noon, files, c.policy, store.Space{Free: 30000, Total: 1e6})
		if len(got) != 2 || got[0].Interface != "a" || got[0].Rate != 10 || got[1].Rate != 20 ||
			got[0].Limit != c.limit || (got[0].Reach-c.want).Abs() > time.Second || !got[0].Oldest.Equal(noon.Add(-2*time.Hour)) {
			t.Errorf("%s: %+v, want %v by %s", what, got, c.want, c.limit)
		}
	}
	if got := Predict(noon, row("a", 1, 0), directory(Limits{Bytes: 1}), store.Space{}); len(got) != 1 || got[0].Reach != 0 {
		t.Errorf("without a rate: %+v", got)
	}
}
