package writer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// TestCheckpoints: a checkpoint describes exactly what the file holds before its offset, at
// whatever point of a batch the chunk became full. A salvage that starts at the checkpoint finds as
// many packets as one that reads the file from its beginning.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	for _, format := range bothFormats {
		for name, opt := range map[string]Options{
			"chunks":        {},
			"flushes":       {FlushInterval: time.Millisecond},
			"several files": {RotateSize: 150_000},
			"large packets": {ChunkSize: 4096},
			"intervals":     {RotateInterval: time.Minute},
			"far apart":     {CheckpointEvery: 60_000},
		} {
			t.Run(fmt.Sprint(format, " ", name), func(t *testing.T) {
				var mu sync.Mutex
				var lines []ledger.Entry
				opt.Header.Format, opt.Boot = format, "b"
				if opt.ChunkSize == 0 {
					opt.ChunkSize = 16 << 10
				}
				if opt.CheckpointEvery == 0 {
					opt.CheckpointEvery = 20_000
				}
				opt.Note = func(e ledger.Entry) {
					mu.Lock()
					defer mu.Unlock()
					if e.Kind == ledger.KindCheckpoint {
						lines = append(lines, e)
					}
				}
				r := newRig(t, opt)
				rng := rand.New(rand.NewPCG(7, 7))
				for range 30 {
					r.pass(time.Duration(rng.IntN(1000)) * time.Millisecond)
					var batch []pcap.Packet
					for range 1 + rng.IntN(40) {
						r.wall = r.wall.Add(time.Microsecond)
						batch = append(batch, r.packets(1, 4+rng.IntN(1<<rng.IntN(13)), r.wall)...)
					}
					r.Write(batch)
				}
				files := r.close()
				r.verify(files)
				mu.Lock()
				defer mu.Unlock()
				if len(lines) == 0 { // the disk merges checkpoints that it reaches at the same time into one line
					t.Fatalf("%d checkpoints", len(lines))
				}
				for _, e := range lines {
					checkCheckpoint(t, filepath.Join(r.dir, e.Name), e)
				}
			})
		}
	}
}

// checkCheckpoint compares a checkpoint with the file, then salvages the file starting from it.
func checkCheckpoint(t *testing.T, path string, e ledger.Entry) {
	t.Helper()
	h, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	s, err := pcap.Scan(h, e.Offset)
	if err != nil {
		t.Fatal(err)
	}
	if s.End != e.Offset || s.Packets != e.Packets || s.Bytes != e.Bytes || !s.First.Equal(e.First) || !s.Last.Equal(e.Last) || e.Boot != "b" {
		t.Fatalf("%+v, but the file has %+v", e, s)
	}
	if e.End.Before(e.Last) || e.Begin.After(e.First) {
		t.Errorf("from %v to %v, packets from %v to %v", e.Begin, e.End, e.First, e.Last)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := recoverBytes(t, e.Name, b[:len(b)-5], nil)
	if part := recoverBytes(t, e.Name, b[:len(b)-5], map[string]ledger.Entry{e.Name: e}); part != whole {
		t.Errorf("salvaged from %d: %+v, want %+v", e.Offset, part, whole)
	}
}

func recoverBytes(t *testing.T, name string, b []byte, checkpoints map[string]ledger.Entry) Recovered {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name+store.Partial), b, 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := recoverIn(dir, checkpoints)
	if err != nil || len(all) != 1 || all[0].Err != nil {
		t.Fatalf("%+v, %v", all, err)
	}
	all[0].Path = ""
	return all[0]
}
