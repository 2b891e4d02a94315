package capture_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"capd/capture"
	"capd/pcap"
)

// checkGated: before Admit no frame is delivered or counted.
func checkGated(t *testing.T, r rig) {
	c := r.config()
	c.Gated = true
	d, h := attach(t, r, c)
	r.send(sample(0, 10)...)
	if err := d.Admit(); err != nil {
		t.Fatal(err)
	}
	r.send(sample(10, 5)...)
	left := finish(t, h)
	wantSame(t, frames(left), sample(10, 5))
	if s := wantCounts(t, h, 5); s.Received != 5 {
		t.Errorf("%+v", s)
	}
	release(left)
}

// checkRename: a device continues after its interface was renamed.
func checkRename(t *testing.T, r rig) {
	c := r.config()
	d, h := attach(t, r, c)
	if d.Index() != r.index() {
		t.Errorf("index %d, want %d", d.Index(), r.index())
	}
	r.send(sample(0, 5)...)
	r.setUp(false) // old kernels can't rename an interface that is up
	r.rename("b1")
	r.setUp(true)
	held, err := borrow(t, h, 5, waits)
	if errors.Is(err, capture.ErrDown) {
		var more []loan
		more, err = borrow(t, h, 5-len(frames(held)), waits)
		held = append(held, more...)
	}
	if err != nil {
		t.Error(err)
	}
	r.send(sample(5, 5)...)
	for len(frames(held)) < 10 {
		more, err := borrow(t, h, 10-len(frames(held)), waits)
		if err != nil && !errors.Is(err, capture.ErrDown) {
			t.Fatal(err)
		}
		held = append(held, more...)
	}
	wantSame(t, frames(held), sample(0, 10))
	if d.Index() != r.index() {
		t.Errorf("index %d, want %d", d.Index(), r.index())
	}
	release(held)
	if _, err := r.open(c, 1); !errors.Is(err, capture.ErrNoInterface) {
		t.Errorf("open by the old name: %v", err)
	}
}

// checkBadFilter: a program that the system refuses is an error of Open, of a gated
// device too, and not of Admit.
func checkBadFilter(t *testing.T, r rig) {
	c := r.config()
	c.Filter = []capture.Instruction{{Code: 0xffff}, {Code: 0x06, K: 0x40000}}
	for _, c.Gated = range []bool{false, true} {
		for _, n := range []int{1, 2} {
			all, err := r.open(c, n)
			if err == nil || all != nil {
				t.Errorf("gated %v, %d devices: opened", c.Gated, n)
			}
			for _, d := range all {
				d.Close()
			}
		}
	}
}

func checkTimeouts(t *testing.T, r rig) {
	_, h := attach(t, r, r.config())
	for _, timeout := range []time.Duration{0, time.Microsecond, 30 * time.Millisecond} {
		start := time.Now()
		if b, err := h.Next(timeout); b != nil || err != nil || time.Since(start) < timeout {
			t.Errorf("timeout %v: %v, %v after %v", timeout, b, err, time.Since(start))
		}
	}
}

// checkUnblocks: closing a handle or its device, and stopping, end a waiting Next.
func checkUnblocks(t *testing.T, r rig) {
	for _, closing := range []func(*capture.Device, *capture.Handle) error{
		func(_ *capture.Device, h *capture.Handle) error { return h.Close() },
		func(d *capture.Device, _ *capture.Handle) error { return d.Close() },
		func(_ *capture.Device, h *capture.Handle) error { return h.Stop() },
	} {
		d, h := attach(t, r, r.config())
		ended := make(chan error, 1)
		go func() {
			_, err := h.Next(-1)
			ended <- err
		}()
		if err := closing(d, h); err != nil {
			t.Error(err)
		}
		select {
		case err := <-ended:
			if !errors.Is(err, capture.ErrClosed) {
				t.Errorf("%v, want ErrClosed", err)
			}
		case <-time.After(waits):
			t.Fatal("Next did not return")
		}
		h.Close()
		d.Close()
	}
}

