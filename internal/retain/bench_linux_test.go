package retain

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"capd/store"

	"golang.org/x/sys/unix"
)

// BenchmarkFilesEnd measures what the limits and the listing of a directory cost for each of 425 files
// that end a second, beside making such files.
func BenchmarkFilesEnd(b *testing.B) {
	for _, kept := range []bool{false, true} {
		b.Run(map[bool]string{false: "made", true: "made and kept"}[kept], func(b *testing.B) {
			path := b.TempDir()
			d, err := store.OpenWatched(path)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var tasks sync.WaitGroup
			if kept {
				tasks.Go(func() { d.Follow(ctx, time.Hour, slog.New(slog.DiscardHandler)) })
				tasks.Go(func() { New(Options{Directory: d}).Run(ctx) })
			}
			var before, after unix.Timespec
			_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &before)
			var growing []store.Name // as many as are synced together
			for i := 0; b.Loop(); i++ {
				n := nameOf("eth0", i+1, noon)
				if err := os.WriteFile(filepath.Join(path, n.String()+store.Partial), []byte("1"), 0o600); err != nil {
					b.Fatal(err)
				}
				if growing = append(growing, n); len(growing) == 43 {
					for _, n := range growing {
						_ = os.Rename(filepath.Join(path, n.String()+store.Partial), filepath.Join(path, n.String()))
						d.Add(n, 1)
					}
					growing = nil
				}
				time.Sleep(time.Second / 425)
			}
			_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &after)
			b.ReportMetric(float64(after.Nano()-before.Nano())/float64(b.N), "cpu-ns/file")
			cancel()
			tasks.Wait()
			if !kept {
				d.Close()
			}
		})
	}
}
