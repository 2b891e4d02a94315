package fake_test

import (
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture"
	"capd/capture/fake"
	"capd/filter"
	"capd/pcap"
)

func mustOpen(t *testing.T, s *fake.System, c capture.Config) (*capture.Device, *capture.Handle) {
	t.Helper()
	all, err := s.OpenGroup(c, 1, capture.ByFlow)
	if err != nil {
		t.Fatal(err)
	}
	h, err := all[0].Attach()
	if err != nil {
		t.Fatal(err)
	}
	return all[0], h
}

// read returns the frames that are received until Next returns an error.
func read(t *testing.T, h *capture.Handle) (all []pcap.Packet, err error) {
	t.Helper()
	var pkts [3]pcap.Packet
	for {
		b, err := h.Next(time.Minute)
		if b == nil {
			return all, err
		}
		for n := b.Read(pkts[:]); n > 0; n = b.Read(pkts[:]) {
			for _, p := range pkts[:n] {
				p.Data = []byte(string(p.Data))
				all = append(all, p)
			}
		}
		b.Release()
	}
}

func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fake.New()
		eth0 := s.Add("eth0")
		d, h := mustOpen(t, s, capture.Config{Interface: "eth0", Snaplen: 5})
		start := time.Now()
		eth0.Send([]byte("first frame"), []byte("second"))
		b, err := h.Next(time.Minute)
		if b == nil || err != nil || time.Since(start) != 100*time.Millisecond {
			t.Fatalf("%v, %v after %v, not the block's timeout", b, err, time.Since(start))
		}
		b.Release()
		eth0.Send([]byte("third"))
		eth0.Corrupt(2)
		eth0.Drop(4)
		if err := h.Stop(); err != nil {
			t.Fatal(err)
		}
		all, err := read(t, h)
		if len(all) != 1 || string(all[0].Data) != "third" || !errors.Is(err, capture.ErrClosed) || !all[0].Time().Equal(start.Add(100*time.Millisecond)) {
			t.Errorf("%v, %v", all, err)
		}
		st, err := h.Stats()
		if err != nil || st.Received != 9 || st.Dropped != 4 || st.Corrupt != 2 {
			t.Errorf("%+v, %v", st, err)
		}
		if err := d.Close(); err != nil || eth0.Devices() != 0 {
			t.Errorf("%v, %d devices", err, eth0.Devices())
		}
	})
}

// TestSteps: each step can be made to fail.
func TestSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fake.New()
		eth0 := s.Add("eth0")
		c := capture.Config{Interface: "eth0"}
		s.Refuse(capture.ErrPermission)
		if _, err := s.Open(c); !errors.Is(err, capture.ErrPermission) || err.Error() != "open eth0: operation not permitted" {
			t.Error(err)
		}
		s.Refuse(nil)
		eth0.Fail(fake.AtOpen, capture.ErrDown)
		if _, err := s.OpenGroup(c, 2, capture.ByCPU); !errors.Is(err, capture.ErrDown) {
			t.Error(err)
		}
		eth0.Fail(fake.AtOpen, nil)
		eth0.Fail(fake.AtAttach, errors.New("no memory"))
		d, err := s.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := d.Attach(); err == nil || err.Error() != "attach to eth0: no memory" {
			t.Error(err)
		}
		eth0.Fail(fake.AtAttach, nil)
		h, err := d.Attach()
		if err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		eth0.Fail(fake.AtNext, broken)
		for _, want := range []error{broken, nil} {
			if b, err := h.Next(time.Second); b != nil || err != want {
				t.Errorf("%v, want %v", err, want)
			}
		}
	})
}

// TestReleaseSpoils: Release overwrites packets, so that a test notices if they are used
// afterwards.
func TestReleaseSpoils(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fake.New()
		eth0 := s.Add("eth0")
		d, h := mustOpen(t, s, capture.Config{Interface: "eth0"})
		defer d.Close()
		frame := []byte("frame")
		eth0.Send(frame)
		b, err := h.Next(-1)
		if err != nil {
			t.Fatal(err)
		}
		var pkts [2]pcap.Packet
		b.Read(pkts[:])
		b.Release()
		if string(pkts[0].Data) == "frame" || string(frame) != "frame" {
			t.Errorf("%q of %q", pkts[0].Data, frame)
		}
	})
}

