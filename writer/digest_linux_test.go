package writer

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"capd/crypt"
	"capd/ledger"
	"capd/pcap"
	"capd/seal"
)

// withDigests has the options ask for digests, for which there is all the time that they take.
func withDigests(t *testing.T, opt Options) (Options, *Digester) {
	t.Helper()
	before, bounds := heldFor, mayHold
	heldFor, mayHold = time.Hour, func(int) [memories]int { return [memories]int{1000, 1000, 1000} }
	t.Cleanup(func() { heldFor, mayHold = before, bounds })
	d := &Digester{make(chan struct{}, 100)}
	opt.Digest, opt.Grace = func() *Digester { return d }, time.Hour
	return opt, d
}

// digestsOf fails the test if a digest is not that of the file, and returns how many there are.
func digestsOf(t *testing.T, files []File) (n int) {
	t.Helper()
	for _, f := range files {
		if f.Digest == nil {
			continue
		}
		n++
		if got, err := seal.DigestFile(f.Path); err != nil || got != *f.Digest {
			t.Errorf("%s: %v, on the disk %v: %v", f.Path, *f.Digest, got, err)
		}
	}
	return n
}

// TestDigest: each file has the digest of its bytes, whatever its format, its size, the way it gets to the disk and the reason of its
// end.
func TestDigest(t *testing.T) {
	_, recipients := newKey(t)
	for i, rotate := range []Options{{}, {RotateSize: 300_000}, {RotateSize: 1 << 20}, {RotateInterval: time.Second, KeepEmpty: true}} {
		for _, direct := range []bool{true, false} {
			for _, encrypted := range []*crypt.Recipients{nil, recipients} {
				for _, n := range []int{1, 2000} {
					opt, _ := withDigests(t, rotate)
					opt.NoDirect, opt.Recipients = !direct, encrypted
					if direct || i == 1 {
						opt.Header.Format = pcap.PCAPNG
					}
					all := recordAll(t, opt, n)
					if got := digestsOf(t, all); got != len(all) || got == 0 {
						t.Errorf("%+v direct=%v encrypted=%v n=%d: %d of %d files have a digest", rotate, direct, encrypted != nil, n, got, len(all))
					}
				}
			}
		}
	}
}

// TestDigestLent: a file of chunks and of blocks, written one by one and together, has the digest of its bytes.
func TestDigestLent(t *testing.T) {
	for _, direct := range []bool{true, false} {
		opt, _ := withDigests(t, Options{NoDirect: !direct, Header: pcap.Header{Format: pcap.PCAPNG}})
		l := newLine(t, opt)
		w := l.next()
		number := uint64(0)
		for round := range 20 {
			number++
			n := 1 + round*37%130
			w.Write(some(n))
			w.Commit(number, uint64(n), 0)
			for i := range round % 5 {
				number++
				memory, pkts := lent(t, 30)
				if !w.Lend(Block{Number: number, Frames: 30, Memory: memory, More: i%3 < 2, Release: func() {}}, pkts) {
					t.Fatal("not lent")
				}
			}
			w.Tick(noon, time.Duration(round)*time.Second)
			if round%7 == 6 {
				w.Rotate(ledger.ReasonSignal)
			}
		}
		if all := l.close(w); len(all) != 3 || digestsOf(t, all) != 3 {
			t.Errorf("%d files, %d digests", len(all), digestsOf(t, all))
		}
	}
}

// TestDigestResumed: a file of two processes has no digest, as neither has seen all of it. The one after it has.
func TestDigestResumed(t *testing.T) {
	_, recipients := newKey(t)
	for _, encrypted := range []*crypt.Recipients{nil, recipients} {
		opt, _ := withDigests(t, Options{Header: pcap.Header{Format: pcap.PCAPNG}, Recipients: encrypted})
		l := newLine(t, opt)
		w := l.next()
		w.Write(some(200))
		w.Commit(1, 200, 0)
		l.kill(w)
		w = l.next()
		w.Write(some(200))
		w.Commit(2, 200, 0)
		w.Rotate(ledger.ReasonSignal)
		w.Write(some(200))
		w.Commit(3, 200, 0)
		all := l.close(w)
		if len(all) != 2 || all[0].Digest != nil || all[0].Packets != 400 || digestsOf(t, all) != 1 {
			t.Errorf("%d digests: %+v", digestsOf(t, all), all)
		}
	}
}

