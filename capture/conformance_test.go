package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture"
	"capd/capture/fake"
	"capd/pcap"
)

// A rig is an Ethernet interface in a test, and the events that can happen to it. Real interfaces
// and those of package fake pass the same checks.
type rig interface {
	config() capture.Config // for a device of the interface, with a ring of four small blocks
	open(c capture.Config, n int) ([]*capture.Device, error)
	send(frames ...[]byte) // the frames arrive at the interface
	setUp(up bool)
	rename(name string)
	remove()
	index() int
	adopt(c capture.Config, f *os.File, at capture.Position) (*capture.Device, error)
	crash()          // the process that has opened the devices ends
	refused() uint64 // frames that the interface counts as dropped because no socket received them
}

// Each check tests one guarantee of package capture.
var conformance = []struct {
	name  string
	check func(t *testing.T, r rig)
}{
	{"batches are held", checkHeld},
	{"all is held", checkAllHeld},
	{"stop with batches held", checkStopHeld},
	{"close with batches held", checkCloseHeld},
	{"next handle", checkNextHandle},
	{"overrun", checkOverrun},
	{"down and up", checkDown},
	{"open while down", checkOpenDown},
	{"gone", checkGone},
	{"gone while down", checkGoneDown},
	{"gated", checkGated},
	{"rename", checkRename},
	{"timeouts", checkTimeouts},
	{"unblocks", checkUnblocks},
	{"open errors", checkOpenErrors},
	{"bad filter", checkBadFilter},
	{"packets", checkPackets},
	{"two devices", checkTwo},
	{"group", checkGroup},
	{"group admitted", checkGroupGated},
	{"any", checkAny},
	{"refused by nobody", checkRefused},
	{"life", checkLife},
	{"next handle of a full ring", checkNextOfFull},
	{"adopted", checkAdopted},
	{"adopted full", checkAdoptedFull},
	{"adopted down", checkAdoptedDown},
	{"adopted gone", checkAdoptedGone},
	{"adopted renamed", checkAdoptedRenamed},
	{"adopted gated", checkAdoptedGated},
	{"adopted stopped", checkAdoptedStopped},
	{"adopted group", checkAdoptedGroup},
	{"adopted any", checkAdoptedAny},
	{"adopted with a compiled filter", checkAdoptedCompiled},
	{"adopted cooked any", checkAdoptedCooked},
	{"adopted with blocks missing", checkAdoptedMissing},
	{"adopted without account", checkAdoptedInexact},
	{"adopted after close", checkAdoptedClosed},
	{"unfit", checkUnfit},
}

// TestFakeConforms applies the checks to package fake.
func TestFakeConforms(t *testing.T) {
	for _, noRing := range []bool{false, true} {
		for _, c := range conformance {
			t.Run(fmt.Sprintf("%s, %t", c.name, noRing), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sys := fake.New()
					c.check(t, &fakeRig{sys, sys.Add("a1"), noRing})
				})
			})
		}
	}
}

type fakeRig struct {
	sys    *fake.System
	link   *fake.Link
	noRing bool
}

func (r *fakeRig) config() capture.Config { return small(r.link.Name(), r.noRing) }

func (r *fakeRig) open(c capture.Config, n int) ([]*capture.Device, error) {
	return r.sys.OpenGroup(withAccounts(c), n, capture.ByFlow)
}
func (r *fakeRig) send(frames ...[]byte) { r.link.Send(frames...) }
func (r *fakeRig) setUp(up bool)         { r.link.SetUp(up) }
func (r *fakeRig) rename(name string)    { r.link.Rename(name) }
func (r *fakeRig) remove()               { r.link.Remove() }
func (r *fakeRig) index() int            { return r.link.Index() }

func (r *fakeRig) crash() { r.sys.Crash() }

func (r *fakeRig) adopt(c capture.Config, f *os.File, at capture.Position) (*capture.Device, error) {
	return r.sys.Adopt(c, f, at)
}

func (r *fakeRig) refused() uint64 {
	all, _ := r.sys.Interfaces()
	return all[0].NICDiscarded
}

// withAccounts uses the account, if there is one, for a group of one device.
func withAccounts(c capture.Config) capture.Config {
	if c.Account != nil {
		c.Accounts, c.Account = []*capture.Account{c.Account}, nil
	}
	return c
}

const smallBlocks = 4

func small(name string, noRing bool) capture.Config {
	return capture.Config{Interface: name, BlockSize: 64 << 10, RingSize: smallBlocks * 64 << 10, BlockTimeout: 10, NoRing: noRing}
}

// waits is how long a check waits for an expected event.
const waits = 10 * time.Second

