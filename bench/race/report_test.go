//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample() Report {
	heat := func(name string, lost uint64, cpu float64) Heat {
		return Heat{Recorder: name, Load: "64", Wanted: 1e6, Offered: 1_000_000, OfferedPPS: 999_000, Gbits: 0.51,
			Lost: lost, Others: 0.05, NsPerFrame: cpu, NsWhole: cpu + 50, CPUStart: 0.05, CPUWhole: (cpu + 50) / 1000,
			Ring: 128 << 20, Idle: 10 << 20, Peak: 30 << 20, Bytes: 76 << 20, Files: 1}
	}
	return Report{
		Date:      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Machine:   Machine{"Some CPU", 2, "6.18", "ext4"},
		Recorders: []Entrant{{"capd", "v1", true}, {Name: "dumpcap"}},
		Disk:      []DiskLimit{{1 << 30, 0.15, 1 << 32}, {1 << 29, 0.1, 1 << 31}},
		Heats: []Heat{heat("capd", 0, 100), heat("tcpdump", 50, 300), heat("capd", 0, 90),
			heat("tcpdump", 500_000, 310), heat("capd", 0, 110), heat("tcpdump", 100_000, 250)},
	}
}

func TestPrint(t *testing.T) {
	r := sample()
	r.Heats[0].Error = "exit status 1"
	light := r.Heats[1]
	light.Lost, light.OfferedPPS = 0, 500_000
	failed := Heat{Recorder: "capd", Load: "64", Limit: true, Rotate: 1 << 20}
	r.Heats = append(r.Heats, light, failed)
	r.Warnings, r.leftOut = []string{"something is slow"}, "More is in another race."
	r.Rows = r.rows()
	var b strings.Builder
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	const want = `2026-01-02T03:04:05Z, Some CPU, 2 cores, Linux 6.18, ext4
capd: v1
dumpcap: not installed
warning: something is slow
the disk takes 0.50 (0.50-1.00) GiB/s of a plain writer

  recorder     bytes  rotate  Gbit/s   Mpps   frames                lost         lost %  doubled  reordered  disk MiB  files
      capd        64   never    0.51  0.999  1000000                   0              0        0          0        76      1
   tcpdump        64   never    0.51  0.999  1000000  100000 (50-500000)  10 (<0.01-50)        0          0        76      1
      capd  64 limit   1 MiB       -      -        -                   -              -        -          -         -      -

      recorder     bytes  rotate  start ms         CPU ns            /first           whole s       whole ns       whole/first  others %  ring MiB  idle MiB  peak MiB
          capd        64   never        50   100 (90-110)              1.00  0.15 (0.14-0.16)  150 (140-160)              1.00         5       128        10        30
       tcpdump        64   never        50  300 (250-310)  3.00 (2.27-3.44)  0.35 (0.30-0.36)  350 (300-360)  2.33 (1.88-2.57)         5       128        10        30
  plain writer        64   never         -     13 (13-18)                 -                 -              -                 -         -         -         -         -
          capd  64 limit   1 MiB         -              -                 -                 -              -                 -         -         -         -         -
  plain writer  64 limit   1 MiB         -     13 (13-18)                 -                 -              -                 -         -         -         -         -
capd, 64 bytes: 0 frames cut, 0 foreign, 0 files torn; exit status 1
tcpdump, 64 bytes: injection fell short, 0.500 of 1.000 Mpps: do not compare it

More is in another race.
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   string
	}{{[]float64{7}, "7"}, {[]float64{3, 1, 2}, "2 (1-3)"}, {[]float64{4, 1, 3, 2}, "2 (1-4)"}, {[]float64{1.1, 0.9}, "1"}} {
		if got := spreadOf(c.values).format(whole); got != c.want {
			t.Errorf("%v: %s, want %s", c.values, got, c.want)
		}
	}
}

func TestSave(t *testing.T) {
	r := sample()
	r.Rows = r.rows()
	path := filepath.Join(t.TempDir(), "race.json")
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("%+v, %v; want %+v", back, err, r)
	}
}

func TestParseLoads(t *testing.T) {
	tests := []struct {
		sizes, rates string
		want         []load // by name and rate
	}{
		{"1000", "0.8", []load{{Name: "1000", PPS: 100_000}}},
		{"64,imix", "max", []load{{Name: "64"}, {Name: "imix"}}},
		{"64", "1Mpps,2Mpps", []load{{Name: "64", PPS: 1e6}, {Name: "64", PPS: 2e6}}},
		{"1000@8,64", "1Mpps", []load{{Name: "1000", PPS: 1e6}, {Name: "64", PPS: 1e6}}},
		{"64@limit,64@max/2,1000/3", "0.8", []load{{Name: "64", Limit: true}, {Name: "64", Rotate: 2 << 20}, {Name: "1000", PPS: 100_000, Rotate: 3 << 20}}},
		{"64/0", "1", nil},
		{"64/1MiB", "1", nil},
		{"9", "1", nil},
		{"64", "0", nil},
		{"64", "fast", nil},
		{"64", "NaN", nil},
	}
	for _, tt := range tests {
		got, err := parseLoads(tt.sizes, tt.rates, noRotate)
		if (err != nil) != (tt.want == nil) || len(got) != len(tt.want) && err == nil {
			t.Errorf("%s at %s: %v, %v", tt.sizes, tt.rates, got, err)
			continue
		}
		for i, want := range tt.want {
			want.Rotate = cmp.Or(want.Rotate, noRotate)
			if want.Sizes = got[i].Sizes; !reflect.DeepEqual(got[i], want) {
				t.Errorf("%s at %s: load %d is %v, want %v", tt.sizes, tt.rates, i, got[i], want)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range []string{"-seconds 0", "-repeat 0", "-rotate-size -1", "more", "-sizes 1515", "-short -long", "-idle -1"} {
		if _, err := parse(strings.Fields(args), new(strings.Builder)); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

func TestPresets(t *testing.T) {
	for _, c := range []struct {
		args             string
		seconds          float64
		repeat, loads    int
		recorders        int
		limits, rotating int
	}{
		{"", 5, 1, 8, 6, 0, 0},
		{"-short", 2, 3, 2, 6, 0, 0},
		{"-short -repeat 5 -recorders capd,tcpdump", 2, 5, 2, 2, 0, 0},
		{"-seconds 1 -long", 1, 5, 7, 8, 2, 1},
		{"-find-limit -sizes 64,1514@3.6", 5, 1, 2, 6, 1, 0},
		{"-rotate-size 1 -sizes 64@1", 5, 1, 1, 6, 0, 1},
	} {
		o, err := parse(strings.Fields(c.args), new(strings.Builder))
		limits, rotating := 0, 0
		for _, l := range o.loads {
			if l.Limit {
				limits++
			}
			if l.rotates() {
				rotating++
			}
		}
		if err != nil || o.seconds != c.seconds || o.repeat != c.repeat || len(o.loads) != c.loads || len(o.recorders) != c.recorders ||
			limits != c.limits || rotating != c.rotating || (o.leaves != "") != strings.Contains(c.args, "-short") {
			t.Errorf("%q: %+v, %v", c.args, o, err)
		}
	}
}

func TestHasSocket(t *testing.T) {
	const text = `sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000000000000 3      3    0003   7     1 0      0      4711
0000000000000000 3      3    0003   8     0 0      0      4712
`
	for ifindex, want := range map[int]bool{7: true, 8: false, 3: false} {
		if got := hasSocket(text, ifindex); got != want {
			t.Errorf("interface %d: %v, want %v", ifindex, got, want)
		}
	}
}

func TestBusyIn(t *testing.T) {
	const text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 1000 2000 4 5 6 0 0\ncpu1 10 0 0 7 0 0 0 0 0 0\nintr 1\n"
	for cpu, want := range map[int]time.Duration{0: 210 * time.Millisecond, 1: 100 * time.Millisecond, 2: 0} {
		if got := busyIn(text, cpu); got != want {
			t.Errorf("CPU %d: %v, want %v", cpu, got, want)
		}
	}
}

func TestRoom(t *testing.T) {
	const rotated = 1 << 30
	for name, tt := range map[string]struct {
		t      track
		rotate int64
		want   int64
	}{
		"heat":           {track{seconds: 10}, noRotate, 12_000_000},
		"heat rotated":   {track{seconds: 10}, rotated, 12_000_000},
		"bursts":         {track{seconds: 25, silence: 4}, noRotate, 7_200_000},
		"bursts rotated": {track{seconds: 6000, silence: 4}, rotated, 3_600_000},
		"steady":         {track{seconds: 60, steady: true}, noRotate, 72_000_000},
		"steady rotated": {track{seconds: 6000, steady: true}, rotated, 36_000_000},
	} {
		if got := tt.t.room(load{Sizes: []int{968}, PPS: 1000, Rotate: tt.rotate}); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestMeasureDiskRefusesMemory(t *testing.T) {
	const memory = "/dev/shm"
	if fileSystem(memory) != "tmpfs" {
		t.Skip("needs a tmpfs: " + memory + " is none")
	}
	if _, err := measureDisk(memory, time.Second); err != errMemory {
		t.Errorf("error %v, want %v", err, errMemory)
	}
}

// TestMeasureDisk is short: it only checks that the writer writes and cleans up.
func TestMeasureDisk(t *testing.T) {
	dir := t.TempDir()
	limit, err := measureDisk(dir, 10*time.Millisecond)
	if err == errNoDirect || err == errMemory {
		t.Skip(err)
	}
	if err != nil || limit.Bytes < diskChunk || limit.BytesPerSecond <= 0 {
		t.Fatalf("%+v, %v", limit, err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
