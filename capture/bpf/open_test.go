package bpf

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/capture/device"
	"capd/pcap"
)

// An opened is a device of a fake kernel.
type opened struct {
	*device.Device
	src *source
}

// openFake opens a device of the kernel.
func openFake(k *fakeKernel, change ...func(*device.Config)) (*opened, error) {
	c := device.Config{Interface: "en0", BlockSize: 1 << 16, RingSize: 1 << 20}
	for _, f := range change {
		f(&c)
	}
	return k.openDevice(c)
}

// openDevice does what Open does on a real system.
func (k *fakeKernel) openDevice(c device.Config) (d *opened, err error) {
	d = new(opened)
	d.Device, err = device.Open(c, func(c device.Config) (*device.Device, error) {
		if d.src, err = openOn(k, k.abi, c); err != nil {
			return nil, err
		}
		return d.src.device(), nil
	})
	return d, err
}

func mustOpen(t *testing.T, k *fakeKernel, change ...func(*device.Config)) *opened {
	t.Helper()
	d, err := openFake(k, change...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// everySystem runs the test for each system.
func everySystem(t *testing.T, test func(t *testing.T, k *fakeKernel)) {
	for _, a := range []abi{darwin(), freebsd(), netbsd(), openbsd()} {
		t.Run(a.os, func(t *testing.T) { test(t, newKernel(t, a)) })
	}
}

func TestBPFSetUp(t *testing.T) {
	want := map[string]string{
		"darwin":  "version, set filter, set filter, direction, set length, set interface, get length, get dlt, timeout, immediate, promiscuous, list dlts, change filter",
		"freebsd": "version, stamp, set filter, set filter, direction, set length, set interface, get length, get dlt, timeout, immediate, promiscuous, list dlts, change filter, lock",
		"netbsd":  "version, set filter, set filter, direction, set length, set interface, get length, get dlt, timeout, immediate, promiscuous, list dlts, set filter, lock",
		"openbsd": "version, set filter, set filter, direction, set length, set interface, get length, get dlt, timeout, immediate, promiscuous, list dlts, change filter, lock",
	}
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		d := mustOpen(t, k, func(c *device.Config) { c.Promiscuous, c.Direction, c.Snaplen = true, device.In, 96 })
		n := k.only()
		if got := strings.Join(n.log, ", "); got != want[k.os] {
			t.Errorf("ioctls\n%s, want\n%s", got, want[k.os])
		}
		if n.timeout != 100*time.Millisecond || n.immediate || n.hide != device.Out || n.locked != (k.os != "darwin") || n.nanos != (k.os == "freebsd") {
			t.Errorf("set up as %+v", n)
		}
		if !reflect.DeepEqual(n.program, []device.Instruction{{Code: device.OpReturn, K: 96}}) {
			t.Errorf("program %v", n.program)
		}
		if len(d.Warnings()) != 0 || d.src.link != pcap.LinkTypeEthernet || d.Index() != 4 {
			t.Errorf("warnings %q, link type %v, index %d", d.Warnings(), d.src.link, d.Index())
		}
		if err := d.Close(); err != nil || k.isOpen() {
			t.Errorf("close: %v, open %t", err, k.isOpen())
		}
	})
}

// Codes of classic BPF (net/bpf.h).
const (
	opLoadValue = 0x00 // ld #k
	opJumpEqual = 0x15 // jeq #k, jt, jf
)

// TestBPFProgramAndTimeout: a user's program is combined with the snaplen, and a timeout is never
// infinite.
func TestBPFProgramAndTimeout(t *testing.T) {
	user := []device.Instruction{{Code: opLoadValue, K: 1}, {Code: opJumpEqual, K: 1, Jf: 1}, {Code: device.OpReturn, K: 1 << 20}, {Code: device.OpReturn}}
	k := newKernel(t, darwin())
	d := mustOpen(t, k, func(c *device.Config) { c.Filter, c.Snaplen, c.BlockTimeout = user, 128, 1 })
	want := slices.Clone(user)
	want[2].K = 128
	if n := k.only(); !reflect.DeepEqual(n.program, want) || n.timeout != 10*time.Millisecond {
		t.Errorf("program %v, timeout %v", n.program, n.timeout)
	}
	if user[2].K != 1<<20 {
		t.Error("the user's program was changed")
	}
	d.Close()
	d = mustOpen(t, k, func(c *device.Config) { c.BlockTimeout = 60_000 })
	defer d.Close()
	if n := k.only(); n.timeout != 250*time.Millisecond {
		t.Errorf("timeout %v", n.timeout)
	}
}

