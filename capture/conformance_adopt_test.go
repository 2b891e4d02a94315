package capture_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"capd/capture"
)

// A run is a device whose ring outlives its process.
type run struct {
	rig
	t       *testing.T
	config  capture.Config
	account capture.Account
	file    *os.File
	at      capture.Position
	*capture.Device
	*capture.Handle
}

// begin opens a device that can be adopted. It returns nil for one that has no ring, of which there
// is nothing to adopt.
func begin(t *testing.T, r rig, change func(c *capture.Config)) *run {
	t.Helper()
	b := &run{rig: r, t: t, config: r.config()}
	b.config.RingSize *= 4 // a slow sender fills more blocks than it would have to
	if change != nil {
		change(&b.config)
	}
	b.config.Account = &b.account
	b.Device, b.Handle = attach(t, r, b.config)
	f, err := b.File()
	if b.Mode() != capture.ModeRing {
		if f != nil || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("file %v, %v, want ErrUnsupported", f, err)
		}
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	b.file = f
	return b
}

// commit moves the position behind the batches.
func (b *run) commit(all []loan) {
	b.t.Helper()
	for _, l := range all {
		if l.Block() != b.at.Block+1 || l.Len() != len(l.packets) {
			b.t.Fatalf("block %d with %d frames after block %d, %d read", l.Block(), l.Len(), b.at.Block, len(l.packets))
		}
		b.at.Block++
		b.at.Frames += uint64(l.Len())
	}
}

// restart ends the process, and adopts the device in the next one.
func (b *run) restart(meanwhile func()) {
	b.t.Helper()
	b.crash()
	meanwhile()
	b.resume()
}

func (b *run) resume() {
	b.t.Helper()
	d, err := b.adopt(b.config, b.file, b.at)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { d.Close() })
	b.Device = d
	if b.Handle, err = d.Attach(); err != nil {
		b.t.Fatal(err)
	}
}

// rest stops the device, and checks that it returns the frames from the number from on, and that
// the counters add up.
func (b *run) rest(from, n int) {
	b.t.Helper()
	left := finish(b.t, b.Handle)
	wantSame(b.t, frames(left), sample(from, n))
	b.commit(left)
	if s := wantCounts(b.t, b.Handle, int(b.at.Frames)); s.Inexact {
		b.t.Errorf("%+v", s)
	}
	release(left)
}

// fill sends numbered frames from the number from on until all blocks are filled. It returns the number
// after the last one.
func fill(t *testing.T, r rig, h *capture.Handle, from int) int {
	t.Helper()
	for deadline := time.Now().Add(waits); ; time.Sleep(time.Millisecond) {
		s, err := h.Stats()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("not full: %+v, %v", s, err)
		}
		if s.FilledBlock == s.RingBlocks {
			return from
		}
		r.send(sample(from, 30)...)
		from += 30
	}
}

// takeFull borrows all blocks of a full ring.
func takeFull(t *testing.T, h *capture.Handle) (all []loan) {
	t.Helper()
	for range smallBlocks {
		more, err := borrow(t, h, 1, waits)
		if err != nil || len(more) != 1 {
			t.Fatalf("%d blocks of a full ring, %v", len(all), err)
		}
		all = append(all, more...)
	}
	return all
}

// checkNextOfFull: the next handle continues where the one before ended although the kernel, which
// found the ring full, has not.
func checkNextOfFull(t *testing.T, r rig) {
	d, h := attach(t, r, r.config())
	if h.Mode() != capture.ModeRing {
		return
	}
	next := fill(t, r, h, 0)
	release(takeFull(t, h))
	h.Close()
	h, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.send(sample(next, 30)...)
		all := must(t, h, 30)
		wantSame(t, frames(all), sample(next, 30))
		release(all)
		next += 30
	}
}

// checkAdopted: what was recorded does not come again, be it given back or not; what was read but
// not recorded does, and so do frames that were received while nobody read. This is so
// over several processes, and the counters go on.
func checkAdopted(t *testing.T, r rig) {
	b := begin(t, r, nil)
	if b == nil {
		return
	}
	next := 0
	send := func(n int) {
		r.send(sample(next, n)...)
		next += n
	}
	for range 7 {
		send(25)
		one := must(t, b.Handle, 25)
		b.commit(one)
		send(30)
		two := must(t, b.Handle, 30)
		b.commit(two)
		release(one) // but not two
		send(20)
		_ = must(t, b.Handle, 20)
		b.restart(func() { send(15) })
		if a := b.Adopted(); a != (capture.Adopted{}) || b.Device.Index() != r.index() {
			t.Errorf("%+v, index %d", a, b.Device.Index())
		}
		all := must(t, b.Handle, 35)
		wantSame(t, frames(all), sample(next-35, 35))
		b.commit(all)
		release(all)
	}
	send(5)
	b.rest(next-5, 5)
	if s, err := b.Stats(); err != nil || s.Received != uint64(next) || s.Dropped != 0 {
		t.Errorf("%+v of %d, %v", s, next, err)
	}
}

