package capture_test

import (
	"errors"
	"os"
	"slices"
	"testing"

	"capd/capture"
	"capd/pcap"
)

// checkAdoptedGated: a device that was not admitted is told from one that was.
func checkAdoptedGated(t *testing.T, r rig) {
	b := begin(t, r, func(c *capture.Config) { c.Gated = true })
	if b == nil {
		return
	}
	r.send(sample(0, 5)...)
	b.crash()
	open := b.config
	open.Gated = false
	wantUnfit(t, r, open, b.file, b.at, "filter")
	b.resume()
	if !b.Adopted().Gated {
		t.Error("not gated")
	}
	r.send(sample(5, 5)...)
	if err := b.Admit(); err != nil {
		t.Fatal(err)
	}
	r.send(sample(10, 5)...)
	b.restart(func() {})
	if b.Adopted().Gated {
		t.Error("still gated")
	}
	if err := b.Admit(); err != nil {
		t.Error(err)
	}
	b.config = open
	b.restart(func() { r.send(sample(15, 5)...) })
	b.rest(10, 10)
}

// checkAdoptedStopped: of a device that was stopped, what is left comes.
func checkAdoptedStopped(t *testing.T, r rig) {
	b := begin(t, r, nil)
	if b == nil {
		return
	}
	r.send(sample(0, 5)...)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	r.send(sample(5, 5)...)
	b.restart(func() { r.send(sample(10, 5)...) })
	if !b.Adopted().Stopped {
		t.Error("not stopped")
	}
	left, err := borrow(t, b.Handle, -1, waits)
	if !errors.Is(err, capture.ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
	wantSame(t, frames(left), sample(0, 5))
	wantCounts(t, b.Handle, 5)
	release(left)
}

// checkAdoptedGroup: the devices of a group are adopted one by one; one of them was stopped.
func checkAdoptedGroup(t *testing.T, r rig) {
	c := r.config()
	accounts := make([]capture.Account, 3)
	c.Accounts = []*capture.Account{&accounts[0], &accounts[1], &accounts[2]}
	if all, err := r.open(c, 2); err == nil || all != nil {
		t.Errorf("three accounts for two devices: %v", err)
	}
	all, err := r.open(c, 3)
	if err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	for _, d := range all {
		defer d.Close()
		f, err := d.File()
		if c.NoRing {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	r.send(sample(0, 60)...)
	h, err := all[2].Attach()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	r.crash()
	r.send(sample(60, 60)...) // a third of them is lost: the stopped device stays in the group
	var got []int
	groups := map[int]bool{}
	for i, f := range files {
		c.Account = &accounts[i]
		d, err := r.adopt(c, f, capture.Position{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		a := d.Adopted()
		groups[a.Group] = true
		if a.Stopped != (i == 2) || a.Spread != capture.ByFlow || a.Gated {
			t.Errorf("device %d: %+v", i, a)
		}
		h, err := d.Attach()
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Stop(); err != nil {
			t.Fatal(err)
		}
		left, err := borrow(t, h, -1, waits)
		if !errors.Is(err, capture.ErrClosed) {
			t.Error(err)
		}
		for _, f := range frames(left) {
			if n := numberOf(f); n < 60 {
				got = append(got, n)
			}
		}
		if s := wantCounts(t, h, len(frames(left))); s.Inexact {
			t.Errorf("device %d: %+v", i, s)
		}
		release(left)
	}
	slices.Sort(got)
	if len(groups) != 1 || groups[0] || len(got) != 60 || len(slices.Compact(got)) != 60 {
		t.Errorf("groups %v, frames %v", groups, got)
	}
}

func checkAdoptedAny(t *testing.T, r rig) { adoptAny(t, r, pcap.LinkTypeMixed, 0) }

func checkAdoptedCooked(t *testing.T, r rig) { adoptAny(t, r, pcap.LinkTypeLinuxSLL2, 6) }

// adoptAny adopts a device for all interfaces, with a header that is so many bytes longer than Ethernet's.
func adoptAny(t *testing.T, r rig, link pcap.LinkType, longer int) {
	b := begin(t, r, func(c *capture.Config) {
		c.Interface, c.Direction, c.LinkType = capture.Any, capture.In, link.String()
	})
	if b == nil {
		return
	}
	r.send(sample(0, 5)...)
	first := must(t, b.Handle, 5)
	b.commit(first)
	b.restart(func() { r.send(sample(5, 5)...) })
	left := finish(t, b.Handle)
	for i, f := range frames(left) {
		if numberOf(f[longer:]) != 5+i || len(f) != 1000+longer {
			t.Errorf("%x", f[:40])
		}
	}
	for _, p := range left[0].packets {
		if named := p.From != nil && p.From.Name == r.config().Interface; named != (link == pcap.LinkTypeMixed) {
			t.Errorf("from %+v", p.From)
		}
	}
	if b.Device.Index() != 0 || b.Handle.LinkType() != link || len(frames(left)) != 5 {
		t.Errorf("index %d, link type %v, %d frames", b.Device.Index(), b.Handle.LinkType(), len(frames(left)))
	}
	one := b.config
	one.Interface = r.config().Interface
	wantUnfit(t, r, one, b.file, b.at, "socket for all interfaces")
	wantCounts(t, b.Handle, 10)
	release(left)
}

// checkAdoptedCompiled: the filter of an adopted device is compared with the one that is compiled for
// its link type.
func checkAdoptedCompiled(t *testing.T, r rig) {
	accept := capture.Instruction{Code: 0x06, K: 0x40000}
	compile := func(link pcap.LinkType) ([]capture.Instruction, error) {
		if link != pcap.LinkTypeEthernet {
			t.Errorf("compiled for link type %v", link)
		}
		return []capture.Instruction{{Code: 0x28, K: 12}, accept}, nil
	}
	b := begin(t, r, func(c *capture.Config) { c.Compile = compile })
	if b == nil {
		return
	}
	b.crash()
	other := b.config
	other.Compile = func(pcap.LinkType) ([]capture.Instruction, error) { return []capture.Instruction{accept}, nil }
	wantUnfit(t, r, other, b.file, b.at, "filter")
	refusal := errors.New("no filter for that")
	other.Compile = func(pcap.LinkType) ([]capture.Instruction, error) { return nil, refusal }
	if d, err := r.adopt(other, b.file, b.at); d != nil || !errors.Is(err, refusal) {
		t.Errorf("%v, %v, want %v", d, err, refusal)
	}
	b.resume()
	r.send(sample(0, 3)...)
	b.rest(0, 3)
}