func TestBPFNodes(t *testing.T) {
	for _, tt := range []struct {
		name         string
		inUse, nodes int
		openErr      error
		tried        int
		want         error
		text         string
	}{
		{"first", 0, 4, nil, 1, nil, ""},
		{"after three in use", 3, 4, nil, 4, nil, ""},
		{"all in use", 4, 4, nil, 5, syscall.EBUSY, "end a program that has one"},
		{"very many in use", 1000, 1000, nil, maxNodes, syscall.EBUSY, "all 256 BPF devices are in use"},
		{"none there", 0, 0, nil, 1, syscall.ENOENT, "/dev/bpf0"},
		{"no access", 0, 4, syscall.EACCES, 1, device.ErrPermission, "/dev/bpf0: operation not permitted: run capd with sudo, or let Wireshark's ChmodBPF give the group access_bpf"},
		{"no access after two in use", 2, 4, syscall.EACCES, 3, device.ErrPermission, "/dev/bpf2"},
		{"other error", 1, 4, syscall.EMFILE, 2, syscall.EMFILE, "/dev/bpf1"},
	} {
		k := newKernel(t, darwin())
		k.inUse, k.nodes, k.openErr = tt.inUse, tt.nodes, tt.openErr
		d, err := openFake(k)
		if !errors.Is(err, tt.want) || len(k.paths) != tt.tried {
			t.Errorf("%s: %v after %d tries, want %v after %d", tt.name, err, len(k.paths), tt.want, tt.tried)
		}
		if err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v does not say %q", tt.name, err, tt.text)
		}
		if err == nil {
			d.Close()
		}
	}
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.openErr = syscall.EACCES
		if _, err := openFake(k); !errors.Is(err, device.ErrPermission) || !strings.Contains(err.Error(), "run capd") {
			t.Errorf("%s: %v", k.os, err)
		}
	})
}

// TestBPFEveryRefusal: every refusal by the kernel is returned with the operation's name, and
// leaves no device open. Some refusals do not prevent opening.
func TestBPFEveryRefusal(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		change := func(c *device.Config) { c.Promiscuous, c.Direction = true, device.Out }
		d := mustOpen(t, k, change)
		steps := k.only().log
		d.Close()
		for _, step := range steps {
			k := newKernel(t, k.abi)
			k.failing = step
			d, err := openFake(k, change)
			if step == "stamp" || step == "promiscuous" || step == "change filter" || step == "list dlts" {
				if err != nil {
					t.Errorf("%s: %v", step, err)
					continue
				}
				if want := step == "promiscuous"; (len(d.Warnings()) == 1) != want || step == "stamp" && d.src.record.tick != 1000 {
					t.Errorf("%s: warnings %q, tick %d", step, d.Warnings(), d.src.record.tick)
				}
				d.Close()
			} else if !errors.Is(err, device.ErrPermission) || !strings.Contains(err.Error(), ": operation not permitted") {
				t.Errorf("%s: %v", step, err)
			}
			if k.isOpen() {
				t.Errorf("%s: still open", step)
			}
		}
		k.version = 0
		if _, err := openFake(k); err == nil || !strings.Contains(err.Error(), "filter version 1.0") || k.isOpen() {
			t.Errorf("old filter version: %v", err)
		}
	})
}

func TestBPFGuess(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		for interfaceType, want := range map[int]pcap.LinkType{
			6: pcap.LinkTypeEthernet, 71: pcap.LinkTypeEthernet, 135: pcap.LinkTypeEthernet, 209: pcap.LinkTypeEthernet,
			23: pcap.LinkTypePPP, 24: k.loopback, 244: pcap.LinkTypeEnc, 245: pcap.LinkTypePFLog, 1: k.loopback, 240: k.loopback,
		} {
			if got, _ := k.guess(interfaceType); got != want {
				t.Errorf("interface type %d: %v, want %v", interfaceType, got, want)
			}
		}
	})
}

// TestBPFOpenErrors: after a failed open, no device stays open.
func TestBPFOpenErrors(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		for _, tt := range []struct {
			name   string
			change func(k *fakeKernel, c *device.Config)
			want   error
		}{
			{"no interface", func(_ *fakeKernel, c *device.Config) { c.Interface = "en9" }, device.ErrNoInterface},
			{"long name", func(k *fakeKernel, c *device.Config) {
				c.Interface = "an-interface-name"
				k.links[c.Interface] = linkState{}
			}, device.ErrNoInterface},
			{"without BPF", func(k *fakeKernel, _ *device.Config) { k.setIfErr = syscall.ENXIO }, device.ErrNoInterface},
			{"down", func(k *fakeKernel, _ *device.Config) { k.setIfErr = syscall.ENETDOWN }, device.ErrDown},
			{"forbidden", func(k *fakeKernel, _ *device.Config) { k.setIfErr = syscall.EPERM }, device.ErrPermission},
			{"any", func(_ *fakeKernel, c *device.Config) { c.Interface = device.Any }, errors.ErrUnsupported},
			{"no memory at all", func(k *fakeKernel, _ *device.Config) { k.memory = 1 }, syscall.ENOBUFS},
			{"no number", func(k *fakeKernel, _ *device.Config) { k.dlts = []uint32{1 << 20} }, nil},
		} {
			k := newKernel(t, k.abi)
			_, err := openFake(k, func(c *device.Config) { tt.change(k, c) })
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || k.isOpen() {
				t.Errorf("%s: %v, open %t", tt.name, err, k.isOpen())
			}
		}
	})
}

