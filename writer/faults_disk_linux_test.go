package writer_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/testdisk"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

// loses is the damage that a fault does.
type loses int

const (
	nothing loses = iota
	aName         // the file keeps the suffix Partial, with all its packets
	packets       // the file ends, and packets are dropped until the disk works again
)

// TestDiskErrors: whatever operation the disk refuses, Write goes on, losses are counted, what is
// on disk is whole, and recording resumes by itself.
func TestDiskErrors(t *testing.T) {
	for _, c := range []struct {
		op    testdisk.Op
		fault testdisk.Fault
		cost  loses
	}{
		{testdisk.Write, testdisk.Fault{Err: syscall.EIO}, packets},
		{testdisk.Write, testdisk.Fault{Err: syscall.ENOSPC}, packets},
		{testdisk.Write, testdisk.Fault{Err: syscall.EDQUOT}, packets},
		{testdisk.Write, testdisk.Fault{Err: syscall.EROFS}, packets},
		{testdisk.Write, testdisk.Fault{Err: syscall.EIO, After: 3, Times: 1}, packets},
		{testdisk.Write, testdisk.Fault{Short: 1001, Times: 5}, nothing},
		{testdisk.Write, testdisk.Fault{Short: 4096}, nothing},
		{testdisk.Create, testdisk.Fault{Err: syscall.EIO}, packets},
		{testdisk.Create, testdisk.Fault{Err: syscall.ENOSPC}, packets},
		{testdisk.Create, testdisk.Fault{Err: syscall.EROFS}, packets},
		{testdisk.Open, testdisk.Fault{Err: syscall.EIO}, packets},
		{testdisk.OpenDirect, testdisk.Fault{Err: syscall.EINVAL}, nothing},
		{testdisk.Allocate, testdisk.Fault{Err: syscall.ENOSPC}, nothing},
		{testdisk.Allocate, testdisk.Fault{Err: syscall.EIO}, nothing},
		{testdisk.Truncate, testdisk.Fault{Err: syscall.EIO}, aName},
		{testdisk.Sync, testdisk.Fault{Err: syscall.EIO, Times: 1}, aName},
		{testdisk.Sync, testdisk.Fault{Err: syscall.ENOSPC}, aName},
		{testdisk.SyncDir, testdisk.Fault{Err: syscall.EIO}, aName},
		{testdisk.Rename, testdisk.Fault{Err: syscall.EIO}, aName},
		{testdisk.Rename, testdisk.Fault{Err: syscall.ENOSPC, Times: 1}, aName},
		{testdisk.Close, testdisk.Fault{Err: syscall.EDQUOT}, aName},
	} {
		for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
			t.Run(fmt.Sprintf("%s %v/%v", c.op, c.fault, format), func(t *testing.T) {
				b := newBench(t, writer.Options{Header: pcap.Header{Format: format}})
				b.write(30, 700)
				b.flush()
				b.disk.Set(c.op, c.fault)
				b.promptly("Write", func() {
					for i := range 20 {
						b.write(20, 700)
						b.pass(100 * time.Millisecond)
						if i == 5 {
							b.Rotate(ledger.ReasonSignal)
						}
					}
				})
				b.Rotate(ledger.ReasonSignal)
				b.await("all chunks", func() bool { s := b.Stats(); return s.FreeChunks == s.Chunks })
				b.pass(0)
				b.await("the end of files", func() bool { s := b.Stats(); return s.Files+s.Failures >= 2 })
				b.disk.Heal()
				b.recover()
				b.write(30, 700)
				files := b.close()
				b.account(files)
				s := b.Stats()
				if (s.Lost > 0) != (c.cost == packets) || (s.Failures > 0) != (c.cost != nothing) {
					t.Errorf("%+v", s)
				}
				if last := files[len(files)-1]; last.Err != nil || strings.HasSuffix(last.Path, store.Partial) {
					t.Errorf("last file: %+v", last)
				}
				for _, f := range files {
					named := !strings.HasSuffix(f.Path, store.Partial)
					if c.op != testdisk.SyncDir && named != (f.Err == nil) {
						t.Errorf("%+v", f)
					}
				}
			})
		}
	}
}

// TestDiskErrorsAtRandom: any faults in any order, with files of all lengths.
func TestDiskErrorsAtRandom(t *testing.T) {
	ops := []testdisk.Op{
		testdisk.Create, testdisk.Open, testdisk.Write, testdisk.Write, testdisk.Sync,
		testdisk.SyncDir, testdisk.Rename, testdisk.Allocate,
	}
	errs := []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EINVAL}
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			b := newBench(t, writer.Options{
				Header:         pcap.Header{Format: pcap.Format(seed % 2)},
				RotateSize:     []int64{0, 5000, 60000}[r.IntN(3)],
				RotateInterval: time.Duration(r.IntN(2)) * time.Minute,
				NoDirect:       r.IntN(4) == 0,
			})
			b.promptly("recording", func() {
				for range 100 {
					switch r.IntN(6) {
					case 0:
						f := testdisk.Fault{After: r.IntN(4), Times: r.IntN(4), Err: errs[r.IntN(len(errs))]}
						if r.IntN(3) == 0 {
							f.Err, f.Short = 0, 1+r.IntN(9000)
						}
						b.disk.Set(ops[r.IntN(len(ops))], f)
					case 1:
						b.disk.Heal()
					case 2:
						b.Rotate(ledger.ReasonSignal)
					default:
						b.write(1+r.IntN(64), 4+r.IntN(2000))
					}
					b.pass(time.Duration(r.IntN(3000)) * time.Millisecond)
				}
			})
			b.disk.Heal()
			b.recover()
			b.account(b.close())
		})
	}
}

