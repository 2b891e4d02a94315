//go:build linux

package main

import (
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
			Lost: lost, Others: 0.05, NsPerFrame: cpu, Peak: 130 << 20, Bytes: 76 << 20, Files: 1}
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
	r.Heats = append(r.Heats, light)
	var b strings.Builder
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	const want = `2026-01-02T03:04:05Z, Some CPU, 2 cores, Linux 6.18, ext4
capd: v1
dumpcap: not installed
disk's limit before: 1.00 GiB/s, 15 % of a core
disk's limit after: 0.50 GiB/s, 10 % of a core

  recorder  bytes  Gbit/s   Mpps   frames    lost    lost %  doubled  reordered  start s  CPU ns  others %  peak MiB  disk MiB  files
      capd     64    0.51  0.999  1000000       0         0        0          0      0.0     100         5       130        76      1
   tcpdump     64    0.51  0.999  1000000  100000  <0.01-50        0          0      0.0     250         5       130        76      1
capd, 64 bytes: 0 frames cut, 0 foreign, 0 files torn; exit status 1
tcpdump, 64 bytes: injection fell short, 0.500 of 1.000 Mpps: do not compare it
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSave(t *testing.T) {
	r := sample()
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
		{"9", "1", nil},
		{"64", "0", nil},
		{"64", "fast", nil},
		{"64", "NaN", nil},
	}
	for _, tt := range tests {
		got, err := parseLoads(tt.sizes, tt.rates)
		if (err != nil) != (tt.want == nil) || len(got) != len(tt.want) && err == nil {
			t.Errorf("%s at %s: %v, %v", tt.sizes, tt.rates, got, err)
			continue
		}
		for i, want := range tt.want {
			if got[i].Name != want.Name || got[i].PPS != want.PPS {
				t.Errorf("%s at %s: load %d is %v, want %v", tt.sizes, tt.rates, i, got[i], want)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range []string{"-seconds 0", "-repeat 0", "-rotate-size -1", "more", "-sizes 1515"} {
		if _, err := parse(strings.Fields(args), new(strings.Builder)); err == nil {
			t.Errorf("%q is accepted", args)
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
	l := load{Sizes: []int{968}, PPS: 1000}
	for name, tt := range map[string]struct {
		t    track
		want int64
	}{
		"heat":           {track{seconds: 10}, 12_000_000},
		"bursts":         {track{seconds: 25, silence: 4, rotateSize: noRotate}, 7_200_000},
		"bursts rotated": {track{seconds: 6000, silence: 4, rotateSize: 1 << 30}, 3_600_000},
		"steady":         {track{seconds: 60, steady: true, rotateSize: noRotate}, 72_000_000},
		"steady rotated": {track{seconds: 6000, steady: true, rotateSize: 1 << 30}, 36_000_000},
	} {
		if got := tt.t.room(l); got != tt.want {
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
