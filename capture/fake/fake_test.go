package fake_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture"
	"capd/capture/fake"
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

// read returns the frames until Next returns an error.
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