func checkOpenErrors(t *testing.T, r rig) {
	for _, c := range []struct {
		change func(c *capture.Config)
		want   error
	}{
		{func(c *capture.Config) { c.Interface = "none" }, capture.ErrNoInterface},
		{func(c *capture.Config) { c.LinkType = "RAW" }, capture.ErrLinkType},
		{func(c *capture.Config) { c.LinkType = "ETHER" }, pcap.ErrLinkType},
		{func(c *capture.Config) { c.Snaplen = -1 }, nil},
		{func(c *capture.Config) { c.RingSize = 3 }, nil},
	} {
		conf := r.config()
		c.change(&conf)
		d, err := r.open(conf, 1)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || d != nil {
			t.Errorf("%+v: %v, want %v", conf, err, c.want)
		}
	}
}

// checkPackets: snaplen, filter, length, flags, time and layout.
func checkPackets(t *testing.T, r rig) {
	c := r.config()
	c.Snaplen, c.Direction, c.LinkType = 60, capture.In, "EN10MB"
	c.Filter = []capture.Instruction{
		{Code: 0x28, K: 12}, // ldh [12]
		{Code: 0x15, K: 0x88b5, Jf: 1},
		{Code: 0x06, K: 0x40000},
		{Code: 0x06},
	}
	_, h := attach(t, r, c)
	if h.LinkType() != pcap.LinkTypeEthernet {
		t.Errorf("link type %v", h.LinkType())
	}
	other := sample(0, 1)[0]
	other[13]++
	before := time.Now()
	r.send(other)
	r.send(sample(1, 2)...)
	all := finish(t, h)
	wantSame(t, frames(all), [][]byte{sample(1, 1)[0][:60], sample(2, 1)[0][:60]})
	for _, l := range all {
		for _, p := range l.packets {
			age := p.Time().Sub(before)
			if p.Length != 1000 || p.Flags != pcap.FlagInbound|pcap.FlagPromiscuous || age < -time.Second || age > waits || cap(p.Data) != 60 {
				t.Errorf("%+v, %v after it was sent", p, age)
			}
		}
	}
	if s := wantCounts(t, h, 2); s.Received != 2 {
		t.Errorf("%+v", s)
	}
	l := h.Layout()
	if ring := h.Mode() == capture.ModeRing; (l.Unit == c.BlockSize) != ring || (l.Header > 0) != ring || (l.Align > 0) != ring || l.Resolution == 0 {
		t.Errorf("layout %+v", l)
	}
	release(all)
}

// checkTwo: each device of an interface delivers every frame, with times that differ by at most
// their skew.
func checkTwo(t *testing.T, r rig) {
	d, first := attach(t, r, r.config())
	_, last := attach(t, r, r.config())
	r.send(sample(0, 20)...)
	a, b := must(t, first, 20), must(t, last, 20)
	wantSame(t, frames(a), frames(b))
	x, y := a[0].packets[0], b[0].packets[0]
	if skew := x.Time().Sub(y.Time()); first.Mode() == capture.ModeRing && (skew < 0 || skew > d.Skew()) {
		t.Errorf("the times differ by %v, more than %v", skew, d.Skew())
	}
	release(append(a, b...))
}

// checkGroup: each frame is delivered by one device of a group.
func checkGroup(t *testing.T, r rig) {
	checkShared(t, r, false)
}

func checkGroupGated(t *testing.T, r rig) {
	checkShared(t, r, true)
}

