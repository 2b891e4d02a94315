package filter

import (
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"capd/internal/testnet"

	"golang.org/x/sys/unix"
)

// newTun makes an interface of the hardware type, and returns a function by which packets arrive at it.
func newTun(t *testing.T, name string, hardware int) (send func([]byte)) {
	t.Helper()
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { tun.Close() })
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, ifr); err != nil {
		t.Skip("create ", name, ": ", err)
	}
	if err := unix.IoctlSetInt(int(tun.Fd()), unix.TUNSETLINK, hardware); err != nil {
		t.Fatal(err)
	}
	testnet.SetUp(t, name, true)
	return func(packet []byte) {
		if _, err := tun.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
}

// openAny opens a packet socket for the frames of all interfaces.
func openAny(t *testing.T, p *Program) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := attach(fd, p.Instructions); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(be16(unix.ETH_P_ALL))}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestMixedAgainstTcpdump: of frames of interfaces with several link layers those pass that tcpdump passes on any. The second
// program knows no hardware type, and so tests all of them from the network header on.
func TestMixedAgainstTcpdump(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump: ", err)
	}
	if b, err := os.ReadFile("/proc/self/setgroups"); err == nil && strings.TrimSpace(string(b)) == "deny" {
		t.Skip("tcpdump drops root's privileges before it records, which it can't do in a user namespace")
	}
	testnet.Veth(t, "mix0", "mix1", 1500)
	veth := testnet.NewSender(t, "mix0")
	raw, ppp := newTun(t, "mixraw", unix.ARPHRD_NONE), newTun(t, "mixppp", unix.ARPHRD_PPP)
	ways := []func([]byte){veth.Send, func(b []byte) { raw(b[14:]) }, func(b []byte) { ppp(b[14:]) }}
	const marker = 4444
	exprs := []string{"ip", "not ip", "udp", "tcp port 80", "not tcp", "ip6", "host 10.0.0.1", "ip[8] > 10 and udp", "tcp[13] & 2 = 0", "dst port 443 or arp", "ip[2:2] - 20 > 8"}
	type run struct {
		expr    string
		fds     []int
		tcpdump *sniffer
	}
	var runs []run
	for _, expr := range exprs {
		r := run{expr: "(" + expr + ") or udp port 4444"}
		for _, types := range []map[uint16]LinkType{mixedTypes, nil} {
			p, err := CompileMixed(r.expr, types)
			if err != nil {
				t.Fatal(err)
			}
			r.fds = append(r.fds, openAny(t, p))
		}
		r.tcpdump = newSniffer(t, "any", r.expr)
		runs = append(runs, r)
	}
	sent := uint32(0)
	for _, proto := range []byte{17, 6} {
		for _, port := range []int{443, 80, 53} {
			for _, from := range [][]byte{{10, 0, 0, 1}, {10, 0, 0, 9}} {
				for _, way := range ways {
					way(slices.Concat(datagram(proto, from, port).data, be32(int(sent))))
					sent++
				}
			}
		}
	}
	for _, way := range ways {
		way(slices.Concat(datagram(17, []byte{10, 0, 0, 1}, marker).data, be32(int(sent))))
		sent++
	}
	for _, r := range runs {
		var want []uint32
		for _, b := range r.tcpdump.until(t, sent-1) {
			want = append(want, numberOf(b))
		}
		for i, fd := range r.fds {
			if got := receive(t, fd); !slices.Equal(got, want) {
				t.Errorf("%q, program %d: %v, tcpdump has %v", r.expr, i, got, want)
			}
		}
		if len(want) < 3 {
			t.Errorf("%q: %v", r.expr, want)
		}
	}
}