// TestSkew: the last opened device has the earlier times.
func TestSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fake.New()
		s.SetSkew(time.Second)
		eth0 := s.Add("eth0")
		var times []time.Time
		var handles []*capture.Handle
		for range 3 {
			d, h := mustOpen(t, s, capture.Config{Interface: "eth0"})
			defer d.Close()
			if d.Skew() != time.Second {
				t.Errorf("skew %v", d.Skew())
			}
			handles = append(handles, h)
		}
		now := time.Now()
		eth0.Send([]byte("frame"))
		for _, h := range handles {
			h.Stop()
			all, _ := read(t, h)
			times = append(times, all[0].Time())
		}
		for i, want := range []time.Duration{time.Second, time.Second / 2, 0} {
			if got := times[i].Sub(now); got != want {
				t.Errorf("device %d: %v, want %v", i, got, want)
			}
		}
	})
}

// TestInterfaces: the system reports interfaces as the test has set them.
func TestInterfaces(t *testing.T) {
	s := fake.New()
	wlan, eth0 := s.Add("wlan0", pcap.LinkTypeEthernet, pcap.LinkTypeRadiotap), s.Add("eth0")
	<-s.Changes()
	eth0.Rename("eth1")
	eth0.SetUp(false)
	eth0.Change(func(i *capture.Interface) {
		i.MTU, i.Name, i.NIC = 9000, "other", capture.NIC{NICDropped: 7, NICDiscarded: 8}
	})
	<-s.Changes()
	all, err := s.Interfaces()
	if err != nil || len(all) != 2 || all[0].Name != wlan.Name() || all[1].Index != eth0.Index() ||
		all[1].Name != "eth1" || all[1].Up || all[1].Running || all[1].MTU != 9000 || all[1].NIC != (capture.NIC{NICDropped: 7, NICDiscarded: 8}) {
		t.Errorf("%+v, %v", all, err)
	}
	for name, want := range map[string]pcap.LinkType{"": pcap.LinkTypeEthernet, "IEEE802_11_RADIO": pcap.LinkTypeRadiotap} {
		d, h := mustOpen(t, s, capture.Config{Interface: "wlan0", LinkType: name})
		if h.LinkType() != want {
			t.Errorf("%q is %v", name, h.LinkType())
		}
		if wlan.Change(func(i *capture.Interface) { i.NICDropped, i.NICDiscarded = i.NICDropped+3, i.NICDiscarded+4 }); h.Mode() != capture.ModeRing {
			t.Errorf("mode %v", h.Mode())
		}
		h.Refresh()
		if st, err := h.Stats(); err != nil || st.NIC != (capture.NIC{NICDropped: 3, NICDiscarded: 4}) {
			t.Errorf("%+v, %v", st, err)
		}
		d.Close()
	}
	wlan.Remove()
	again := s.Add("wlan0")
	if again.Index() == wlan.Index() {
		t.Error("an index comes twice")
	}
	wlan.Send([]byte("frame")) // no device is open
}

// TestFilterTag: where the kernel removes VLAN tags before filters run, the fake does too.
func TestFilterTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fake.New()
		eth0 := s.Add("eth0")
		live := runtime.GOOS == "linux"
		p, err := filter.Compile("vlan 5 and ip", filter.Target{LinkType: filter.LinkType(pcap.LinkTypeEthernet), Live: live})
		if err != nil {
			t.Fatal(err)
		}
		c := capture.Config{Interface: "eth0"}
		for _, i := range p.Instructions {
			c.Filter = append(c.Filter, capture.Instruction{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
		}
		d, h := mustOpen(t, s, c)
		defer d.Close()
		frame := func(tag byte) []byte {
			return append([]byte("\x02aaaaa\x02bbbbb\x81\x00\x00"), tag, 8, 0, 0x45, 0, 0, 20)
		}
		eth0.Send(frame(4), frame(5), frame(6))
		h.Stop()
		if all, _ := read(t, h); len(all) != 1 || string(all[0].Data) != string(frame(5)) {
			t.Errorf("%v", all)
		}
	})
}
