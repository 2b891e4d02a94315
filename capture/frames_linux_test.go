package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"capd/capture"
	"capd/internal/testnet"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

// tags inserts VLAN tags, given as protocol and TCI, into the frame.
func tags(f []byte, tags ...uint16) []byte {
	t := bytes.Clone(f[:12])
	for _, v := range tags {
		t = binary.BigEndian.AppendUint16(t, v)
	}
	return append(t, f[12:]...)
}

func tagged() map[string][]byte {
	return map[string][]byte{
		"none":         frame(100),
		"802.1Q":       tags(frame(100), 0x8100, 100),
		"802.1ad":      tags(frame(100), 0x88a8, 200),
		"priority":     tags(frame(100), 0x8100, 0xe000), // VID 0
		"whole TCI":    tags(frame(100), 0x8100, 0xffff),
		"QinQ":         tags(frame(100), 0x88a8, 0x2064, 0x8100, 0x4065),
		"three":        tags(frame(100), 0x88a8, 1, 0x8100, 2, 0x8100, 3),
		"smallest":     tags(frame(16), 0x8100, 7), // the kernel drops shorter ones
		"old QinQ":     tags(frame(100), 0x9100, 8),
		"MTU-sized":    tags(frame(1514), 0x8100, 9),
		"cut to a tag": tags(frame(300), 0x8100, 10),
	}
}

// TestTags checks that frames are captured as they were sent: on the receiving end, the kernel
// removes the tag; on the sending end, it does not.
func TestTags(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1518)
		s := testnet.NewSender(t, "a0")
		for _, end := range []string{"a0", "a1"} {
			for _, snaplen := range []int{0, 1, 12, 13, 16, 18, 64, 104} {
				c.Interface, c.Snaplen = end, snaplen
				_, h := open(t, c)
				for name, f := range tagged() {
					s.Send(f)
					all, err := collect(t, h, 1)
					if err != nil {
						t.Fatal(err)
					}
					want := f
					if snaplen > 0 {
						want = f[:min(snaplen, len(f))]
					}
					if !bytes.Equal(all[0].data, want) || all[0].Length != uint32(len(f)) {
						t.Errorf("%s, %s, snaplen %d: %d bytes\n%x, want %d\n%x", end, name, snaplen,
							all[0].Length, head(all[0].data), len(f), head(want))
					}
				}
				h.Close()
			}
		}
	})
}

// TestTagIsMetadata checks the assumption of TestTags that the kernel removes the tag on the
// receiving end.
func TestTagIsMetadata(t *testing.T) {
	testnet.Veth(t, "a0", "a1", 1500)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: testnet.Index(t, "a1")}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	f := tags(frame(100), 0x8100, 100)
	testnet.NewSender(t, "a0").Send(f)
	got := make([]byte, 200)
	n, err := unix.Read(fd, got)
	if err != nil || n != len(f)-4 {
		t.Fatalf("received %d bytes, %v; want %d", n, err, len(f)-4)
	}
}

func TestDirections(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface = "a0"
		out, in := frame(80), frame(90)
		for _, d := range []struct {
			direction capture.Direction
			want      [][]byte
		}{
			{capture.Both, [][]byte{out, in, out, in}},
			{capture.In, [][]byte{in, in}},
			{capture.Out, [][]byte{out, out}},
		} {
			c.Direction = d.direction
			_, h := open(t, c)
			here, there := testnet.NewSender(t, "a0"), testnet.NewSender(t, "a1")
			for range 2 {
				here.Send(out)
				there.Send(in)
			}
			all := stopAndDrain(t, h)
			same(t, all, d.want)
			for _, p := range all {
				want := pcap.FlagOutbound
				if len(p.data) == len(in) {
					want = pcap.FlagInbound | pcap.FlagPromiscuous
				}
				if p.Flags != want {
					t.Errorf("%d bytes have flags %#x, want %#x", len(p.data), p.Flags, want)
				}
			}
		}
	})
}

