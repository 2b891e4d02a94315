package bpf

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"capd/capture/device"
	"capd/filter"
	"capd/pcap"
)

// compileFor compiles for the kernel that is simulated.
func compileFor(k *fakeKernel, expr string) func(pcap.LinkType) ([]device.Instruction, error) {
	return func(link pcap.LinkType) ([]device.Instruction, error) {
		p, err := filter.Compile(expr, filter.Target{LinkType: filter.LinkType(link), Machine: filter.MachineOf(k.os)})
		if err != nil {
			return nil, err
		}
		var code []device.Instruction
		for _, i := range p.Instructions {
			code = append(code, device.Instruction{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
		}
		return code, nil
	}
}

// TestBPFRefusesProgram: what a kernel rejects of a filter, it rejects when a gated device is opened, not when
// frames are admitted. No frame gets in meanwhile.
func TestBPFRefusesProgram(t *testing.T) {
	ret := device.Instruction{Code: device.OpReturn, K: 100}
	for _, tt := range []struct {
		name    string
		program []device.Instruction
		systems string // that reject it
	}{
		{"mod", []device.Instruction{{Code: 0x94, K: 3}, ret}, "darwin openbsd"},
		{"mod x", []device.Instruction{{Code: 0x9c}, ret}, "darwin openbsd"},
		{"xor", []device.Instruction{{Code: 0xa4, K: 3}, ret}, "darwin openbsd"},
		{"far load", []device.Instruction{{Code: 0x30, K: 512 << 10}, ret}, "darwin"},
		{"farther load", []device.Instruction{{Code: 0x50, K: 2 << 20}, ret}, "darwin openbsd"},
		{"long", append(slices.Repeat([]device.Instruction{{Code: 0x80}}, 512), ret), "darwin freebsd netbsd openbsd"},
		{"zero divisor", []device.Instruction{{Code: 0x34}, ret}, "darwin freebsd netbsd openbsd"},
		{"jump", []device.Instruction{{Code: 0x15, Jt: 1}, ret}, "darwin freebsd netbsd openbsd"},
		{"longest", append(slices.Repeat([]device.Instruction{{Code: 0x80}}, 511), ret), ""},
	} {
		everySystem(t, func(t *testing.T, k *fakeKernel) {
			d, err := openFake(k, func(c *device.Config) { c.Gated, c.Filter = true, tt.program })
			if rejected := slices.Contains(strings.Fields(tt.systems), k.os); rejected != errors.Is(err, syscall.EINVAL) || rejected != (err != nil) {
				t.Errorf("%s: %v", tt.name, err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "set filter: the kernel rejects its program of ") || k.isOpen() {
					t.Errorf("%s: %v, open %t", tt.name, err, k.isOpen())
				}
				return
			}
			defer d.Close()
			k.receive(device.In, numbered(0, 5)...)
			if n := k.only(); len(n.store) > 0 || len(n.program) != len(tt.program) {
				t.Errorf("%s: %d bytes get through the gate, a program of %d instructions", tt.name, len(n.store), len(n.program))
			}
			if err := d.src.admit(); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		})
	}
}

// TestBPFScarce: if the kernel has no memory for the filter, a gated device is not opened.
func TestBPFScarce(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.programs = 3
		_, err := openFake(k, func(c *device.Config) { c.Gated, c.Compile = true, compileFor(k, "udp port 53") })
		if !errors.Is(err, syscall.ENOMEM) || k.isOpen() {
			t.Errorf("%v, open %t", err, k.isOpen())
		}
	})
}

// TestBPFCompiles: the filter is compiled for the link type that the bound device has, as for a tunnel that is
// raw IP. Its operators are those of the system's kernel. An error of the compiler leaves no device open.
func TestBPFCompiles(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.links["utun0"] = linkState{index: 7, up: true}
		k.utun = []uint32{map[bool]uint32{false: 12, true: 14}[k.os == "openbsd"]}
		var asked []pcap.LinkType
		compile := compileFor(k, "ip[8] % 5 = 4 and ip[9] ^ 1 = 16")
		d := mustOpen(t, k, func(c *device.Config) {
			c.Interface = "utun0"
			c.Compile = func(link pcap.LinkType) ([]device.Instruction, error) {
				asked = append(asked, link)
				return compile(link)
			}
		})
		defer d.Close()
		if !slices.Equal(asked, []pcap.LinkType{pcap.LinkTypeRaw}) || d.LinkType() != pcap.LinkTypeRaw {
			t.Errorf("compiled for %v, the device has %v", asked, d.LinkType())
		}
		packet := append([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17}, make([]byte, 18)...)
		k.tap("utun0", device.In, packet, append([]byte{0, 0, 0, 2}, packet...), []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 63, 17})
		if n := k.only(); d.src.record.count(n.store) != 1 {
			t.Errorf("%d packets pass", d.src.record.count(n.store))
		}
		wrong := errors.New("wrong")
		if _, err := openFake(k, func(c *device.Config) {
			c.Compile = func(pcap.LinkType) ([]device.Instruction, error) { return nil, wrong }
		}); !errors.Is(err, wrong) || len(k.opened()) != 1 {
			t.Errorf("%v, %d devices open", err, len(k.opened()))
		}
	})
}

// TestBPFTags: a tag that the network card took out is in the bytes again, where the kernel puts it back, and the
// filter sees it.
func TestBPFTags(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		d := mustOpen(t, k, func(c *device.Config) { c.Compile = compileFor(k, "vlan 5 and ether[12:2] = 0x8100") })
		defer d.Close()
		frame := append(make([]byte, 12), 0x88, 0xb5, 1, 2, 3, 4)
		k.tagged(device.In, 5, frame)
		k.tagged(device.In, 6, frame)
		want := 0
		if k.os == "freebsd" || k.os == "openbsd" {
			want = 1
		}
		if got := d.src.record.count(k.only().store); got != want {
			t.Errorf("%d frames pass, want %d", got, want)
		}
	})
}

// TestBPFLoopbackDirection: all frames of lo0 have one direction, and whoever asks for the other one is told that
// nothing will be recorded.
func TestBPFLoopbackDirection(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		for _, direction := range []device.Direction{device.Both, device.In, device.Out} {
			d := mustOpen(t, k, func(c *device.Config) { c.Interface, c.Direction = "lo0", direction })
			k.tap("lo0", device.In, []byte("frame"))
			none := d.src.record.count(k.only().store) == 0
			if one := k.loopbackDirection(); one == device.Both {
				none = false
			}
			if warned := slices.ContainsFunc(d.Warnings(), func(s string) bool { return strings.Contains(s, "none is recorded") }); warned != none {
				t.Errorf("direction %d: warnings %q", direction, d.Warnings())
			}
			d.Close()
		}
	})
}

// TestBPFReceivedCounter: only OpenBSD counts frames of the hidden direction.
func TestBPFReceivedCounter(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		d := mustOpen(t, k, func(c *device.Config) { c.Direction = device.In })
		defer d.Close()
		k.receive(device.In, numbered(0, 3)...)
		k.receive(device.Out, numbered(3, 4)...)
		want := uint64(3)
		if k.os == "openbsd" {
			want = 7
		}
		if seen, _, _, err := d.src.counters(); err != nil || seen != want {
			t.Errorf("%d seen, %v, want %d", seen, err, want)
		}
	})
}

// count returns the number of records in a buffer.
func (l layout) count(mem []byte) int {
	var n atomic.Uint64
	r := records{layout: l, snaplen: math.MaxInt32, mem: mem, count: &n}
	var pkts [16]pcap.Packet
	for r.read(pkts[:]) > 0 {
	}
	return int(n.Load())
}