func checkShared(t *testing.T, r rig, gated bool) {
	c := r.config()
	c.Gated = gated
	all, err := r.open(c, 2)
	if err != nil {
		t.Fatal(err)
	}
	if gated {
		r.send(sample(1000, 10)...)
	}
	var handles []*capture.Handle
	for _, d := range all {
		defer d.Close()
		if gated {
			if err := d.Admit(); err != nil {
				t.Fatal(err)
			}
		}
		h, err := d.Attach()
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, h)
	}
	r.send(sample(0, 100)...)
	var got []int
	for _, h := range handles {
		left := finish(t, h)
		for _, f := range frames(left) {
			got = append(got, numberOf(f))
		}
		wantCounts(t, h, len(frames(left)))
		release(left)
	}
	slices.Sort(got)
	for i, n := range got {
		if i != n || len(got) != 100 {
			t.Fatalf("%d frames: %v", len(got), got)
		}
	}
}

// checkAny: packets of all interfaces together name theirs, or have cooked headers.
func checkAny(t *testing.T, r rig) {
	f := sample(0, 1)[0]
	index := uint32(r.index())
	sll2 := binary.BigEndian.AppendUint32([]byte{0x88, 0xb5, 0, 0}, index)
	sll2 = slices.Concat(sll2, []byte{0, 1, 3, 6}, f[6:12], []byte{0, 0}, f[14:])
	sll := slices.Concat([]byte{0, 3, 0, 1, 0, 6}, f[6:12], []byte{0, 0, 0x88, 0xb5}, f[14:])
	for name, want := range map[string][]byte{"": f, "MIXED": f, "LINUX_SLL2": sll2, "LINUX_SLL": sll} {
		c := r.config()
		of := c.Interface
		c.Interface, c.Direction, c.LinkType = capture.Any, capture.In, name
		d, h := attach(t, r, c)
		r.send(f)
		all := finish(t, h)
		wantSame(t, frames(all), [][]byte{want})
		p := all[0].packets[0]
		if d.Index() != 0 || int(p.Length) != len(want) {
			t.Errorf("%q: index %d, length %d", name, d.Index(), p.Length)
		}
		mixed := h.LinkType() == pcap.LinkTypeMixed
		switch {
		case mixed != (name == "" || name == "MIXED"), !mixed && h.LinkType().String() != name:
			t.Errorf("%q: link type %v", name, h.LinkType())
		case !mixed && p.From != nil:
			t.Errorf("%q: from %+v", name, p.From)
		case mixed && (p.From == nil || p.From.Name != of || p.From.LinkType != pcap.LinkTypeEthernet ||
			p.From.Comment != fmt.Sprintf("interface index %d", index)):
			t.Errorf("from %+v, want %s, Ethernet, of index %d", p.From, of, index)
		}
		release(all)
		_ = d.Close()
	}
}

// checkRefused: frames that arrived before a device was admitted, or after it was stopped, are not
// counted as lost.
func checkRefused(t *testing.T, r rig) {
	r.send(sample(0, 10)...)
	for deadline := time.Now().Add(waits); r.refused() < 10; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d frames of 10 received by no socket", r.refused())
		}
	}
	_, h := attach(t, r, r.config())
	r.send(sample(10, 10)...)
	left := finish(t, h)
	wantSame(t, frames(left), sample(10, 10))
	r.send(sample(20, 10)...)
	h.Refresh()
	if s := wantCounts(t, h, 10); s.NIC != (capture.NIC{}) {
		t.Errorf("%+v", s)
	}
	release(left)
}

// checkLife closes handles and devices in different orders, while other goroutines release batches.
func checkLife(t *testing.T, r rig) {
	for round := range 30 {
		d, h := attach(t, r, r.config())
		r.send(sample(0, 80)...)
		held, err := borrow(t, h, 60, waits)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for _, l := range held {
			all.Go(l.Release)
		}
		all.Go(func() { h.Close() })
		if round%2 == 0 {
			all.Go(func() { d.Close() })
		}
		all.Go(func() {
			if _, err := h.Stats(); err != nil {
				t.Error(err)
			}
		})
		if round%3 == 0 {
			if b, _ := h.Next(time.Millisecond); b != nil {
				b.Release()
			}
		}
		all.Wait()
		if round%2 != 0 {
			h2, err := d.Attach()
			if err != nil {
				t.Fatal(err)
			}
			h2.Close()
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