// sample returns n frames of 1000 bytes that are numbered consecutively from the number from.
func sample(from, n int) [][]byte {
	var all [][]byte
	for i := range n {
		f := bytes.Repeat([]byte{byte(from + i)}, 1000)
		copy(f, []byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5})
		binary.BigEndian.PutUint32(f[14:], uint32(from+i))
		all = append(all, f)
	}
	return all
}

func numberOf(frame []byte) int { return int(binary.BigEndian.Uint32(frame[14:])) }

func attach(t *testing.T, r rig, c capture.Config) (*capture.Device, *capture.Handle) {
	t.Helper()
	all, err := r.open(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { all[0].Close() })
	h, err := all[0].Attach()
	if err != nil {
		t.Fatal(err)
	}
	return all[0], h
}

// A loan is a batch that is held, with its packets.
type loan struct {
	*capture.Batch
	packets []pcap.Packet
}

// frames returns the present bytes of the packets.
func (l loan) frames() [][]byte {
	var all [][]byte
	for _, p := range l.packets {
		all = append(all, p.Data)
	}
	return all
}

func frames(loans []loan) (all [][]byte) {
	for _, l := range loans {
		all = append(all, l.frames()...)
	}
	return all
}

// borrow reads batches until it has n packets, or until Next returns nothing within the time. It
// does not release them.
func borrow(t *testing.T, h *capture.Handle, n int, within time.Duration) (all []loan, err error) {
	t.Helper()
	for got := 0; n < 0 || got < n; {
		b, err := h.Next(within)
		if b == nil {
			return all, err
		}
		l := loan{Batch: b}
		var pkts [7]pcap.Packet
		for k := b.Read(pkts[:]); k > 0; k = b.Read(pkts[:]) {
			l.packets = append(l.packets, pkts[:k]...)
		}
		if err := b.Err(); err != nil {
			t.Error(err)
		}
		got += len(l.packets)
		all = append(all, l)
	}
	return all, nil
}

// must borrows n packets, or fails.
func must(t *testing.T, h *capture.Handle, n int) []loan {
	t.Helper()
	all, err := borrow(t, h, n, waits)
	if got := len(frames(all)); err != nil || got != n {
		t.Fatalf("%d packets of %d, %v", got, n, err)
	}
	return all
}

func release(all []loan) {
	for _, l := range all {
		l.Release()
	}
}

func wantSame(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d is\n%x, want\n%x", i, got[i][:min(len(got[i]), 40)], want[i][:min(len(want[i]), 40)])
		}
	}
}

// wantCounts checks the counters of a drained handle, which must add up.
func wantCounts(t *testing.T, h *capture.Handle, read int) capture.Stats {
	t.Helper()
	s, err := h.Stats()
	if err != nil || s.Received != uint64(read)+s.Dropped+s.Corrupt {
		t.Errorf("read %d, stats %+v, %v", read, s, err)
	}
	return s
}

// finish stops the handle and returns the remaining batches, for which Next must not wait until
// held batches are released.
func finish(t *testing.T, h *capture.Handle) []loan {
	t.Helper()
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	left, err := borrow(t, h, -1, waits)
	if !errors.Is(err, capture.ErrClosed) || time.Since(start) > time.Second {
		t.Errorf("after Stop: %v after %v", err, time.Since(start))
	}
	return left
}

// checkHeld: batches stay valid while later ones are returned and can be released in any order,
// while the ring wraps several times.
func checkHeld(t *testing.T, r rig) {
	_, h := attach(t, r, r.config())
	sent := 0
	for round := range 10 {
		var held []loan
		for range 3 { // one block of the four each time
			f := sample(sent, 30)
			r.send(f...)
			sent += len(f)
			held = append(held, must(t, h, len(f))...)
		}
		wantSame(t, frames(held), sample(sent-90, 90))
		if round%2 == 0 {
			slices.Reverse(held)
		}
		last := held[len(held)/2]
		release(slices.Delete(held, len(held)/2, len(held)/2+1))
		last.Release()
		last.Release()
		var pkts [1]pcap.Packet
		if n := last.Read(pkts[:]); n != 0 || last.Err() != nil {
			t.Errorf("%d packets after Release, %v", n, last.Err())
		}
	}
	release(finish(t, h))
	if s := wantCounts(t, h, sent); s.Received != uint64(sent) {
		t.Errorf("%+v of %d", s, sent)
	}
}

