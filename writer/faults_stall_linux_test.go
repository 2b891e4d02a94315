package writer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"capd/internal/testdisk"
	"capd/ledger"
	"capd/writer"
)

// TestStalledWrite: while a write hangs, packets wait in chunks; when no chunk is free, Write
// waits; once the disk goes on, nothing is lost.
func TestStalledWrite(t *testing.T) {
	b := newBench(t, writer.Options{})
	b.disk.Set(testdisk.Write, testdisk.Fault{Stall: true})
	b.promptly("Write with free chunks", func() { b.write(20, 1000) })
	done := make(chan struct{})
	go func() { defer close(done); b.write(500, 1000) }()
	b.await("a wait", func() bool { s := b.Stats(); return s.Waits > 0 && s.FreeChunks == 0 })
	select {
	case <-done:
		t.Error("Write returned")
	default:
	}
	b.disk.Heal()
	b.promptly("Write", func() { <-done })
	b.account(b.close())
	if s := b.Stats(); s.Lost != 0 || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
}

// TestStalledAnything: whatever operation hangs, the recorder goes on while there are free chunks,
// its state can be queried, and no packet is lost.
func TestStalledAnything(t *testing.T) {
	for _, op := range []testdisk.Op{
		testdisk.Create, testdisk.Open, testdisk.Allocate, testdisk.Write, testdisk.Truncate, testdisk.Sync,
		testdisk.Close, testdisk.Rename, testdisk.SyncDir,
	} {
		t.Run(string(op), func(t *testing.T) {
			b := newBench(t, writer.Options{})
			b.disk.Set(op, testdisk.Fault{Stall: true, Times: 1})
			b.write(10, 1000) // more than a chunk
			b.pass(time.Second)
			switch op {
			case testdisk.Create, testdisk.Open, testdisk.Allocate, testdisk.Write:
			default:
				b.Rotate(ledger.ReasonSignal)
			}
			b.await("a stall", func() bool { return b.disk.Stalled(op) == 1 })
			if b.Busy() == 0 {
				t.Error("no disk call is running")
			}
			b.promptly("recording", func() {
				for range 5 {
					b.write(1, 100)
					b.pass(time.Second)
					b.Stats()
				}
				b.Rotate(ledger.ReasonSignal)
				b.write(1, 100)
				b.Stats()
			})
			b.disk.Heal()
			b.account(b.close())
			if s := b.Stats(); s.Lost != 0 || s.Failures != 0 || b.Busy() != 0 {
				t.Errorf("%+v, busy for %v", s, b.Busy())
			}
		})
	}
}

// TestStalledNeighbour: a disk that hangs does not affect the writer of another disk.
func TestStalledNeighbour(t *testing.T) {
	stalled, well := newBench(t, writer.Options{}), newBench(t, writer.Options{})
	stalled.disk.Set(testdisk.Write, testdisk.Fault{Stall: true})
	done := make(chan struct{})
	go func() { defer close(done); stalled.write(500, 1000) }()
	stalled.await("a wait", func() bool { return stalled.Stats().Waits > 0 })
	well.promptly("the other", func() {
		for range 100 {
			well.write(20, 1000)
			well.pass(20 * time.Millisecond)
		}
	})
	well.account(well.close())
	if s := well.Stats(); s.Lost != 0 || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
	stalled.disk.Heal()
	<-done
	stalled.account(stalled.close())
}

// TestStalledShutdown: Write and Close return after Abort although the disk hangs, in a write or
// while it completes files. If the disk goes on later, the counters add up.
func TestStalledShutdown(t *testing.T) {
	for _, op := range []testdisk.Op{testdisk.Create, testdisk.Write, testdisk.Sync, testdisk.Rename} {
		for _, abort := range []bool{true, false} {
			t.Run(string(op), func(t *testing.T) {
				b := newBench(t, writer.Options{RotateSize: 1000})
				b.disk.Set(op, testdisk.Fault{Stall: true})
				done := make(chan struct{})
				if abort {
					hold(b, op, done)
					b.Abort()
					b.promptly("Write", func() { <-done })
				} else {
					b.write(3, 900)
					b.await("a stall", func() bool { return b.disk.Stalled(op) > 0 })
				}
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				b.promptly("Close", func() {
					if err := b.Close(ctx); !errors.Is(err, context.Canceled) {
						t.Errorf("close: %v", err)
					}
				})
				b.disk.Heal()
				b.await("the rest", func() bool { s := b.Stats(); return s.Written+s.Lost == s.Accepted && s.Files == s.Written })
				if s := b.Stats(); s.Accepted != uint64(b.next) || s.Failures != 0 || !abort && s.Lost != 0 {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

// TestManyFilesWait: short files end faster than the disk can complete them. Nothing is lost, and
// only a bounded number of files waits in memory.
func TestManyFilesWait(t *testing.T) {
	b := newBench(t, writer.Options{RotateSize: 1000})
	b.disk.Set(testdisk.Sync, testdisk.Fault{Stall: true})
	done := make(chan struct{})
	hold(b, testdisk.Sync, done)
	b.disk.Heal()
	b.promptly("Write", func() { <-done })
	b.account(b.close())
	if s := b.Stats(); s.Lost != 0 || s.Files != 282 {
		t.Errorf("%+v", s)
	}
}

// waiting is how many ended files a writer queues for the disk.
const waiting = 256

// hold writes files of one packet each while op hangs, until the writer waits. It closes done when
// the writer goes on.
func hold(b *bench, op testdisk.Op, done chan struct{}) {
	b.t.Helper()
	b.write(2, 900)
	b.await("a stall", func() bool { return b.disk.Stalled(op) > 0 })
	go func() { defer close(done); b.write(280, 900) }()
	if op != testdisk.Sync { // during a rename the kernel locks the directory, so that no file could be created
		b.await("a wait for a chunk", func() bool { return b.Stats().Waits > 0 })
		return
	}
	// One file is being completed, those in the queue wait, and one finds the queue full.
	b.await("a wait", func() bool { return b.disk.Count(testdisk.Create) == 1+waiting+1 && b.Stats().Waits > 0 })
}