// checkAdoptedFull: frames that find a full ring while nobody reads are counted as dropped, exactly,
// and the ring goes on.
func checkAdoptedFull(t *testing.T, r rig) {
	b := begin(t, r, func(c *capture.Config) { c.RingSize = smallBlocks * c.BlockSize })
	if b == nil {
		return
	}
	next := fill(t, r, b.Handle, 0)
	b.commit(takeFull(t, b.Handle))
	b.restart(func() { r.send(sample(next, 50)...) })
	next += 50
	r.send(sample(next, 30)...)
	all := must(t, b.Handle, 30)
	wantSame(t, frames(all), sample(next, 30))
	next += 30
	b.commit(all)
	release(all)
	old := b.Handle
	b.restart(func() { next = fill(t, r, old, next) })
	all = takeFull(t, b.Handle)
	b.commit(all)
	release(all)
	r.send(sample(next, 3)...)
	next += 3
	b.Refresh()
	b.rest(next-3, 3)
	if s, err := b.Stats(); err != nil || s.Dropped < 50 || s.Received+s.NICDiscarded != uint64(next) {
		t.Errorf("%+v of %d, %v", s, next, err)
	}
}

// wantDown checks that Next returns ErrDown once.
func (b *run) wantDown() {
	b.t.Helper()
	if x, err := b.Next(waits); x != nil || !errors.Is(err, capture.ErrDown) {
		b.t.Errorf("%v, %v, want ErrDown", x, err)
	}
	if x, err := b.Next(300 * time.Millisecond); x != nil || err != nil {
		b.t.Errorf("while down: %v, %v", x, err)
	}
}

// checkAdoptedDown: an adopted device says that its interface is down, whether the process before
// knew it or not.
func checkAdoptedDown(t *testing.T, r rig) {
	b := begin(t, r, nil)
	if b == nil {
		return
	}
	r.send(sample(0, 10)...)
	b.restart(func() { r.setUp(false) })
	all, err := borrow(t, b.Handle, 10, waits)
	if errors.Is(err, capture.ErrDown) { // the kernel still had the block
		all = must(t, b.Handle, 10)
	} else {
		b.wantDown()
	}
	wantSame(t, frames(all), sample(0, 10))
	b.commit(all)
	release(all)
	b.restart(func() {})
	b.wantDown()
	r.setUp(true)
	r.send(sample(10, 5)...)
	all = must(t, b.Handle, 5)
	b.commit(all)
	release(all)
	r.setUp(false)
	b.wantDown()
	b.restart(func() {
		r.setUp(true)
		r.send(sample(15, 5)...)
	})
	b.rest(15, 5)
}