// TestDiskErrorsSealed is TestDiskErrorsAtRandom with encrypted files: one that fails ends with its last whole piece, and has
// the packets that its report says.
func TestDiskErrorsSealed(t *testing.T) {
	ops := []testdisk.Op{
		testdisk.Create, testdisk.Open, testdisk.Write, testdisk.Write, testdisk.Write, testdisk.Sync,
		testdisk.SyncDir, testdisk.Rename, testdisk.Allocate,
	}
	errs := []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EINVAL}
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			b := newBench(t, writer.Options{
				Header:     pcap.Header{Format: pcap.Format(seed % 2)},
				RotateSize: []int64{0, 100_000, 1_000_000}[r.IntN(3)],
				NoDirect:   r.IntN(4) == 0,
				ChunkSize:  128 << 10, PoolSize: 1 << 20, Recipients: rigRecipients(t),
			})
			b.promptly("recording", func() {
				for range 100 {
					switch r.IntN(6) {
					case 0:
						f := testdisk.Fault{After: r.IntN(4), Times: r.IntN(4), Err: errs[r.IntN(len(errs))]}
						if r.IntN(3) == 0 {
							f.Err, f.Short = 0, 1+r.IntN(9000)
						}
						b.disk.Set(ops[r.IntN(len(ops))], f)
					case 1:
						b.disk.Heal()
					case 2:
						b.Rotate(ledger.ReasonSignal)
					default:
						b.write(1+r.IntN(64), 4+r.IntN(2000))
					}
					b.pass(time.Duration(r.IntN(3000)) * time.Millisecond)
				}
			})
			b.disk.Heal()
			b.recover()
			b.account(b.close())
		})
	}
}

// TestSmallFilesPause: the pause after a disk failure is kept even if files are shorter than the
// time between two ticks.
func TestSmallFilesPause(t *testing.T) {
	b := newBench(t, writer.Options{RotateSize: 3000})
	b.disk.Set(testdisk.Write, testdisk.Fault{Err: syscall.EIO})
	for range 50 {
		b.write(64, 1000)
		b.await("all chunks", func() bool { s := b.Stats(); return s.FreeChunks+1 >= s.Chunks })
		b.pass(time.Millisecond)
	}
	if !b.Stats().Suspended || b.disk.Count(testdisk.Create) > 64 {
		t.Errorf("%d files created: %+v", b.disk.Count(testdisk.Create), b.Stats())
	}
	b.disk.Heal()
	b.recover()
	for range 5 {
		b.write(64, 1000)
		b.pass(time.Millisecond)
	}
	if b.Stats().Suspended {
		t.Errorf("still suspended: %+v", b.Stats())
	}
	b.account(b.close())
}

// TestFailedSyncIsFinal: a file whose sync failed never counts as synced, even if a later sync
// succeeds: the kernel may have dropped the dirty pages (fsync(2)).
func TestFailedSyncIsFinal(t *testing.T) {
	b := newBench(t, writer.Options{})
	b.disk.Set(testdisk.Sync, testdisk.Fault{Err: syscall.EIO, Times: 1})
	b.write(30, 700)
	files := b.close()
	b.account(files)
	if n := b.disk.Count(testdisk.Sync); n != 1 || b.disk.Count(testdisk.Rename) != 0 {
		t.Errorf("%d syncs, %d renames", n, b.disk.Count(testdisk.Rename))
	}
	if len(files) != 1 || files[0].Err == nil || !strings.HasSuffix(files[0].Path, store.Partial) {
		t.Errorf("%+v", files)
	}
}

// TestFileCounts: a file's report counts its own packets only. Packets dropped between two files
// are reported with the gap.
func TestFileCounts(t *testing.T) {
	b := newBench(t, writer.Options{RotateSize: 20000})
	for range 20 {
		b.write(9, 600)
	}
	b.flush()
	b.disk.Set(testdisk.Write, testdisk.Fault{Err: syscall.EIO})
	b.await("failure", func() bool { b.write(1, 600); b.pass(time.Second); return b.Stats().Suspended })
	b.write(50, 600)
	b.disk.Heal()
	b.recover()
	files := b.close()
	b.account(files)
	for _, f := range files {
		if f.Err == nil && f.Lost > 0 {
			t.Errorf("%s lost %d", f.Name, f.Lost)
		}
		if n := int(f.Name.Sequence); f.Err == nil && n < 6 && f.Bytes != f.Packets*600 {
			t.Errorf("%s: %d packets, %d bytes", f.Name, f.Packets, f.Bytes)
		}
	}
	if s := b.Stats(); s.Lost < 50 {
		t.Errorf("%+v", s)
	}
}