// TestDigestLate: when the recorder is behind with its work there is no time for digests.
func TestDigestLate(t *testing.T) {
	opt, _ := withDigests(t, Options{Header: pcap.Header{Format: pcap.PCAPNG}})
	opt.Grace = time.Second
	l := newLine(t, opt)
	w := l.next()
	w.Write(some(200))
	w.Rotate(ledger.ReasonSignal)
	w.Write(some(200))
	w.Tick(noon.Add(3*time.Second), 3*time.Second)
	w.Write(some(1)) // of a time that is long over
	w.Tick(noon.Add(3*time.Second), 3*time.Second)
	w.Commit(1, 401, 0)
	all := l.close(w)
	if s := w.Stats(); len(all) != 2 || all[0].Digest == nil || all[1].Digest != nil || s.Digests != 1 || s.Undigested != 1 {
		t.Errorf("%+v: %+v", all, s)
	}
}

// TestDigestStalls: while nothing is hashed, or what hashes hangs, all frames are recorded, and no more memory is held than
// the bounds say. The files have no digest, but those after them have.
func TestDigestStalls(t *testing.T) {
	_, recipients := newKey(t)
	for _, encrypted := range []*crypt.Recipients{nil, recipients} {
		for _, hangs := range []bool{false, true} {
			t.Run(fmt.Sprintf("encrypted=%v hangs=%v", encrypted != nil, hangs), func(t *testing.T) { testDigestStalls(t, encrypted, hangs) })
		}
	}
}

var realHeldFor, realBounds = heldFor, mayHold

func testDigestStalls(t *testing.T, encrypted *crypt.Recipients, hangs bool) {
	opt, d := withDigests(t, Options{Header: pcap.Header{Format: pcap.PCAPNG}, Recipients: encrypted})
	heldFor, mayHold = realHeldFor, realBounds
	d.slots = make(chan struct{}, 1)
	goOn := make(chan struct{})
	if hangs {
		before := hashes
		t.Cleanup(func() { hashes = before })
		hashes = func() { <-goOn }
	} else {
		d.slots <- struct{}{}
		go func() { <-goOn; <-d.slots }()
	}
	l := newLine(t, opt)
	w := l.next()
	out, most, packets := new(atomic.Int64), int64(0), uint64(0)
	number := uint64(0)
	for range 40 {
		number++
		w.Write(some(400)) // more than half of the chunks
		w.Commit(number, 400, 0)
		packets += 400
		for range 4 {
			number++
			memory, pkts := lent(t, 30)
			if out.Add(1); !w.Lend(Block{Number: number, Frames: 30, Memory: memory, Release: func() { out.Add(-1) }}, pkts) {
				out.Add(-1)
				w.Write(pkts)
				w.Commit(number, 30, 0)
			}
			packets += 30
		}
		w.disk.hashings.mu.Lock()
		most = max(most, int64(len(w.disk.hashings.held)))
		w.disk.hashings.mu.Unlock()
	}
	bound := int64(lineChunks/chunksHeld + blocksHeld + sealedHeld + 1)
	if most > bound {
		t.Errorf("%d chunks and blocks were held, more than %d", most, bound)
	}
	for begun := time.Now(); out.Load() > 1 || w.disk.hashings.some.Load() > 1 || w.Stats().FreeChunks < lineChunks-2; time.Sleep(time.Millisecond) {
		w.Tick(noon, 0)
		if time.Since(begun) > time.Minute {
			t.Fatalf("%d blocks are not released: %+v", out.Load(), w.Stats())
		}
	}
	close(goOn)
	w.Rotate(ledger.ReasonSignal)
	heldFor = time.Hour
	w.Write(some(50))
	w.Commit(number+1, 50, 0)
	all := l.close(w)
	if len(all) != 2 || all[0].Err != nil || all[0].Packets != packets || all[0].Digest != nil || digestsOf(t, all) != 1 || out.Load() != 0 {
		t.Errorf("%d of %d packets: %+v", all[0].Packets, packets, all)
	}
}
