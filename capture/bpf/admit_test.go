package bpf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture/device"
	"capd/pcap"
)

// TestBPFLinkTypeByName: a link type can be selected by each of its names, while the gate is
// closed. The fake kernel fails the test if a filter accepts frames of another link type than it
// was compiled for.
func TestBPFLinkTypeByName(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.dlts = []uint32{1, 105, 127, 192}
		for name, want := range map[string]pcap.LinkType{
			"": pcap.LinkTypeEthernet, "EN10MB": pcap.LinkTypeEthernet, "IEEE802_11": pcap.LinkTypeIEEE80211,
			"IEEE802_11_RADIO": pcap.LinkTypeRadiotap, "ieee802_11_radiotap": pcap.LinkTypeRadiotap, "192": 192,
		} {
			d := mustOpen(t, k, func(c *device.Config) { c.LinkType = name })
			n := k.only()
			if d.src.link != want || n.dlt != uint32(want) || !n.lets() || slices.Contains(n.log, "set dlt") != (want != 1) {
				t.Errorf("%q: link type %v, DLT %d, ioctls %q", name, d.src.link, n.dlt, n.log)
			}
			if at := len(n.log) - 1; !strings.HasSuffix(n.log[at], " filter") && !strings.HasSuffix(n.log[at-1], " filter") {
				t.Errorf("%q: the filter is not set last: %q", name, n.log)
			}
			d.Close()
		}
		_, err := openFake(k, func(c *device.Config) { c.LinkType = "RAW" })
		if want := "open en0: link type RAW: not one of those that the interface has: ETHERNET, IEEE802_11, IEEE802_11_RADIOTAP, PPI"; !errors.Is(err, device.ErrLinkType) || err.Error() != want {
			t.Errorf("%v", err)
		}
		if _, err := openFake(k, func(c *device.Config) { c.LinkType = "ETHER" }); !errors.Is(err, pcap.ErrLinkType) || k.isOpen() {
			t.Errorf("%v, open %t", err, k.isOpen())
		}
		// An interface that can't list its link types has one.
		k.failing = "list dlts"
		d := mustOpen(t, k, func(c *device.Config) { c.LinkType = "EN10MB" })
		d.Close()
		if _, err := openFake(k, func(c *device.Config) { c.LinkType = "PPI" }); err == nil || !strings.HasSuffix(err.Error(), " has: ETHERNET") {
			t.Errorf("%v", err)
		}
	})
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.dlts, k.failing = []uint32{1, 127}, "set dlt"
		if _, err := openFake(k, func(c *device.Config) { c.LinkType = "IEEE802_11_RADIO" }); !errors.Is(err, device.ErrPermission) || k.isOpen() {
			t.Errorf("%v, open %t", err, k.isOpen())
		}
	})
}

// TestBPFUnknownInstruction: a filter that the kernel refuses is an error of Open, of a gated device
// too, and not of Admit.
func TestBPFUnknownInstruction(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.unknown = 0x94 // mod #k, which macOS and OpenBSD lack
		for _, gated := range []bool{false, true} {
			_, err := openFake(k, func(c *device.Config) {
				c.Gated = gated
				c.Filter = []device.Instruction{{Code: k.unknown, K: 3}, {Code: 0x16}}
			})
			if !errors.Is(err, syscall.EINVAL) || k.isOpen() {
				t.Errorf("gated %v: %v, open %t", gated, err, k.isOpen())
			}
		}
	})
}

// TestBPFLinkTypeNumbers: the same name selects a link type whose DLT differs between systems.
func TestBPFLinkTypeNumbers(t *testing.T) {
	raw := map[string]uint32{"darwin": 12, "freebsd": 12, "netbsd": 12, "openbsd": 14}
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.dlts = []uint32{1, raw[k.os]}
		d := mustOpen(t, k, func(c *device.Config) { c.LinkType = "RAW" })
		defer d.Close()
		if n := k.only(); d.src.link != pcap.LinkTypeRaw || n.dlt != raw[k.os] {
			t.Errorf("link type %v, DLT %d", d.src.link, n.dlt)
		}
	})
}

func TestBPFOffered(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.dlts = []uint32{1, 127, 1 << 20, 127}
		got, err := offered(k, k.abi, "en0")
		if err != nil || !slices.Equal(got, []pcap.LinkType{pcap.LinkTypeEthernet, pcap.LinkTypeRadiotap}) || k.isOpen() {
			t.Errorf("%v, %v, open %t", got, err, k.isOpen())
		}
		k.failing = "list dlts"
		if got, err := offered(k, k.abi, "en0"); err != nil || len(got) != 1 {
			t.Errorf("of one that does not say: %v, %v", got, err)
		}
		k.failing = "get dlt"
		if _, err := offered(k, k.abi, "en0"); !errors.Is(err, device.ErrPermission) {
			t.Errorf("%v", err)
		}
		if _, err := offered(k, k.abi, "en9"); !errors.Is(err, device.ErrNoInterface) {
			t.Errorf("%v", err)
		}
		if _, err := offered(k, k.abi, device.Any); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v", err)
		}
		k.setIfErr = syscall.ENXIO
		if _, err := offered(k, k.abi, "en0"); !errors.Is(err, device.ErrNoInterface) || !strings.Contains(err.Error(), "that BPF can read") || k.isOpen() {
			t.Errorf("%v", err)
		}
		k.openErr = syscall.EACCES
		if _, err := offered(k, k.abi, "en0"); !errors.Is(err, device.ErrPermission) || !strings.Contains(err.Error(), k.access) {
			t.Errorf("%v", err)
		}
	})
}

