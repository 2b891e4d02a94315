package web

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"capd/internal/testrecord"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// BenchmarkTimeline draws 90 days of files, a hundredth of which lost packets, for the first time and again. They are 5,000, or as many as
// CAPD_FILES says. The time of the processor is that of all threads.
func BenchmarkTimeline(b *testing.B) {
	files := 5000
	if s := os.Getenv("CAPD_FILES"); s != "" {
		var err error
		if files, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	dir, step := b.TempDir(), 90*24*time.Hour/time.Duration(files)
	var lines []byte
	for i := range files {
		begin := testrecord.Noon.Add(time.Duration(i) * step)
		name := store.Name{Interface: "eth0", Format: pcap.PCAPNG, Start: begin, Sequence: uint64(i + 1)}
		if err := os.WriteFile(filepath.Join(dir, name.String()), nil, 0o600); err != nil {
			b.Fatal(err)
		}
		l := ledger.File{Name: name, Link: "ETHERNET", Begin: begin, End: begin.Add(step), First: begin, Last: begin.Add(step), Reason: ledger.ReasonSize, Clean: true}
		l.Packets, l.Bytes, l.Size, l.Received = 100_000, 90_000_000, 93_000_000, 100_000
		if i%100 == 0 {
			l.KernelDropped, l.Received = 7, 100_007
		}
		lines = l.Entry().AppendLine(lines, begin)
	}
	if err := os.WriteFile(filepath.Join(dir, ledger.FileName), lines, 0o600); err != nil {
		b.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for _, path := range []string{dir, filepath.Join(dir, ledger.FileName)} {
		if err := os.Chtimes(path, old, old); err != nil {
			b.Fatal(err)
		}
	}
	q, err := parseQuery("bins=1200", []string{"bins"})
	if err != nil {
		b.Fatal(err)
	}
	for _, warm := range []bool{false, true} {
		b.Run(fmt.Sprintf("warm=%v", warm), func(b *testing.B) {
			s, _ := New(Config{Directories: []string{dir}, Recorders: nobody{}})
			if warm {
				s.warm(b.Context())
			}
			used := processor()
			for b.Loop() {
				if !warm {
					s.directories[0].last = nil
				}
				v, err := s.timeline(b.Context(), &q)
				if err != nil || v.(*timeline).Files != files {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processor()-used)/float64(b.N)/1e6, "cpu-ms/op")
		})
	}
}

// processor is the time of processors that this process has used.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
