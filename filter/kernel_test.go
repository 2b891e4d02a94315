//go:build linux

package filter

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"capd/internal/testnet"

	"golang.org/x/sys/unix"
)

// openLive opens a packet socket that receives on the interface, and attaches the program if it is
// not nil.
func openLive(t *testing.T, name string, p *Program) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if p != nil {
		if err := attach(fd, p.Instructions); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20); err != nil {
			t.Fatal(err)
		}
	}
	all := binary.NativeEndian.Uint16(be16(unix.ETH_P_ALL))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: testnet.Index(t, name)}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	return fd
}

// receive returns the numbers at the end of the received frames.
func receive(t *testing.T, fd int) []uint32 {
	t.Helper()
	var got []uint32
	buf := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype != packetOutgoing && n >= 4 {
			got = append(got, binary.BigEndian.Uint32(buf[n-4:]))
		}
	}
}

// numbered returns frames that can be sent, with a number at the end of each.
func numbered() [][]byte {
	var frames [][]byte
	for _, f := range corpus(LinkEthernet) {
		if len(f.data) >= 60 && len(f.data) <= 1400 && len(frames) < 500 {
			frames = append(frames, binary.BigEndian.AppendUint32(slices.Clone(f.data), uint32(len(frames))))
		}
	}
	return frames
}

// TestKernelMatches sends tagged and untagged frames to sockets with programs, and compares the
// kernel's results with those of Match.
func TestKernelMatches(t *testing.T) {
	testnet.Veth(t, "tx0", "rx0", 1500)
	var frames []frame
	for _, b := range numbered() {
		l := frame{b, len(b), &Meta{}}
		// The kernel removes 802.1Q and 802.1ad tags from the bytes.
		if t := binary.BigEndian.Uint16(b[12:]); t == 0x8100 || t == 0x88a8 {
			l.meta = &Meta{VLAN: true, VLANTag: binary.BigEndian.Uint16(b[14:])}
			l.data = append(slices.Clone(b[:12]), b[16:]...)
			l.wirelen -= 4
		}
		frames = append(frames, l)
	}
	// Source addresses that, used as offsets, have a special meaning on Linux.
	for _, src := range [][]byte{{0xff, 0xf0, 0, 0}, {0xff, 0xe0, 0, 12}, {0xff, 0xef, 0xff, 0xf2}} {
		b := slices.Concat(macPool[1], macPool[0], be16(0x0800), []byte{0x45, 0, 0, 46}, make([]byte, 8), src, make([]byte, 30), be32(len(frames)))
		frames = append(frames, frame{b, len(b), &Meta{}})
	}
	exprs := []string{"ether[ip[12:4]] >= 0", "ip[ip[12:4]] >= 0", "vlan", "vlan 100", "not vlan", "vlan and vlan", "vlan 100 and vlan 200", "vlan and ip", "vlan and tcp port 80",
		"ip or (vlan and ip6)", "tcp port 80 or udp port 53", "not port 9102 and (vlan or ip)", "geneve and ip", "ip6 proto 44",
		"tcp[tcpflags] & tcp-syn != 0", "len > 100 and ip", "vlan and vlan and ip[8] = 64", "vlan and geneve", "mpls and ip", "host 10.0.0.1 or 2001:db8::1",
		"ip[8] >> ip[0] = 0", "ip[8] << (ip[1] & 3) > 64", "ip[2:2] / ip[1] > 3", "-ip[8] > 5", "ip[2:2] % ip[0] = 1", "portrange 1000-1010", "port " + repeat(300, "N", " or ")}
	all := openLive(t, "rx0", nil)
	fds := make([]int, len(exprs))
	progs := make([]*Program, len(exprs))
	for i, expr := range exprs {
		p, err := Compile(expr, Target{LinkType: LinkEthernet, Live: true})
		if err != nil {
			t.Fatalf("%q: %v", expr, err)
		}
		progs[i], fds[i] = p, openLive(t, "rx0", p)
	}
	s := testnet.NewSender(t, "tx0")
	for _, f := range frames {
		b := f.data
		if f.meta.VLAN { // with the tag restored
			tpid := 0x8100
			b = slices.Concat(b[:12], be16(tpid), be16(int(f.meta.VLANTag)), b[12:])
		}
		s.Send(b)
	}
	// Wait until every socket has received a frame before the next one is sent.
	var arrived []uint32
	for deadline := time.Now().Add(10 * time.Second); len(arrived) < len(frames); {
		if time.Now().After(deadline) {
			t.Fatalf("%d frames of %d arrived", len(arrived), len(frames))
		}
		poll := []unix.PollFd{{Fd: int32(all), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, 100); err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
		arrived = append(arrived, receive(t, all)...)
	}
	for i, expr := range exprs {
		var want []uint32
		for n, f := range frames {
			if progs[i].Match(f.data, f.wirelen, f.meta) != 0 {
				want = append(want, uint32(n))
			}
		}
		if got := receive(t, fds[i]); !slices.Equal(got, want) {
			t.Errorf("%q: the kernel passes %v, Match %v\n%s", expr, got, want, progs[i])
		}
		t.Logf("%4d of %d: %.60s", len(want), len(frames), expr)
	}
}

// TestKernelAcceptsRandom attaches random programs to a socket.
func TestKernelAcceptsRandom(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	n := 0
	for i := range *randomCount / 4 {
		m := maker{rand.New(rand.NewPCG(*randomSeed+1, uint64(i)))}
		l := pick(m, links)
		expr := writer{m, l}.expr(m.IntN(6))
		p, err := Compile(expr, Target{LinkType: l, Live: m.IntN(2) == 0})
		if err != nil {
			continue
		}
		n++
		if err := attach(fd, p.Instructions); err != nil {
			t.Errorf("%s: %q: %v\n%s", l, expr, err, p)
		}
	}
	t.Logf("%d programs", n)
}
