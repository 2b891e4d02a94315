package daemon

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture"
	"capd/capture/fake"
)

// A network has the interfaces of a test: those of a kernel, or none but in the
// test's memory.
type network interface {
	add(name string) wire // makes an interface
	system() System       // to record on; nil is the one underneath
	pace()                // is called every 100 frames of a stream
}

// A wire is an interface, and the end of it from which frames come.
type wire interface {
	Send(frame []byte)
	Rename(to string)
	SetUp(up bool)
	SetAddress(addr net.HardwareAddr)
	Remove()
	Index() int
}

// onFake runs a test without a kernel's interfaces, and on a clock of its own.
func onFake(t *testing.T, test func(t *testing.T, n network)) {
	synctest.Test(t, func(t *testing.T) { test(t, &fakeNetwork{t, fake.New()}) })
}

// onVeth runs a test on interfaces of the kernel.
func onVeth(t *testing.T, test func(t *testing.T, n network)) { test(t, newVeths(t)) }

// onBoth runs a test without a kernel's interfaces and with them.
func onBoth(t *testing.T, test func(t *testing.T, n network)) {
	t.Run("fake", func(t *testing.T) { onFake(t, test) })
	t.Run("veth", func(t *testing.T) { onVeth(t, test) })
}

type fakeNetwork struct {
	t   *testing.T
	sys *fake.System
}

func (n *fakeNetwork) add(name string) wire { return fakeWire{n.sys.Add(name)} }
func (n *fakeNetwork) system() System       { return n.sys }

// pace lets time go on: the clock of a bubble stands while a goroutine works.
func (n *fakeNetwork) pace() { time.Sleep(time.Millisecond) }

type fakeWire struct{ *fake.Link }

func (w fakeWire) Send(frame []byte) { w.Link.Send(frame) }

func (w fakeWire) SetAddress(addr net.HardwareAddr) {
	w.Change(func(i *capture.Interface) { i.Address = addr })
}