func TestDestinations(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		own := []byte{2, 0, 0, 0, 0, 1}
		testnet.SetAddress(t, "a1", own)
		c.Interface = "a1"
		_, h := open(t, c)
		s := testnet.NewSender(t, "a0")
		for _, d := range []struct {
			to   []byte
			want pcap.Flags
		}{
			{own, pcap.FlagUnicast},
			{[]byte{1, 0, 0x5e, 0, 0, 1}, pcap.FlagMulticast},
			{[]byte{255, 255, 255, 255, 255, 255}, pcap.FlagBroadcast},
			{[]byte{2, 0, 0, 0, 0, 2}, pcap.FlagPromiscuous},
		} {
			f := frame(60)
			copy(f, d.to)
			s.Send(f)
			all, err := collect(t, h, 1)
			if err != nil || all[0].Flags != pcap.FlagInbound|d.want {
				t.Errorf("to %x: %v, flags %#x, want %#x", d.to, err, all[0].Flags, d.want)
			}
		}
	})
}

func TestLoopbackOnce(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.SetUp(t, "lo", true)
		s := testnet.NewSender(t, "lo")
		f := frame(70)
		for _, name := range []string{"lo", capture.Any} {
			for _, direction := range []capture.Direction{capture.Both, capture.In, capture.Out} {
				c.Interface, c.Direction = name, direction
				_, h := open(t, c)
				s.Send(f)
				s.Send(f)
				if all := stopAndDrain(t, h); len(all) != 2 {
					t.Errorf("%s, direction %d: %d packets of 2 frames", name, direction, len(all))
				}
			}
		}
	})
}

// TestAnyCooked checks the cooked packets of all interfaces together.
func TestAnyCooked(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		for name, cook := range map[string]func(f []byte, index int, pktType byte) []byte{"LINUX_SLL2": cooked, "LINUX_SLL": cooked1} {
			c.Interface, c.LinkType = capture.Any, name
			d, h := open(t, c)
			if h.LinkType().String() != name {
				t.Fatalf("link type %v", h.LinkType())
			}
			s := testnet.NewSender(t, "a0")
			for _, f := range [][]byte{frame(60), tags(frame(60), 0x88a8, 0xe064)} {
				s.Send(f)
				all, err := collect(t, h, 2) // as sent by a0, as received by a1
				if err != nil {
					t.Fatal(err)
				}
				for i, want := range [][]byte{
					cook(f, testnet.Index(t, "a0"), 4),
					cook(f, testnet.Index(t, "a1"), 3),
				} {
					if !bytes.Equal(all[i].data, want) || all[i].Length != uint32(len(want)) {
						t.Errorf("%s: packet %d is %d bytes\n%x, want %d\n%x", name, i, all[i].Length, head(all[i].data), len(want), head(want))
					}
				}
			}
			d.Close()
		}
	})
}

// TestAny checks that frames of all interfaces together are captured as they were sent, with all tags,
// and with the interface of each.
func TestAny(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1518)
		c.Interface = capture.Any
		for _, snaplen := range []int{0, 18, 64} {
			c.Snaplen = snaplen
			d, h := open(t, c)
			s := testnet.NewSender(t, "a0")
			for name, f := range tagged() {
				s.Send(f)
				all, err := collect(t, h, 2)
				if err != nil {
					t.Fatal(err)
				}
				want := f
				if snaplen > 0 {
					want = f[:min(snaplen, len(f))]
				}
				for i, end := range []string{"a0", "a1"} {
					p := all[i]
					if !bytes.Equal(p.data, want) || p.Length != uint32(len(f)) {
						t.Errorf("%s, snaplen %d: %d bytes\n%x, want %d\n%x", name, snaplen, p.Length, head(p.data), len(f), head(want))
					}
					if p.From.Name != end || p.From.LinkType != pcap.LinkTypeEthernet || len(p.From.MAC) != 6 ||
						p.From.Comment != fmt.Sprintf("interface index %d", testnet.Index(t, end)) {
						t.Errorf("%s: from %+v, want %s", name, p.From, end)
					}
				}
			}
			d.Close()
		}
	})
}