// checkAdoptedGone: what was received before the interface was removed is read, also when it was
// down before.
func checkAdoptedGone(t *testing.T, r rig) {
	b := begin(t, r, nil)
	if b == nil {
		return
	}
	r.send(sample(0, 10)...)
	all := must(t, b.Handle, 10)
	b.commit(all)
	r.send(sample(10, 20)...)
	b.restart(r.remove)
	if b.Device.Index() != -1 || b.Handle.LinkType() != 1 {
		t.Errorf("index %d, link type %v", b.Device.Index(), b.Handle.LinkType())
	}
	b.Refresh()
	left, err := borrow(t, b.Handle, -1, waits)
	if !errors.Is(err, capture.ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
	wantSame(t, frames(left), sample(10, 20))
	b.commit(left)
	wantCounts(t, b.Handle, 30)
	release(left)
	b.restart(func() {})
	if x, err := b.Next(waits); x != nil || !errors.Is(err, capture.ErrGone) {
		t.Errorf("%v, %v, want ErrGone", x, err)
	}
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
}

func checkAdoptedRenamed(t *testing.T, r rig) {
	b := begin(t, r, nil)
	if b == nil {
		return
	}
	r.send(sample(0, 5)...)
	b.restart(func() {
		r.setUp(false)
		r.rename("b1")
		r.setUp(true)
		r.send(sample(5, 5)...)
	})
	if b.Device.Index() != r.index() {
		t.Errorf("index %d, want %d", b.Device.Index(), r.index())
	}
	all, err := borrow(t, b.Handle, 10, waits)
	if errors.Is(err, capture.ErrDown) { // nobody has said it before
		var more []loan
		more, err = borrow(t, b.Handle, 10-len(frames(all)), waits)
		all = append(all, more...)
	}
	if err != nil {
		t.Error(err)
	}
	wantSame(t, frames(all), sample(0, 10))
}

// checkAdoptedMissing: blocks that somebody gave back without recording them are counted, and the
// others come in order.
func checkAdoptedMissing(t *testing.T, r rig) {
	b := begin(t, r, func(c *capture.Config) { c.RingSize = smallBlocks * c.BlockSize })
	if b == nil {
		return
	}
	next := fill(t, r, b.Handle, 0)
	held := takeFull(t, b.Handle)
	b.commit(held[:1])
	held[1].Release()
	held[2].Release()
	b.restart(func() {})
	if a := b.Adopted(); a.Missing != 2 {
		t.Errorf("%+v", a)
	}
	r.send(sample(next, 10)...)
	want := held[3].frames()
	all := must(t, b.Handle, len(want)+10)
	wantSame(t, frames(all), slices.Concat(want, sample(next, 10)))
	if all[0].Block() != 4 || all[1].Block() != 5 {
		t.Errorf("blocks %d and %d", all[0].Block(), all[1].Block())
	}
	if _, err := b.adopt(b.config, b.file, capture.Position{Block: 1000}); !unfit(err, "block recorded last") {
		t.Errorf("a block that never was: %v", err)
	}
}

// checkAdoptedInexact: without the account of the process before, the counters begin anew, and Next
// still ends.
func checkAdoptedInexact(t *testing.T, r rig) {
	b := begin(t, r, nil)
	if b == nil {
		return
	}
	r.send(sample(0, 30)...)
	all := must(t, b.Handle, 30)
	if _, err := b.Stats(); err != nil { // resets those of the kernel
		t.Fatal(err)
	}
	b.commit(all)
	b.config.Account = nil
	b.restart(func() { r.send(sample(30, 30)...) })
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	left, err := borrow(t, b.Handle, -1, waits)
	if !errors.Is(err, capture.ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
	wantSame(t, frames(left), sample(30, 30))
	if s := wantCounts(t, b.Handle, 60); !s.Inexact {
		t.Errorf("%+v", s)
	}
	release(left)
}

// checkAdoptedClosed: closing a device does not end the ring of which another process has a
// duplicate, even if batches are held.
func checkAdoptedClosed(t *testing.T, r rig) {
	b := begin(t, r, nil)
	if b == nil {
		return
	}
	r.send(sample(0, 30)...)
	held := must(t, b.Handle, 30)
	if err := errors.Join(b.Handle.Close(), b.Device.Close()); err != nil {
		t.Error(err)
	}
	r.send(sample(30, 30)...)
	b.commit(held)
	release(held)
	b.resume()
	r.send(sample(60, 5)...)
	b.rest(30, 35)
}

func unfit(err error, property string) bool {
	var u *capture.UnfitError
	return errors.As(err, &u) && u.Property == property
}

func wantUnfit(t *testing.T, r rig, c capture.Config, f *os.File, at capture.Position, property string) {
	t.Helper()
	if d, err := r.adopt(c, f, at); d != nil || !unfit(err, property) {
		t.Errorf("%v, %v, want: %s does not fit", d, err, property)
	}
}

// checkUnfit: what differs from the configuration is named.
func checkUnfit(t *testing.T, r rig) {
	b := begin(t, r, func(c *capture.Config) {
		c.Direction, c.Snaplen = capture.In, 100
		c.Filter = []capture.Instruction{{Code: 0x28, K: 12}, {Code: 0x06, K: 0x40000}}
	})
	if b == nil {
		return
	}
	b.crash()
	for _, c := range []struct {
		change   func(c *capture.Config)
		property string
	}{
		{func(c *capture.Config) { c.Interface = capture.Any }, "socket for all interfaces"},
		{func(c *capture.Config) { c.BlockSize /= 2 }, "block size"},
		{func(c *capture.Config) { c.RingSize /= 2 }, "blocks in the ring"},
		{func(c *capture.Config) { c.BlockTimeout++ }, "block timeout"},
		{func(c *capture.Config) { c.Promiscuous = true }, "promiscuous mode"},
		{func(c *capture.Config) { c.Direction = capture.Both }, "ignoring sent frames"},
		{func(c *capture.Config) { c.Filter = nil }, "filter"},
		{func(c *capture.Config) { c.Filter = c.Filter[1:] }, "filter"},
		{func(c *capture.Config) { c.Snaplen++ }, "filter"},
	} {
		conf := b.config
		c.change(&conf)
		wantUnfit(t, r, conf, b.file, b.at, c.property)
	}
	conf := b.config
	conf.LinkType = "RAW"
	if d, err := r.adopt(conf, b.file, b.at); d != nil || !errors.Is(err, capture.ErrLinkType) {
		t.Errorf("%v, %v, want ErrLinkType", d, err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	wantUnfit(t, r, b.config, in, b.at, "descriptor")

	conf = b.config
	conf.RingSize = 0
	d, err := r.adopt(conf, b.file, b.at)
	if err != nil {
		t.Fatalf("without a size: %v", err)
	}
	if n := d.RingSize(); n != b.config.RingSize {
		t.Errorf("a ring of %d bytes, want %d", n, b.config.RingSize)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	b.resume()
	r.send(sample(0, 3)...)
	if left := finish(t, b.Handle); len(frames(left)) != 3 {
		t.Errorf("%d frames", len(frames(left)))
	}
}