// TestFullTmpfs fills a file system and empties it again.
func TestFullTmpfs(t *testing.T) {
	b := newBenchIn(t, testdisk.Tmpfs(t, 1<<20), writer.Options{RotateSize: 200 << 10})
	fillUp(t, b, 64)
}

// TestNoInodes: a file system that has bytes but no inodes is told apart from a
// full one.
func TestNoInodes(t *testing.T) {
	b := newBenchIn(t, testdisk.Tmpfs(t, 16<<20, "nr_inodes=4"), writer.Options{RotateSize: 20 << 10})
	b.await("the last inode", func() bool {
		b.write(64, 1024)
		b.pass(10 * time.Millisecond)
		return b.Stats().Suspended
	})
	failed, gaps := 0, 0
	for _, f := range b.close() {
		if f.Err != nil {
			failed++
			if !errors.Is(f.Err, store.ErrNoInodes) || !errors.Is(f.Err, syscall.ENOSPC) {
				t.Errorf("%v", f.Err)
			}
		}
	}
	for len(b.notes) > 0 {
		if e := <-b.notes; e.Kind == ledger.KindGap {
			if gaps++; e.Cause != ledger.CauseNoInodes {
				t.Errorf("%+v", e)
			}
		}
	}
	if failed == 0 || gaps == 0 {
		t.Errorf("%d files failed, %d gaps", failed, gaps)
	}
}

// TestDirectWriteRefused: some file systems open a file with O_DIRECT and refuse
// to write to it.
func TestDirectWriteRefused(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, writer.Options{RotateSize: 100 << 10, Log: slog.New(slog.NewTextHandler(&log, nil))})
	b.disk.Set(testdisk.WriteDirect, testdisk.Fault{Err: syscall.EINVAL})
	if space, err := store.Prove(b.disk.Dir, 0o600); err != nil || space.Writes != store.WritesRefused {
		t.Errorf("%+v, %v", space, err)
	}
	before := b.disk.Count(testdisk.WriteDirect)
	for range 20 {
		b.write(64, 1024)
		b.flush()
	}
	files := b.close()
	b.account(files)
	for _, f := range files {
		if f.Err != nil {
			t.Error(f.Err)
		}
	}
	if n := b.disk.Count(testdisk.WriteDirect) - before; n == 0 || n > 3 || strings.Count(log.String(), "page cache") != 1 {
		t.Errorf("%d direct writes were tried; said %s", n, &log)
	}
}

// TestReserveLeavesRoom: what is reserved for a file that ends is no cause for
// the next one to fail.
func TestReserveLeavesRoom(t *testing.T) {
	b := newBenchIn(t, testdisk.Tmpfs(t, 64<<20), writer.Options{ChunkSize: 64 << 10, PoolSize: 4 * 64 << 10})
	for range 20 {
		for range 4 {
			b.write(64, 1024)
		}
		b.pass(time.Second)
		b.Rotate(ledger.ReasonSignal)
	}
	for _, f := range b.close() {
		if f.Err != nil {
			t.Error(f.Err)
		}
	}
}

// fillUp records until the disk, which has room for mib MiB, is full, makes room and goes on.
func fillUp(t *testing.T, b *bench, mib int) {
	t.Helper()
	var files []writer.File
	b.promptly("recording", func() {
		for range mib * 16 {
			b.write(64, 1024)
			b.pass(10 * time.Millisecond)
			if s := b.Stats(); s.Suspended && s.File == "" {
				return
			}
		}
	})
	if s := b.Stats(); !s.Suspended || s.File != "" {
		t.Fatalf("the disk is not full: %+v", b.Stats())
	}
	b.write(100, 1000)
	b.pass(0)
	// Read the files before they are deleted.
	b.await("the end of files", func() bool {
		s := b.Stats()
		return s.Written+s.Lost == s.Accepted && int(s.Files+s.Failures) == len(b.ended)
	})
	files = b.reports()
	kept := uint64(0)
	for _, f := range files {
		if f.Packets == 0 && f.Err != nil {
			continue
		}
		path := filepath.Join(b.files, filepath.Base(f.Path))
		if n := len(numbers(t, path)); uint64(n) != f.Packets {
			t.Errorf("%d packets: %+v", n, f)
		}
		kept += f.Packets
		if f.Err == nil {
			compact(t, f)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	b.recover()
	b.write(100, 1000)
	after := b.close()
	for _, f := range after {
		if f.Err != nil {
			t.Errorf("%+v", f)
		}
		compact(t, f)
		kept += uint64(len(numbers(t, f.Path)))
	}
	if s := b.Stats(); s.Accepted != uint64(b.next) || s.Written != kept || s.Written+s.Lost != s.Accepted || s.Lost < 100 {
		t.Errorf("%d packets on disk: %+v", kept, s)
	}
}
