//go:build linux

package filter

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"capd/internal/testnet"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The tests run as root because tcpdump needs it: see TestSideBySide.
func TestMain(m *testing.M) { os.Exit(testnet.MainAsRoot(m)) }

// liveCorpus returns the packets of the corpus with their outermost tag, if any, as metadata. Every
// third packet has it in its bytes instead.
func liveCorpus() []frame {
	var fs []frame
	for i, f := range corpus(LinkEthernet) {
		l := frame{f.data, f.wirelen, &Meta{PacketType: uint8(i % 5), Ifindex: uint32(i % 4)}}
		if i%3 != 0 && len(f.data) >= 18 && isTPID(binary.BigEndian.Uint16(f.data[12:])) {
			l.meta.VLAN, l.meta.VLANTag = true, binary.BigEndian.Uint16(f.data[14:])
			l.data = append(slices.Clone(f.data[:12]), f.data[16:]...)
			l.wirelen -= 4
		}
		fs = append(fs, l)
	}
	return fs
}

func isTPID(t uint16) bool { return t == 0x8100 || t == 0x88a8 || t == 0x9100 }

// newLiveReference returns a reference that runs tcpdump on the interface.
func newLiveReference(t *testing.T, name string) reference {
	t.Helper()
	r := newReference(t)
	r.live = liveCorpus()
	r.compile = func(expr string, _ LinkType, optimize bool) ([]bpf.RawInstruction, error) {
		args := []string{"-i", name, "-ddd", "--", expr}
		if !optimize {
			args = append([]string{"-O"}, args...)
		}
		return runTcpdump(args...)
	}
	return r
}

// TestLiveAgainstTcpdump compares programs for an Ethernet socket with those
// of tcpdump's library for an interface.
func TestLiveAgainstTcpdump(t *testing.T) {
	testnet.Veth(t, "live0", "live1", 1500)
	r := newLibpcap(t, "live0")
	r.live = liveCorpus()
	exprs := []string{"inbound", "outbound", "ifindex 2", "inbound and tcp port 80", "not outbound and vlan"}
	for _, s := range samples(t) {
		if s.link == LinkEthernet {
			exprs = append(exprs, s.expr)
		}
	}
	if testing.Short() {
		exprs = slices.DeleteFunc(exprs, func(s string) bool { return len(s)%4 != 0 })
	}
	verdicts := make([]verdict, len(exprs))
	inParallel(len(exprs), func(i int) { verdicts[i] = r.compare(exprs[i], LinkEthernet) })
	for i, v := range verdicts {
		if v.err != nil {
			t.Errorf("%q: %v", exprs[i], v.err)
		}
		if v.ref > 0 && v.ours*2 > v.ref*3 && !v.always {
			t.Errorf("%q: %d instructions, tcpdump needs %d", exprs[i], v.ours, v.ref)
		}
	}
	t.Logf("%d expressions on %d packets", len(exprs), len(r.live))
}

// TestRandomLiveAgainstTcpdump compares programs of random expressions for an
// Ethernet socket with those of tcpdump's library for an interface.
func TestRandomLiveAgainstTcpdump(t *testing.T) {
	testnet.Veth(t, "live2", "live3", 1500)
	r := newLibpcap(t, "live2")
	r.live = liveCorpus()
	if _, err := r.compile("vlan", LinkEthernet, true); err != nil {
		t.Fatal(err)
	}
	r.compareRandom(t, *randomCount/2, []LinkType{LinkEthernet})
}

// TestKnownLiveDifferences checks examples of differences on interfaces.
func TestKnownLiveDifferences(t *testing.T) {
	testnet.Veth(t, "live4", "live5", 1500)
	r := newLiveReference(t, "live4")
	tagged := datagram(6, []byte{10, 0, 0, 1}, 80)
	tagged.meta = &Meta{VLAN: true, VLANTag: 100}
	for _, k := range []known{
		{"optimizer-fault", "ip and vlan 100", tagged, accepts, rejects, accepts},
		{"cell-clash", "ip[12] = 4 or (vlan and tcp)", tagged, accepts, rejects, rejects},
	} {
		k.check(t, r)
	}
}

// TestLiveCooked compares programs for a cooked socket, which has no cooked headers, with programs
// for a file.
func TestLiveCooked(t *testing.T) {
	for _, s := range samples(t) {
		for _, link := range []LinkType{LinkSLL2, LinkSLL} {
			if s.link == link || s.link == LinkEthernet {
				compareCooked(t, s.expr, link)
			}
		}
	}
}

func compareCooked(t *testing.T, expr string, link LinkType) {
	t.Helper()
	live, err := Compile(expr, Target{LinkType: link, Live: true})
	file, fileErr := Compile(expr, Target{LinkType: link})
	if err != nil || fileErr != nil {
		if fileErr == nil {
			t.Logf("%s: %q: %v", link, expr, err)
		}
		if err == nil && !strings.Contains(expr, "ifindex") { // which the older header does not have
			t.Errorf("%s: %q compiles for a socket, but for a file: %v", link, expr, fileErr)
		}
		return
	}
	for _, f := range corpus(link) {
		meta, header := cookedMeta(link, f.data)
		if meta == nil {
			continue
		}
		got := live.Match(f.data[header:], f.wirelen-header, meta)
		if want := file.Match(f.data, f.wirelen, nil); got != want {
			t.Errorf("%s: %q, packet %x: got %d, want %d\n%s\n%s", link, expr, f.data, got, want, live, file)
			return
		}
	}
}

// attach gives the program to the kernel, which checks it.
func attach(fd int, code []bpf.RawInstruction) error {
	p := unix.SockFprog{Len: uint16(len(code)), Filter: (*unix.SockFilter)(unsafe.Pointer(&code[0]))}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &p)
}

// TestKernelAccepts attaches every program of the list, and long ones, to a socket. Kernels with a
// net.core.optmem_max of 20 kB refuse the longest.
func TestKernelAccepts(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	n := 0
	all := samples(t)
	for _, expr := range large {
		all = append(all, sample{LinkEthernet, expr})
	}
	for _, s := range all {
		for _, live := range []bool{false, true} {
			p, err := Compile(s.expr, Target{LinkType: s.link, Live: live})
			if err != nil {
				continue
			}
			n++
			if err := attach(fd, p.Instructions); err != nil {
				t.Errorf("%s, live %v: %q: %v\n%s", s.link, live, s.expr, err, p)
			}
		}
	}
	t.Logf("%d programs", n)
	if err := attach(fd, []bpf.RawInstruction{{Op: classLD | modeMEM}, {Op: classRET}}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("the kernel takes a bad program: %v", err)
	}
}