// TestAnyRenamed: an interface that has another name is another one, and so is another interface with the
// index of one that is gone.
func TestAnyRenamed(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface, c.Direction = capture.Any, capture.In
		_, h := open(t, c)
		s := testnet.NewSender(t, "a0")
		one := func() *pcap.Interface {
			t.Helper()
			s.Send(frame(60))
			all, err := collect(t, h, 1)
			if err != nil {
				t.Fatal(err)
			}
			return all[0].From
		}
		before := one()
		if again := one(); again != before {
			t.Errorf("%+v is not %+v", again, before)
		}
		testnet.Rename(t, "a1", "a9")
		after := one()
		if before.Name != "a1" || after.Name != "a9" || after.Comment != before.Comment {
			t.Errorf("%+v, then %+v", before, after)
		}
	})
}

// TestAnyGone: a frame of an interface whose name nobody knows any more has its index.
func TestAnyGone(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface, c.Direction = capture.Any, capture.In
		index := testnet.Index(t, "a1")
		_, h := open(t, c)
		testnet.NewSender(t, "a0").Send(frame(60))
		testnet.Remove(t, "a1")
		all := stopAndDrain(t, h)
		want := fmt.Sprintf("interface index %d, which was gone before its name was asked for", index)
		if len(all) != 1 || all[0].From.Name != fmt.Sprintf("if%d", index) || all[0].From.Comment != want {
			t.Errorf("%d packets, %+v", len(all), all)
		}
	})
}

// TestAnyKinds: frames of interfaces that are not Ethernet have the link type and the bytes that they have when their interface is
// captured alone.
func TestAnyKinds(t *testing.T) {
	packet := make([]byte, 40)
	packet[0] = 0x45
	for _, hardware := range []int{unix.ARPHRD_NONE, unix.ARPHRD_IEEE80211_RADIOTAP, unix.ARPHRD_PPP, unix.ARPHRD_IPGRE, unix.ARPHRD_NETLINK} {
		bothModes(t, func(t *testing.T, c capture.Config) {
			send := newTun(t, hardware)
			c.Interface, c.Snaplen = "tun0", 50
			_, alone := open(t, c)
			c.Interface = capture.Any
			_, any := open(t, c)
			send(packet)
			want, got := stopAndDrain(t, alone), stopAndDrain(t, any)
			if len(want) != 1 || len(got) != 1 || !bytes.Equal(got[0].data, want[0].data) || got[0].Length != want[0].Length || got[0].Flags != want[0].Flags {
				t.Errorf("hardware type %d: %+v, want %+v", hardware, got, want)
				return
			}
			if got[0].From.LinkType != alone.LinkType() || got[0].From.Name != "tun0" {
				t.Errorf("hardware type %d: from %+v, want %v", hardware, got[0].From, alone.LinkType())
			}
		})
	}
}

// cooked1 returns the Ethernet frame in the format of LINKTYPE_LINUX_SLL.
func cooked1(f []byte, _ int, pktType byte) []byte {
	h := append([]byte{0, pktType, 0, 1, 0, 6}, f[6:12]...)
	h = append(append(h, 0, 0), f[12:14]...)
	return append(h, f[14:]...)
}

// cooked returns the Ethernet frame in the format of LINKTYPE_LINUX_SLL2.
func cooked(f []byte, index int, pktType byte) []byte {
	h := append(bytes.Clone(f[12:14]), 0, 0)
	h = binary.BigEndian.AppendUint32(h, uint32(index))
	h = append(h, 0, 1, pktType, 6)
	h = append(append(h, f[6:12]...), 0, 0)
	return append(h, f[14:]...)
}

