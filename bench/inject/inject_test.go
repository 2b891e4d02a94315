//go:build linux

package inject

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"golang.org/x/sys/unix"
)

// veth moves the test's thread to a new network namespace with a pair of interfaces, and returns
// the index of one. A user namespace, which package testnet uses, is not sufficient: the kernel
// requires privilege in the initial one. The thread and the namespace end with the test.
func veth(tb testing.TB) int {
	tb.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		tb.Skipf("needs privilege: network namespace without a user namespace: %v", err)
	}
	// /proc/sys shows the namespace of the thread. Without IPv6, the kernel sends no frames by
	// itself.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	peer := &rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: "b"}}
	err = conn.Link.New(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name: "a", Info: &rtnetlink.LinkInfo{Kind: "veth", Data: &driver.Veth{PeerInfo: peer}},
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return up(tb, conn, "a", "b")
}

// up sets the interfaces up and returns the index of the last one.
func up(tb testing.TB, conn *rtnetlink.Conn, names ...string) (index int) {
	tb.Helper()
	for _, name := range names {
		ifi, err := net.InterfaceByName(name)
		if err == nil {
			index = ifi.Index
			err = conn.Link.Set(&rtnetlink.LinkMessage{Index: uint32(index), Flags: unix.IFF_UP, Change: unix.IFF_UP})
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return index
}

func open(tb testing.TB, ifindex int, sizes []int) *Injector {
	tb.Helper()
	in, err := New(ifindex, sizes)
	if errors.Is(err, ErrPrivilege) {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { in.Close() })
	return in
}

// listen returns a packet socket that receives on the interface.
func listen(tb testing.TB, ifindex int) int {
	tb.Helper()
	all := uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		tb.Cleanup(func() { unix.Close(fd) })
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex})
	}
	if err != nil {
		tb.Fatal(err)
	}
	return fd
}

func TestRunArrives(t *testing.T) {
	const count = 500
	for name, sizes := range map[string][]int{"one": {64}, "large": {1514}, "mix": IMIX()} {
		t.Run(name, func(t *testing.T) {
			ifindex := veth(t)
			in := open(t, ifindex, sizes)
			fd := listen(t, ifindex)
			sent, err := in.Run(context.Background(), Rate{Count: count})
			if err != nil || sent != count || in.Sent() != count {
				t.Fatalf("sent %d, then Sent() = %d, %v; want %d", sent, in.Sent(), err, count)
			}
			buf := make([]byte, 2048)
			for i := range count {
				n, err := unix.Read(fd, buf)
				if err != nil {
					t.Fatal(err)
				}
				checkFrame(t, buf[:n], uint64(i), sizes[i%len(sizes)])
			}
		})
	}
}

// checkFrame checks that the frame is the one with that number in the mix.
func checkFrame(t *testing.T, frame []byte, seq uint64, size int) {
	t.Helper()
	if want := Frame(size, seq); string(frame) != string(want) {
		t.Fatalf("frame %d\n got % x\nwant % x", seq, frame, want)
	}
	if got, ok := Sequence(frame); got != seq || !ok {
		t.Fatalf("frame %d has number %d, %v", seq, got, ok)
	}
	if checksum(frame[14:34]) != 0 {
		t.Fatalf("frame %d has a wrong IP checksum", seq)
	}
}

func TestRunEndsWithContext(t *testing.T) {
	in := open(t, veth(t), []int{64})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if sent, err := in.Run(ctx, Rate{}); sent != 0 || err != nil {
		t.Fatalf("sent %d, %v after the end", sent, err)
	}
}

func TestNewRefusesSizes(t *testing.T) {
	for _, sizes := range [][]int{nil, {MinSize - 1}, {64, MaxSize + 1}} {
		if _, err := New(1, sizes); err == nil {
			t.Errorf("sizes %v are accepted", sizes)
		}
	}
}

func BenchmarkBurst(b *testing.B) {
	for name, n := range map[string]uint32{"1": 1, "300": 300, "1000": 1000, "100000": 100_000} {
		b.Run(name, func(b *testing.B) {
			in := open(b, veth(b), []int{64})
			for b.Loop() {
				if err := in.burst(n); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(in.Sent())/b.Elapsed().Seconds()/1e6, "Mpps")
		})
	}
}

// BenchmarkPaced measures the share of a core that paced injection uses.
func BenchmarkPaced(b *testing.B) {
	for name, rate := range map[string]float64{"0.05Mpps": 5e4, "0.3Mpps": 3e5, "1Mpps": 1e6} {
		b.Run(name, func(b *testing.B) {
			in := open(b, veth(b), []int{1514})
			before := cpu(b)
			for b.Loop() {
				if _, err := in.Run(context.Background(), Rate{rate, uint64(rate / 2)}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(in.Sent())/b.Elapsed().Seconds()/1e6, "Mpps")
			b.ReportMetric(100*(cpu(b)-before)/b.Elapsed().Seconds(), "%core")
		})
	}
}

// cpu returns the processor time of the thread in seconds.
func cpu(b *testing.B) float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return float64(t.Nano()) / 1e9
}