// TestBPFWirelessWarning: for Wi-Fi that is not in monitor mode, the warning says how to enable it.
func TestBPFWirelessWarning(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		k.dlts = []uint32{1, 127}
		d := mustOpen(t, k, func(c *device.Config) { c.Promiscuous = true })
		if w := d.Warnings(); len(w) != 1 || !strings.Contains(w[0], "monitor mode") || !strings.Contains(w[0], k.monitor) || !strings.Contains(w[0], "IEEE802_11_RADIO") {
			t.Errorf("%q", w)
		}
		d.Close()
		for _, quiet := range []func(*device.Config){
			func(*device.Config) {}, // only the host's own frames are requested
			func(c *device.Config) { c.Promiscuous, c.LinkType = true, "IEEE802_11_RADIO" },
		} {
			d := mustOpen(t, k, quiet)
			if w := d.Warnings(); len(w) != 0 {
				t.Errorf("%q", w)
			}
			d.Close()
		}
	})
}

// TestBPFGated: a gated device accepts no frame. After Admit it accepts all frames, is read without
// further calls, and is locked.
func TestBPFGated(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		for _, old := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				k := newKernel(t, k.abi)
				k.oldSetF = old
				d := mustOpen(t, k, func(c *device.Config) { c.Gated, c.Promiscuous, c.Snaplen = true, true, 3000 })
				k.receive(device.In, numbered(0, 10)...)
				if n := k.only(); n.locked || n.lets() || len(n.store) > 0 {
					t.Errorf("gated: %+v", n)
				}
				if err := d.Admit(); err != nil {
					t.Fatal(err)
				}
				if n := k.only(); n.locked != (k.lock != 0) || !n.lets() {
					t.Errorf("admitted: %+v", n)
				}
				// Send more than the kernel's buffers hold, before there is a handle.
				var frames [][]byte
				for i := range 60 {
					frames = append(frames, append(fmt.Appendf(nil, "frame %d", i), make([]byte, 2500)...))
					k.receive(device.In, frames[i])
					time.Sleep(5 * time.Millisecond)
				}
				if err := d.Admit(); err != nil {
					t.Errorf("admitted again: %v", err)
				}
				h := mustAttach(t, d)
				if err := h.Stop(); err != nil {
					t.Fatal(err)
				}
				got, err := readFrames(t, h, -1)
				if err != device.ErrClosed {
					t.Error(err)
				}
				wantFrames(t, got, frames)
				wantStats(t, h, len(frames), 0)
				d.Close()
				if err := d.Admit(); !errors.Is(err, device.ErrClosed) {
					t.Errorf("closed: %v", err)
				}
				time.Sleep(time.Second)
				if k.isOpen() {
					t.Error("still open")
				}
			})
		}
	})
}

// TestBPFAdmitFails: a refusal by the kernel is returned, and the device can be closed.
func TestBPFAdmitFails(t *testing.T) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		d := mustOpen(t, k, func(c *device.Config) { c.Gated = true })
		k.oldSetF, k.failing = true, "set filter"
		if err := d.Admit(); !errors.Is(err, device.ErrPermission) {
			t.Errorf("%v", err)
		}
		if d.Close(); k.isOpen() {
			t.Error("still open")
		}
	})
}

// TestBPFStopIsExact: on systems without a lock, no frame after Stop is returned. On others some
// frames may be, in order. Drops after Stop are not counted.
func TestBPFStopIsExact(t *testing.T) {
	bubble(t, func(t *testing.T, k *fakeKernel, d *opened, h *device.Handle) {
		synctest.Wait()
		k.receive(device.In, numbered(0, 5)...)
		if err := h.Stop(); err != nil {
			t.Fatal(err)
		}
		k.receive(device.In, numbered(5, 5)...)
		got, err := readFrames(t, h, -1)
		if err != device.ErrClosed {
			t.Fatal(err)
		}
		want := 10
		if k.lock == 0 {
			want = 5
		}
		wantFrames(t, got, numbered(0, want))
		k.receive(device.In, residue()...)
		k.change(func(n *fakeNode) { n.drops += 7 })
		wantStats(t, h, want, 0)
	})
}
