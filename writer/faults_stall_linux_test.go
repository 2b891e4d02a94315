package writer_test

import (
	"capd/internal/testdisk"
	"capd/ledger"
	"capd/writer"
	"context"
	"errors"
	"testing"
	"time"
)

// TestStalledWrite: packets wait in chunks, then Write waits, and nothing is
// lost once the disk goes on.
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

// TestStalledAnything: whatever request hangs, the recorder goes on while there
// are chunks, can be asked how it is, and loses nothing.
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
				t.Error("nothing is under way")
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

// TestStalledNeighbour: a disk that hangs costs another writer nothing.
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

// TestStalledShutdown: a disk that hangs, in a write or at the end of files,
// keeps neither Write nor Close once they are told to give up; and when it goes
// on after all, the counters add up.
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

// TestManyFilesWait: so many short files that the disk does not keep up with
// their ends: nothing is lost, and only memory for a bounded number is taken.
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

// waiting is how many ended files a writer keeps for the disk.
const waiting = 256

// hold writes files of a packet each, on a disk whose op hangs, until the
// writer waits. done is closed when it goes on.
func hold(b *bench, op testdisk.Op, done chan struct{}) {
	b.t.Helper()
	b.write(2, 900)
	b.await("a stall", func() bool { return b.disk.Stalled(op) > 0 })
	go func() { defer close(done); b.write(280, 900) }()
	if op != testdisk.Sync { // of a rename, the kernel locks the directory
		b.await("a wait for a chunk", func() bool { return b.Stats().Waits > 0 })
		return
	}
	// One at its end, those that wait, and the one that finds no place.
	b.await("a wait", func() bool { return b.disk.Count(testdisk.Create) == 1+waiting+1 && b.Stats().Waits > 0 })
}
