package daemon

import (
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture"
	"capd/capture/fake"
)

// A network provides the interfaces of a test: of the kernel, or of a fake
// system.
type network interface {
	add(name string) wire // creates an interface
	system() System       // the System to record; nil is the operating system
	pace()                // called after every 100 frames of a stream
}

// A wire is an interface and the peer that sends frames to it.
type wire interface {
	Send(frame []byte)
	Rename(to string)
	AddAltName(name string)
	RemoveAltName(name string)
	SetUp(up bool)
	SetAddress(addr net.HardwareAddr)
	Remove()
	Index() int
}

// onFake runs a test in a synctest bubble with a fake system.
func onFake(t *testing.T, test func(t *testing.T, n network)) {
	synctest.Test(t, func(t *testing.T) { test(t, &fakeNetwork{t: t, sys: fake.New()}) })
}

// onVeth runs a test with interfaces of the kernel.
func onVeth(t *testing.T, test func(t *testing.T, n network)) { test(t, newVeths(t)) }

// onBoth runs a test with a fake system and with interfaces of the kernel.
func onBoth(t *testing.T, test func(t *testing.T, n network)) {
	t.Run("fake", func(t *testing.T) { onFake(t, test) })
	t.Run("veth", func(t *testing.T) { onVeth(t, test) })
}

type fakeNetwork struct {
	t    *testing.T
	sys  *fake.System
	mbps *atomic.Int32 // speed of all interfaces; nil: unknown
}

// A fastSystem is a fake System that knows how fast its interfaces are.
type fastSystem struct {
	*fake.System
	mbps *atomic.Int32
}

func (s fastSystem) Speed(string) int { return int(s.mbps.Load()) }

func (n *fakeNetwork) add(name string) wire { return fakeWire{n.sys.Add(name)} }
func (n *fakeNetwork) system() System {
	if n.mbps != nil {
		return fastSystem{n.sys, n.mbps}
	}
	return n.sys
}

// pace lets time pass: the clock of a bubble stops while any goroutine runs.
func (n *fakeNetwork) pace() { time.Sleep(time.Millisecond) }

type fakeWire struct{ *fake.Link }

func (w fakeWire) Send(frame []byte) { w.Link.Send(frame) }

func (w fakeWire) AddAltName(name string) {
	w.Change(func(i *capture.Interface) { i.AltNames = append(slices.Clone(i.AltNames), name) })
}

func (w fakeWire) RemoveAltName(name string) {
	w.Change(func(i *capture.Interface) {
		i.AltNames = slices.DeleteFunc(slices.Clone(i.AltNames), func(n string) bool { return n == name })
	})
}

func (w fakeWire) SetAddress(addr net.HardwareAddr) {
	w.Change(func(i *capture.Interface) { i.Address = addr })
}