// TestBPFBufferLength: the kernel may silently reduce the buffer's length, or lack memory for it.
func TestBPFBufferLength(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		for _, tt := range []struct{ ring, most, memory, want int }{
			{1 << 20, 1 << 19, 0, 1 << 19},     // the largest that fits the ring
			{1 << 20, 1 << 30, 0, 1 << 19},     // not more, although it would be possible
			{1 << 20, 5000, 0, 5000},           // reduced by the kernel
			{1 << 28, 1 << 30, 0, 32 << 20},    // never over 32 MiB
			{1 << 20, 1 << 30, 200e3, 1 << 17}, // halved until there is enough memory
		} {
			k := newKernel(t, k.abi)
			k.most, k.memory = tt.most, tt.memory
			d := mustOpen(t, k, func(c *device.Config) { c.RingSize = tt.ring })
			if d.src.length != tt.want || d.RingSize() != 2*tt.want {
				t.Errorf("length %d, ring %d; want %d", d.src.length, d.RingSize(), tt.want)
			}
			d.Close()
		}
	})
}

func TestBPFWarnings(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.promisc, k.dlts = syscall.EOPNOTSUPP, []uint32{90, 91}
		d := mustOpen(t, k, func(c *device.Config) { c.Promiscuous = true })
		defer d.Close()
		w := d.Warnings()
		if len(w) != 2 || !strings.Contains(w[0], "DLT 90") || !strings.Contains(w[1], "promiscuous mode refused: operation not supported") {
			t.Errorf("warnings %q", w)
		}
		if d.src.link != 90 || k.os != "darwin" && !k.only().locked {
			t.Errorf("link type %d, locked %t", d.src.link, k.only().locked)
		}
	})
}

// TestBPFChoosesLinkType: of several link types, one is selected for which files have a number.
func TestBPFChoosesLinkType(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.dlts = []uint32{1 << 20, 98, 105, 1}
		d := mustOpen(t, k)
		defer d.Close()
		if d.src.link != pcap.LinkTypeIEEE80211 || k.only().dlt != 105 || len(d.Warnings()) != 0 {
			t.Errorf("link type %v, DLT %d, warnings %q", d.src.link, k.only().dlt, d.Warnings())
		}
	})
}

func TestBPFDirection(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		for d, hidden := range map[device.Direction]device.Direction{device.Both: 0, device.In: device.Out, device.Out: device.In} {
			dev := mustOpen(t, k, func(c *device.Config) { c.Direction = d })
			if k.only().hide != hidden {
				t.Errorf("direction %d hides %d", d, k.only().hide)
			}
			dev.Close()
		}
		// A kernel without the direction ioctl hides sent frames with BIOCSSEESENT, or returns an
		// error.
		k.oldDir = true
		for _, d := range []device.Direction{device.In, device.Out} {
			dev, err := openFake(k, func(c *device.Config) { c.Direction = d })
			if want := d == device.In && k.os == "darwin"; (err == nil) != want || err != nil && !errors.Is(err, syscall.EINVAL) {
				t.Errorf("direction %d of an old kernel: %v", d, err)
			}
			if err == nil {
				dev.Close()
			}
		}
	})
}

// TestBPFOldLock: an old kernel without the lock works like a system without it.
func TestBPFOldLock(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.oldLock = true
		mustOpen(t, k).Close()
	})
}

func TestBPFInterfaceLinkTypes(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		all := []device.Interface{{Name: "en0", HardwareType: interfaceEthernet}, {Name: "lo0", HardwareType: interfaceLoopback}}
		fillLinkTypes(k, k.abi, all)
		if all[0].LinkType != pcap.LinkTypeEthernet || all[1].LinkType != k.loopback || len(k.paths) != 0 {
			t.Errorf("%v, %d devices opened", all, len(k.paths))
		}
		// A tunnel's link type is asked for, and guessed without privilege.
		k.dlts = []uint32{9}
		all = []device.Interface{{Name: "en0", HardwareType: 131}, {Name: "en9", HardwareType: 131}, {Name: "en1", HardwareType: 131}}
		fillLinkTypes(k, k.abi, all)
		if all[0].LinkType != pcap.LinkTypePPP || all[1].LinkType != k.loopback || all[2].LinkType != pcap.LinkTypePPP || k.isOpen() {
			t.Errorf("%v, open %t", all, k.isOpen())
		}
		k.openErr = syscall.EACCES
		fillLinkTypes(k, k.abi, all)
		if all[0].LinkType != k.loopback {
			t.Errorf("%v", all)
		}
		// macOS has many tunnels, and logs every bind of a device.
		tried := len(k.paths)
		fillLinkTypes(k, k.abi, []device.Interface{{Name: "en0", HardwareType: interfaceOther}})
		if asked := len(k.paths) > tried; asked != (k.os != "darwin") {
			t.Errorf("a tunnel's link type is asked for: %t", asked)
		}
	})
}