// TestTun checks packets of interfaces that are not Ethernet.
func TestTun(t *testing.T) {
	packet := make([]byte, 40)
	packet[0] = 0x45
	for _, tun := range []struct {
		hardware int
		link     pcap.LinkType
		header   int // bytes before the packet
	}{
		{unix.ARPHRD_NONE, pcap.LinkTypeRaw, 0},
		{unix.ARPHRD_RAWIP, pcap.LinkTypeRaw, 0},
		{unix.ARPHRD_IEEE80211, pcap.LinkTypeIEEE80211, 0},
		{unix.ARPHRD_IEEE80211_RADIOTAP, pcap.LinkTypeRadiotap, 0},
		{unix.ARPHRD_PPP, pcap.LinkTypeLinuxSLL2, 20},
		{unix.ARPHRD_SIT, pcap.LinkTypeRaw, 0},
		{unix.ARPHRD_CISCO, 104, 0},
		{unix.ARPHRD_IEEE802154, 230, 0},
		{unix.ARPHRD_NETLINK, 253, 16},
		{826, 271, 0},
	} {
		bothModes(t, func(t *testing.T, c capture.Config) {
			send := newTun(t, tun.hardware)
			c.Interface = "tun0"
			_, h := open(t, c)
			if h.LinkType() != tun.link {
				t.Errorf("hardware type %d: link type %d, want %d", tun.hardware, h.LinkType(), tun.link)
			}
			send(packet)
			all := stopAndDrain(t, h)
			if len(all) != 1 || len(all[0].data) < tun.header || !bytes.Equal(all[0].data[tun.header:], packet) {
				t.Errorf("hardware type %d: %d packets", tun.hardware, len(all))
			}
		})
	}
}

// TestAdoptGoneTun: the link type of an interface that was removed is known from its frames, or else
// from the Config, and the filter is compiled for it.
func TestAdoptGoneTun(t *testing.T) {
	testnet.Need(t)
	for _, tun := range []struct {
		hardware int
		link     pcap.LinkType
		count    int
	}{
		{unix.ARPHRD_NONE, pcap.LinkTypeRaw, 1}, {unix.ARPHRD_IEEE80211, pcap.LinkTypeIEEE80211, 1}, {unix.ARPHRD_PPP, pcap.LinkTypeLinuxSLL2, 1},
		{unix.ARPHRD_NONE, pcap.LinkTypeRaw, 0}, {unix.ARPHRD_PPP, pcap.LinkTypeLinuxSLL2, 0},
	} {
		t.Run("", func(t *testing.T) {
			send := newTun(t, tun.hardware)
			c := capture.Config{Interface: "tun0", RingSize: 8 << 20, BlockTimeout: 10}
			c.Compile = func(link pcap.LinkType) ([]capture.Instruction, error) {
				return []capture.Instruction{{Code: unix.BPF_LD | unix.BPF_IMM, K: uint32(link)}, {Code: unix.BPF_RET, K: 0x40000}}, nil
			}
			d, err := capture.Open(c)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			f, err := d.File()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for range tun.count {
				send(append([]byte{0x45}, make([]byte, 39)...))
			}
			testnet.Remove(t, "tun0")
			if tun.count == 0 {
				c.LinkType = tun.link.String()
			}
			a, err := capture.Adopt(c, f, capture.Position{})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			h, err := a.Attach()
			if err != nil {
				t.Fatal(err)
			}
			if h.LinkType() != tun.link {
				t.Errorf("link type %v, want %v", h.LinkType(), tun.link)
			}
			if all, err := collect(t, h, -1); len(all) != tun.count || !errors.Is(err, capture.ErrGone) {
				t.Errorf("%d packets, %v", len(all), err)
			}
		})
	}
}

