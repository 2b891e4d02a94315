//go:build linux

package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"capd/internal/testnet"
)

func TestMain(m *testing.M) { os.Exit(testnet.Main(m)) }

// A liveFrame is a packet as a socket's filter meets it.
type liveFrame struct {
	frame
	meta Meta
}

// liveCorpus returns the packets of the corpus with their outermost tag, if
// there is one, beside them; every third is as if it had come with the tag in
// its bytes.
func liveCorpus() []liveFrame {
	var fs []liveFrame
	for i, f := range corpus(LinkEthernet) {
		l := liveFrame{f, Meta{PacketType: uint8(i % 5), Ifindex: uint32(i % 4)}}
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

// TestLiveAgainstTcpdump compares programs for an Ethernet socket with those
// of tcpdump for an interface.
func TestLiveAgainstTcpdump(t *testing.T) {
	newReference(t) // skips where there is no tcpdump
	testnet.Veth(t, "live0", "live1", 1500)
	frames := liveCorpus()
	exprs := []string{"inbound", "outbound", "ifindex 2", "inbound and tcp port 80", "not outbound and vlan"}
	for _, s := range samples(t) {
		if s.link == LinkEthernet {
			exprs = append(exprs, s.expr)
		}
	}
	if testing.Short() {
		exprs = slices.DeleteFunc(exprs, func(s string) bool { return len(s)%4 != 0 })
	}
	errs := make([]error, len(exprs))
	inParallel(len(exprs), func(i int) { errs[i] = compareLive(exprs[i], frames) })
	for i, err := range errs {
		if err != nil {
			t.Errorf("%q: %v", exprs[i], err)
		}
	}
	t.Logf("%d expressions on %d packets", len(exprs), len(frames))
}

func compareLive(expr string, frames []liveFrame) error {
	ref, refErr := runTcpdump("-i", "live0", "-ddd", "--", expr)
	prog, err := Compile(expr, Target{LinkType: LinkEthernet, Live: true})
	if err != nil || refErr != nil {
		if (err != nil) != (refErr != nil) && !(err == nil && prog.NeverMatches()) && !knownRefusal(err) {
			return fmt.Errorf("got error %v, tcpdump's is %v", err, refErr)
		}
		return nil
	}
	quirky, err := compile(expr, Target{LinkType: LinkEthernet, Live: true}, true)
	if err != nil {
		return err
	}
	var plain []bpf.RawInstruction
	for _, f := range frames {
		verdict := func(code []bpf.RawInstruction) bool {
			m := machine{packet: f.data, wirelen: uint32(f.wirelen), meta: &f.meta}
			return m.run(code) != 0
		}
		got := verdict(prog.Instructions)
		if got == verdict(ref) {
			continue
		}
		if plain == nil {
			if plain, err = runTcpdump("-i", "live0", "-O", "-ddd", "--", expr); err != nil {
				return err
			}
		}
		if want := verdict(plain); got != want && verdict(quirky.Instructions) != want {
			return fmt.Errorf("packet %x, %+v: got %v\n%s\n%s", f.data, f.meta, got, prog, &Program{Instructions: ref})
		}
	}
	if len(prog.Instructions)*2 > 3*len(ref) && !prog.AlwaysMatches() {
		return fmt.Errorf("%d instructions, tcpdump needs %d\n%s\n%s", len(prog.Instructions), len(ref), prog, &Program{Instructions: ref})
	}
	return nil
}

func knownRefusal(err error) bool {
	return err != nil && slices.ContainsFunc(refusals, func(k refusal) bool { return k.msg.MatchString(err.Error()) })
}

// TestLiveCooked compares programs for a cooked socket, which sees no cooked
// header, with those for a file.
func TestLiveCooked(t *testing.T) {
	for _, s := range samples(t) {
		if s.link != LinkSLL2 && s.link != LinkEthernet {
			continue
		}
		live, err := Compile(s.expr, Target{LinkType: LinkSLL2, Live: true})
		file, fileErr := Compile(s.expr, Target{LinkType: LinkSLL2})
		if err != nil || fileErr != nil {
			if fileErr == nil {
				t.Logf("%q: %v", s.expr, err)
			}
			if err == nil {
				t.Errorf("%q compiles for a socket, but for a file: %v", s.expr, fileErr)
			}
			continue
		}
		for _, f := range corpus(LinkSLL2) {
			if len(f.data) < sll2Len {
				continue
			}
			meta := Meta{
				Protocol:   binary.BigEndian.Uint16(f.data),
				Ifindex:    binary.BigEndian.Uint32(f.data[4:]),
				Hatype:     binary.BigEndian.Uint16(f.data[8:]),
				PacketType: f.data[10],
			}
			got := live.Match(f.data[sll2Len:], f.wirelen-sll2Len, &meta)
			if want := file.Match(f.data, f.wirelen, nil); got != want {
				t.Errorf("%q, packet %x: got %d, want %d\n%s\n%s", s.expr, f.data, got, want, live, file)
				break
			}
		}
	}
}

// attach lets the kernel check the program.
func attach(fd int, code []bpf.RawInstruction) error {
	p := unix.SockFprog{Len: uint16(len(code)), Filter: (*unix.SockFilter)(unsafe.Pointer(&code[0]))}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &p)
}

// TestKernelAccepts attaches every program of the list to a socket.
func TestKernelAccepts(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	n := 0
	for _, s := range samples(t) {
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