// checkAllHeld: when everything is held, Next waits for a Release, and returns no batch twice. The
// kernel stops at a held block.
func checkAllHeld(t *testing.T, r rig) {
	_, h := attach(t, r, r.config())
	var held []loan
	sent := 0
	for range 100 { // until Next returns nothing
		r.send(sample(sent, 120)...)
		sent += 120
		more, err := borrow(t, h, -1, 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if held = append(held, more...); len(more) == 0 {
			break
		}
	}
	seen := map[*capture.Batch]bool{}
	for _, l := range held {
		if seen[l.Batch] || len(l.packets) == 0 {
			t.Fatalf("a batch of %d packets was returned though it is held: %t", len(l.packets), seen[l.Batch])
		}
		seen[l.Batch] = true
	}
	before := frames(held)
	for i := 1; i < len(before); i++ {
		if numberOf(before[i]) <= numberOf(before[i-1]) {
			t.Fatalf("packet %d after %d", numberOf(before[i]), numberOf(before[i-1]))
		}
	}
	if s, err := h.Stats(); h.Mode() == capture.ModeRing && (err != nil || len(held) != smallBlocks || s.FilledBlock != smallBlocks || s.Dropped == 0) {
		t.Errorf("%d batches held, %+v, %v", len(held), s, err)
	}
	if h.Mode() == capture.ModeRing {
		held[len(held)-1].Release() // not the batch that the kernel needs next
		held = held[:len(held)-1]
		r.send(sample(sent, 30)...)
		sent += 30
		if b, err := h.Next(100 * time.Millisecond); b != nil || err != nil {
			t.Errorf("%v, %v, though the next block is held", b, err)
		}
	}
	next := make(chan loan)
	go func() {
		defer close(next)
		if all, _ := borrow(t, h, 1, waits); len(all) > 0 {
			next <- all[0]
		}
	}()
	time.Sleep(50 * time.Millisecond) // usually Next waits by now; if not, the test still passes
	var all sync.WaitGroup
	for _, l := range held {
		all.Go(l.Release)
	}
	all.Wait()
	r.send(sample(sent, 30)...)
	one := <-next
	if one.Batch == nil {
		t.Fatal("Next does not see the Release")
	}
	one.Release()
	left := finish(t, h)
	wantCounts(t, h, len(before)+len(one.packets)+len(frames(left)))
	release(left)
}

// checkStopHeld: Stop is exact and takes effect although batches are held.
func checkStopHeld(t *testing.T, r rig) {
	d, h := attach(t, r, r.config())
	r.send(sample(0, 30)...)
	held := must(t, h, 30)
	r.send(sample(30, 45)...)
	held = append(held, finish(t, h)...)
	r.send(sample(75, 5)...)
	wantSame(t, frames(held), sample(0, 75))
	if s := wantCounts(t, h, 75); s.Received != 75 {
		t.Errorf("%+v", s)
	}
	if b, err := h.Next(0); b != nil || !errors.Is(err, capture.ErrClosed) {
		t.Errorf("%v, %v", b, err)
	}
	release(held)
	if err := errors.Join(h.Close(), h.Close()); err != nil {
		t.Error(err)
	}
	h, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := h.Next(waits); b != nil || !errors.Is(err, capture.ErrClosed) {
		t.Errorf("of a stopped device: %v, %v", b, err)
	}
}

// checkCloseHeld: batches stay valid after the handle and the device were closed.
func checkCloseHeld(t *testing.T, r rig) {
	d, h := attach(t, r, r.config())
	r.send(sample(0, 30)...)
	held := must(t, h, 30)
	r.send(sample(30, 30)...)
	held = append(held, must(t, h, 30)...)
	if err := errors.Join(h.Close(), d.Close(), h.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	r.send(sample(60, 5)...)
	wantSame(t, frames(held), sample(0, 60))
	if _, err := d.Attach(); !errors.Is(err, capture.ErrClosed) {
		t.Errorf("attach: %v", err)
	}
	if err := d.Admit(); !errors.Is(err, capture.ErrClosed) {
		t.Errorf("admit: %v", err)
	}
	if _, err := h.Next(-1); !errors.Is(err, capture.ErrClosed) {
		t.Errorf("next: %v", err)
	}
	var all sync.WaitGroup
	for _, l := range held {
		all.Go(l.Release)
	}
	all.Wait()
	if s, err := h.Stats(); err != nil || s.Received != 60 || s.Dropped != 0 {
		t.Errorf("stats %+v, %v", s, err)
	}
	if err := h.Stop(); !errors.Is(err, capture.ErrClosed) {
		t.Errorf("stop: %v", err)
	}
}

// checkNextHandle: while a handle holds batches no other one can be attached; the next one
// continues where it ended.
func checkNextHandle(t *testing.T, r rig) {
	d, h := attach(t, r, r.config())
	if _, err := d.Attach(); !errors.Is(err, capture.ErrAttached) {
		t.Errorf("second handle: %v", err)
	}
	r.send(sample(0, 30)...)
	held := must(t, h, 30)
	r.send(sample(30, 30)...)
	held = append(held, must(t, h, 30)...)
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	r.send(sample(60, 30)...)
	slices.Reverse(held)
	for _, l := range held {
		if _, err := d.Attach(); !errors.Is(err, capture.ErrAttached) {
			t.Errorf("while a batch is held: %v", err)
		}
		l.Release()
	}
	h2, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	left := finish(t, h2)
	wantSame(t, frames(left), sample(60, 30))
	wantCounts(t, h2, 90)
	release(left)
}

// checkOverrun: frames that find no room are counted, and the others are delivered in order.
func checkOverrun(t *testing.T, r rig) {
	_, h := attach(t, r, r.config())
	const sent = 4000
	r.send(sample(0, sent)...)
	s, err := h.Stats()
	if err != nil || s.Dropped == 0 || h.Mode() == capture.ModeRing && (s.FilledBlock != smallBlocks || s.RingBlocks != smallBlocks || s.Freezes == 0) {
		t.Errorf("%+v, %v", s, err)
	}
	var left []loan
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	for {
		more, err := borrow(t, h, 1, waits)
		if errors.Is(err, capture.ErrClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range more {
			for i, p := range l.packets {
				l.packets[i].Data = bytes.Clone(p.Data)
			}
			l.Release()
		}
		left = append(left, more...)
	}
	all := frames(left)
	for i, f := range all {
		if i > 0 && numberOf(f) <= numberOf(all[i-1]) {
			t.Fatalf("packet %d after %d", numberOf(f), numberOf(all[i-1]))
		}
	}
	if s = wantCounts(t, h, len(all)); s.Received+s.NICDropped > sent || s.FilledBlock != 0 {
		t.Errorf("%+v of %d", s, sent)
	}
}

// checkDown: a handle waits for an interface that is down, even if it holds batches.
func checkDown(t *testing.T, r rig) {
	_, h := attach(t, r, r.config())
	var held []loan
	for round := range 2 {
		r.send(sample(round, 1)...)
		held = append(held, must(t, h, 1)...)
		r.setUp(false)
		if b, err := h.Next(waits); b != nil || !errors.Is(err, capture.ErrDown) {
			t.Fatalf("%v, %v, want ErrDown", b, err)
		}
		if b, err := h.Next(300 * time.Millisecond); b != nil || err != nil {
			t.Fatalf("while down: %v, %v", b, err)
		}
		r.setUp(true)
	}
	r.send(sample(2, 1)...)
	held = append(held, must(t, h, 1)...)
	wantSame(t, frames(held), sample(0, 3))
	release(held)
}

func checkOpenDown(t *testing.T, r rig) {
	r.setUp(false)
	_, h := attach(t, r, r.config())
	if b, err := h.Next(waits); b != nil || !errors.Is(err, capture.ErrDown) {
		t.Fatalf("%v, %v, want ErrDown", b, err)
	}
	// Not every kernel can form a group of an interface that is down.
	all, err := r.open(r.config(), 2)
	if err != nil && !errors.Is(err, capture.ErrDown) {
		t.Errorf("group: %v, want ErrDown", err)
	}
	for _, d := range all {
		d.Close()
	}
	if left := finish(t, h); len(left) != 0 {
		t.Errorf("%d batches", len(left))
	}
}

// checkGone: frames that arrived before the interface was removed are read first, and held batches
// stay valid.
func checkGone(t *testing.T, r rig) {
	_, h := attach(t, r, r.config())
	r.send(sample(0, 20)...)
	held := must(t, h, 20)
	r.send(sample(20, 30)...)
	r.remove()
	more, err := borrow(t, h, -1, waits)
	if errors.Is(err, capture.ErrDown) { // Next was called between the two steps of the removal
		held = append(held, more...)
		more, err = borrow(t, h, -1, waits)
	}
	if !errors.Is(err, capture.ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
	held = append(held, more...)
	wantSame(t, frames(held), sample(0, 50))
	wantCounts(t, h, 50)
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := h.Next(0); !errors.Is(err, capture.ErrGone) {
		t.Errorf("once more: %v", err)
	}
	release(held)
}

func checkGoneDown(t *testing.T, r rig) {
	_, h := attach(t, r, r.config())
	r.setUp(false)
	if _, err := h.Next(waits); !errors.Is(err, capture.ErrDown) {
		t.Fatalf("%v, want ErrDown", err)
	}
	r.remove()
	if b, err := h.Next(waits); b != nil || !errors.Is(err, capture.ErrGone) {
		t.Errorf("%v, %v, want ErrGone", b, err)
	}
}
