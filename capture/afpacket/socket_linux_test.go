package afpacket

import (
	"errors"
	"slices"
	"testing"
	"time"

	"capd/capture/device"
	"capd/internal/testnet"

	"golang.org/x/sys/unix"
)

func TestShrink(t *testing.T) {
	for _, c := range []struct {
		want, have int
		err        error
		tried      []int
	}{
		{128, 128, unix.ENOMEM, []int{128}},
		{128, 40, unix.ENOMEM, []int{128, 64, 32}},
		{7, 4, unix.ENOMEM, []int{7, 4}},
		{128, 3, unix.ENOMEM, []int{128, 64, 32, 16, 8, 4}},
		{2, 1, unix.ENOMEM, []int{2}},
		{128, 1, unix.EINVAL, []int{128}},
	} {
		var tried []int
		n, err := shrink(c.want, func(n int) error {
			if tried = append(tried, n); n > c.have {
				return c.err
			}
			return nil
		})
		last := c.tried[len(c.tried)-1]
		if !slices.Equal(tried, c.tried) || n != last || (err == nil) != (last <= c.have) {
			t.Errorf("%d blocks, memory for %d: tried %v, got %d, %v", c.want, c.have, tried, n, err)
		}
	}
}

func TestShrunk(t *testing.T) {
	for _, c := range []struct {
		full, blocks int
		want         bool
	}{
		{128, 128, true}, {128, 64, true}, {128, 4, true}, {100, 50, true}, {100, 25, true}, {2, 2, true}, {6, 4, true},
		{128, 129, false}, {128, 100, false}, {128, 2, false}, {64, 128, false}, {2, 1, false}, {128, 0, false},
	} {
		if got := shrunk(c.full, c.blocks); got != c.want {
			t.Errorf("%d blocks of %d: %t", c.blocks, c.full, got)
		}
	}
}

// TestStopWithLockedFilter checks that Stop works on a socket whose filter is locked.
func TestStopWithLockedFilter(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1500)
	var s *socket
	d, err := device.Open(device.Config{Interface: "a1", RingSize: 4 << 20, Direction: device.In}, func(c device.Config) (_ *device.Device, err error) {
		if s, err = open(c); err != nil {
			return nil, err
		}
		return s.device(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
		t.Fatal(err)
	}
	h, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	testnet.NewSender(t, "a0").Send(make([]byte, 60))
	if b, err := h.Next(10 * time.Second); b != nil || !errors.Is(err, device.ErrClosed) {
		t.Errorf("%v, %v, want ErrClosed", b, err)
	}
	if st, err := h.Stats(); err != nil || st.Received != 0 {
		t.Errorf("stats %+v, %v", st, err)
	}
}

// TestProberOpensOnce: to close a packet socket takes the kernel ten milliseconds,
// and there may be hundreds of interfaces.
func TestProberOpensOnce(t *testing.T) {
	const a, b = "prober0", "prober1"
	testnet.Veth(t, a, b, 1500)
	var p Prober
	sockets := map[int]bool{}
	for _, name := range []string{a, b, "lo", device.Any, a} {
		if _, err := p.LinkTypes(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		sockets[p.fd] = true
	}
	if _, err := p.LinkTypes("none"); !errors.Is(err, device.ErrNoInterface) {
		t.Error(err)
	}
	if err := p.Close(); err != nil || len(sockets) != 1 {
		t.Errorf("%d sockets, %v", len(sockets), err)
	}
}