// newTun creates tun0 with that hardware type. It returns a function that makes a packet arrive at
// tun0.
func newTun(t *testing.T, hardware int) (send func([]byte)) {
	t.Helper()
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { tun.Close() })
	ifr, err := unix.NewIfreq("tun0")
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, ifr); err != nil {
		t.Skip("create tun0:", err)
	}
	if err := unix.IoctlSetInt(int(tun.Fd()), unix.TUNSETLINK, hardware); err != nil {
		t.Fatal(err)
	}
	testnet.SetUp(t, "tun0", true)
	return func(packet []byte) {
		if _, err := tun.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFilter checks that a filter is applied after the direction, and that packets are truncated to
// the snaplen.
func TestFilter(t *testing.T) {
	bothModes(t, func(t *testing.T, c capture.Config) {
		testnet.Veth(t, "a0", "a1", 1500)
		c.Interface, c.Direction, c.Snaplen = "a0", capture.In, 50
		c.Filter = []capture.Instruction{
			{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x88b5, Jf: 1},
			{Code: unix.BPF_RET, K: 0x40000},
			{Code: unix.BPF_RET},
		}
		_, h := open(t, c)
		other, wanted := frame(60), frame(60)
		other[13] = 0xb6
		s := testnet.NewSender(t, "a1")
		s.Send(other)
		s.Send(wanted)
		testnet.NewSender(t, "a0").Send(wanted)
		all := stopAndDrain(t, h)
		same(t, all, [][]byte{wanted[:50]})
		if st, err := h.Stats(); err != nil || st.Received != 1 {
			t.Errorf("stats %+v, %v; want 1 received", st, err)
		}
	})
}

// BenchmarkReceive measures only reading: the processor time for a frame from Next to Release.
func BenchmarkReceive(b *testing.B) {
	for _, m := range modes {
		b.Run(m.name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			testnet.Veth(b, "a0", "a1", 1500)
			_, h := open(b, capture.Config{Interface: "a1", RingSize: 32 << 20, BlockTimeout: 5, NoRing: m.noRing})
			s := testnet.NewSender(b, "a0")
			f := frame(64)
			var used time.Duration
			frames := 0
			for range b.N {
				for range 900 { // the kernel's backlog for veth holds 1000 frames
					s.Send(f)
				}
				awaitBlock(b, h)
				start := cpu(b)
				frames += readReady(b, h)
				used += cpu(b) - start
			}
			b.ReportMetric(float64(used.Nanoseconds())/float64(frames), "cpu-ns/frame")
		})
	}
}

// awaitBlock waits until the ring, if there is one, has a block to read.
func awaitBlock(tb testing.TB, h *capture.Handle) {
	tb.Helper()
	for deadline := time.Now().Add(patience); h.Mode() == capture.ModeRing; time.Sleep(time.Millisecond) {
		st, err := h.Stats()
		if err != nil || time.Now().After(deadline) {
			tb.Fatalf("no block filled: %+v, %v", st, err)
		}
		if st.FilledBlock > 0 {
			return
		}
	}
}

// readReady reads and discards the frames that are ready. It returns their number.
func readReady(tb testing.TB, h *capture.Handle) int {
	tb.Helper()
	pkts := scratch[:]
	n := 0
	for {
		b, err := h.Next(0)
		if err != nil {
			tb.Fatal(err)
		}
		if b == nil {
			return n
		}
		for k := b.Read(pkts[:]); k > 0; k = b.Read(pkts[:]) {
			n += k
		}
		b.Release()
	}
}

// scratch is used by tests that count allocations: the argument of Batch.Read escapes to the heap.
var scratch [64]pcap.Packet

// read reads and discards n frames.
func read(tb testing.TB, h *capture.Handle, n int) {
	tb.Helper()
	pkts := scratch[:]
	for n > 0 {
		b, err := h.Next(patience)
		if err != nil || b == nil {
			tb.Fatal(b, err)
		}
		for k := b.Read(pkts[:]); k > 0; k = b.Read(pkts[:]) {
			n -= k
		}
		b.Release()
	}
}
