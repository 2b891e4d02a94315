package capture_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"capd/capture"
	"capd/internal/testnet"
	"capd/pcap"
)

func TestMain(m *testing.M) { os.Exit(testnet.Main(m)) }

// patience is how long a test waits for an expected event.
const patience = 10 * time.Second

// modes are the two ways to read: tests apply to both.
var modes = []struct {
	name   string
	noRing bool
	mode   capture.Mode
}{
	{"ring", false, capture.ModeRing},
	{"socket", true, capture.ModeSocket},
}

// bothModes runs the test for each mode.
func bothModes(t *testing.T, test func(t *testing.T, c capture.Config)) {
	testnet.Need(t)
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			test(t, capture.Config{RingSize: 8 << 20, BlockTimeout: 10, NoRing: m.noRing})
		})
	}
}

func open(t testing.TB, c capture.Config) (*capture.Device, *capture.Handle) {
	t.Helper()
	d, err := capture.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	h, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	return d, h
}

// A got is a copy of a packet.
type got struct {
	pcap.Packet
	data []byte
}

// collect reads n packets, or fewer if Next returns an error.
func collect(t testing.TB, h *capture.Handle, n int) ([]got, error) {
	t.Helper()
	var all []got
	for deadline := time.Now().Add(patience); n < 0 || len(all) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets of %d after %v", len(all), n, patience)
		}
		b, err := h.Next(patience)
		if err != nil {
			return all, err
		}
		if b != nil {
			all = drain(t, b, all)
		}
	}
	return all, nil
}

func drain(t testing.TB, b *capture.Batch, to []got) []got {
	t.Helper()
	var pkts [64]pcap.Packet
	for k := b.Read(pkts[:]); k > 0; k = b.Read(pkts[:]) {
		for _, p := range pkts[:k] {
			to = append(to, got{p, bytes.Clone(p.Data)})
		}
	}
	if err := b.Err(); err != nil {
		t.Fatal(err)
	}
	b.Release()
	return to
}

// frame returns an Ethernet frame of n bytes with random contents.
func frame(n int) []byte {
	f := make([]byte, n)
	for i := range f {
		f[i] = byte(rand.Uint32())
	}
	copy(f, []byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5})
	return f
}

// stopAndDrain stops the handle and returns the remaining packets.
func stopAndDrain(t testing.TB, h *capture.Handle) []got {
	t.Helper()
	h.Refresh()
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	left, err := collect(t, h, -1)
	if !errors.Is(err, capture.ErrClosed) {
		t.Fatalf("after Stop: %v, want ErrClosed", err)
	}
	return left
}

func TestSizes(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 65535)
		c.Interface = "a1"
		_, h := open(t, c)
		s := testnet.NewSender(t, "a0")
		var sent [][]byte
		for _, n := range []int{60, 61, 64, 127, 1500, 1514, 9014, 32768, 65535, 65549} {
			sent = append(sent, frame(n))
		}
		before := time.Now()
		for _, f := range sent {
			s.Send(f)
		}
		all := stopAndDrain(t, h)
		same(t, all, sent)
		for _, p := range all {
			if age := p.Time().Sub(before); age < -time.Second || age > patience {
				t.Errorf("time %v is %v after sending", p.Time(), age)
			}
			if p.Length != uint32(len(p.data)) {
				t.Errorf("length %d of %d bytes", p.Length, len(p.data))
			}
		}
	})
}

// same checks that the packets are exactly the frames.
func same(t testing.TB, all []got, want [][]byte) {
	t.Helper()
	if len(all) != len(want) {
		t.Fatalf("%d packets, want %d", len(all), len(want))
	}
	for i := range want {
		if !bytes.Equal(all[i].data, want[i]) {
			t.Errorf("packet %d is\n%x, want\n%x", i, head(all[i].data), head(want[i]))
		}
	}
}

func head(b []byte) []byte { return b[:min(len(b), 40)] }
