package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/store"
)

// TestGrowing: what a recorder says of the files that it is writing is in the verdict, up to the moment when it said so.
func TestGrowing(t *testing.T) {
	at := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	minute := func(n float64) time.Time { return at.Add(time.Duration(n * float64(time.Minute))) }
	name := func(n uint64, begin float64) store.Name {
		return store.Name{Interface: "eth0", Start: minute(begin), Sequence: n}
	}
	start := Start(Run{})
	start.Time = at
	first := (&File{Name: name(1, 0), Begin: at, End: minute(1), Tally: Tally{Packets: 7, Received: 7}, Clean: true}).Entry()
	open := GapOpened("eth0", minute(1), CauseDiskFull)
	partial := func(n uint64, begin float64) string { return name(n, begin).String() + store.Partial }
	grown := Growing{Time: minute(2), Recording: true, Tally: Tally{Packets: 5}}
	lossy := grown
	lossy.KernelDropped, lossy.CapdDropped = 3, 4
	stuck := Growing{Time: minute(2), Tally: Tally{CapdDropped: 9}}
	for what, c := range map[string]struct {
		lines   []Entry
		names   []string
		growing *Growing
		q       Question
		want    string
	}{
		"nobody was asked":       {[]Entry{start, first}, []string{name(1, 0).String(), partial(2, 1)}, nil, Question{}, "complete 0-1"},
		"nothing is lost":        {[]Entry{start, first}, []string{name(1, 0).String(), partial(2, 1)}, &grown, Question{}, "complete 0-2, growing 5"},
		"nothing has ended":      {[]Entry{start}, []string{partial(1, 0)}, &grown, Question{}, "complete 0-2, growing 5"},
		"no frame has come":      {[]Entry{start}, nil, &Growing{Time: minute(2), Recording: true}, Question{}, "complete 0-2, growing 0"},
		"lost so far":            {[]Entry{start, first}, []string{name(1, 0).String(), partial(2, 1)}, &lossy, Question{}, "INCOMPLETE 0-2, growing 5: 1-2 dropped by the kernel 3 in " + partial(2, 1) + ": 1-2 dropped by capd 4 in " + partial(2, 1)},
		"of the first file":      {[]Entry{start}, []string{partial(1, 0)}, &lossy, Question{}, "INCOMPLETE 0-2, growing 5: 0-2 dropped by the kernel 3 in " + partial(1, 0) + ": 0-2 dropped by capd 4 in " + partial(1, 0)},
		"the disk is full":       {[]Entry{start, first, open}, []string{name(1, 0).String()}, &stuck, Question{}, "INCOMPLETE 0-2, growing 0: 1-2 disk full 0 in : 1-2 dropped by capd 9 in "},
		"into the future":        {[]Entry{start, first}, []string{name(1, 0).String(), partial(2, 1)}, &grown, Question{Until: minute(3)}, "UNKNOWN 0-3, growing 5: 2-3 being recorded 0 in " + partial(2, 1)},
		"the past":               {[]Entry{start, first}, []string{name(1, 0).String(), partial(2, 1)}, &lossy, Question{Until: minute(0.5)}, "complete 0-0.5"},
		"two files of two lanes": {[]Entry{start, first}, []string{name(1, 0).String(), partial(2, 1), partial(3, 1)}, &lossy, Question{}, "INCOMPLETE 0-2, growing 5: 1-2 dropped by the kernel 3 in : 1-2 dropped by capd 4 in "},
	} {
		c.q.Names, c.q.Live = append([]string{}, c.names...), true
		if c.growing != nil {
			c.q.Growing = map[string]Growing{"eth0": *c.growing}
		}
		all, err := Judge(func(yield func(Entry, error) bool) {
			for _, e := range c.lines {
				if !yield(e, nil) {
					return
				}
			}
		}, c.q)
		if err != nil || len(all) != 1 {
			t.Errorf("%s: %+v, %v", what, all, err)
			continue
		}
		v := all[0]
		minutes := func(a, b time.Time) string { return fmt.Sprintf("%v-%v", a.Sub(at).Minutes(), b.Sub(at).Minutes()) }
		got := []string{map[Outcome]string{Complete: "complete ", Incomplete: "INCOMPLETE ", Unknown: "UNKNOWN "}[v.Outcome()] + minutes(v.Since, v.Until)}
		if v.Growing != nil {
			got[0] += fmt.Sprintf(", growing %d", v.Growing.Packets)
		}
		for _, m := range v.Missing {
			got = append(got, fmt.Sprintf("%s %s %d in %s", minutes(m.Begin, m.End), m.Cause, m.Frames, m.Where))
		}
		if got := strings.Join(got, ": "); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, c.want)
		}
		if len(v.Recording) != len(slices.DeleteFunc(slices.Clone(c.names), func(s string) bool { return !strings.HasSuffix(s, store.Partial) })) && c.q.Until.IsZero() {
			t.Errorf("%s: recording %q", what, v.Recording)
		}
	}
}
